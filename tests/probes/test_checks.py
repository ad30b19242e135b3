"""What stands beside an AUROC: difficulty alone is called difficulty, length alone is called length."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.report import Report
from ellora_trust.stats import within_group_auroc
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome
from probes import Settings, evaluate
from probes.measuring.held_out import N_RESAMPLES, HeldOut
from probes.measuring.plain import from_plain
from probes.measuring.result import Evaluation
from probes.reporting.report import section

QUICK = Settings(strengths=(0.01, 0.1), n_components=8)


def made(kind: str, n: int = 400, *, size: int = 4, seed: int = 0) -> Labelled:
    """Rows in groups; the activation knows the verdict, the group's difficulty, the answer's length, or nothing."""
    rng = np.random.default_rng(seed)
    difficulty = np.repeat(rng.uniform(0.05, 0.95, n // size), size)
    wrong = rng.random(n) < difficulty
    length = 3 + (4 * wrong if kind == "length" else 0) + rng.integers(0, 4, n)
    known = {"verdict": 0.8 * wrong, "difficulty": 4 * difficulty, "length": length / 2.0, "nothing": np.zeros(n)}[kind]
    noise = rng.normal(size=(n, 12)) * (0.1 if kind == "length" else 1)
    x = torch.tensor(noise + np.outer(known, np.ones(12)), dtype=torch.float32)
    examples = [Example(f"e{i}", f"g{i // size}", f"x{i} = {rng.integers(9)}", "1") for i in range(n)]
    rows = zip(length, rng.exponential(size=n), strict=True)
    generations = [Generation("1", [1] * k, k, [-u, -0.1] + [-0.1] * (k - 2), [u] * k, "stop") for k, u in rows]
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    return Labelled("made", examples, generations, outcomes, Activations({("resid.0", "answer"): x}))


@pytest.fixture(scope="module")
def verdict() -> Evaluation:
    return evaluate(made("verdict"), settings=QUICK, n_permutations=5)


def text(result: Evaluation) -> str:
    return " ".join(result.sentences())


def test_a_probe_of_verdicts_tells_answers_of_one_group_apart(verdict: Evaluation):
    assert "also tells answers of one group apart" in text(verdict)
    assert "difficulty only" not in text(verdict)


def test_a_group_drawn_twice_counts_twice_within_groups_and_not_four_times():
    rng = np.random.default_rng(3)
    groups = np.repeat([f"g{i}" for i in range(12)], rng.integers(3, 9, 12))
    wrong = rng.integers(0, 2, len(groups))
    wrong[np.unique(groups, return_index=True)[1]], wrong[np.unique(groups, return_index=True)[1] + 1] = 0, 1
    score = rng.normal(size=len(groups)) + wrong
    drawn = np.random.default_rng(0).integers(12, size=(N_RESAMPLES, 12))
    rows_of = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    replicates = []
    for picks in drawn:
        rows = np.concatenate([rows_of[pick] for pick in picks])
        copies = np.repeat(np.arange(12), [len(rows_of[pick]) for pick in picks])
        replicates.append(within_group_auroc(wrong[rows], score[rows], copies))
    found = HeldOut(wrong, groups, score, score, score, score, {}).within_group()
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(replicates, [0.025, 0.975]).tolist())


def test_a_probe_of_difficulty_is_called_that():
    found = evaluate(made("difficulty"), settings=QUICK, n_permutations=5)
    assert found.probe.low > 0.5
    assert found.within_group is not None
    assert found.within_group.low <= 0.5 <= found.within_group.high
    assert "predicts difficulty only, as far as shown" in text(found)


def test_without_mixed_groups_nothing_is_claimed_about_difficulty():
    found = evaluate(made("verdict", size=1), settings=QUICK, n_permutations=5)
    assert found.within_group is None
    assert "Whether the probe predicts more than difficulty cannot be said" in text(found)


def test_a_useless_probe_is_called_useless():
    found = evaluate(made("nothing"), settings=QUICK, n_permutations=5)
    assert "not shown to predict errors at all" in text(found)
    assert found.checks is not None
    assert found.checks.collapse["probe"].share > 0.9


def test_a_probe_of_length_has_nothing_left_without_it_and_one_of_verdicts_has(verdict: Evaluation):
    found = evaluate(made("length"), settings=QUICK, n_permutations=5)
    assert found.checks is not None
    assert verdict.checks is not None
    assert found.probe.low > 0.6
    assert found.checks.residual["length"].residual.low <= 0.5
    assert "more than length is not shown" in text(found)
    assert verdict.checks.residual["length"].residual.low > 0.5
    assert verdict.checks.residual["log-probability"].residual.low > 0.5


def test_control_labels_are_not_learnt_and_their_selectivity_is_the_rest(verdict: Evaluation):
    assert verdict.checks is not None
    control = verdict.checks.selectivity
    assert abs(control.control.value - 0.5) < 0.05
    assert not control.leaks
    assert control.selectivity.value == pytest.approx(control.real.value - control.control.value)
    assert control.n_controls == 8


def test_selective_risk_of_a_good_probe_beats_the_best_baseline_and_that_of_a_useless_one_does_not(verdict: Evaluation):
    assert verdict.checks is not None
    curve = verdict.checks.selective["probe"]
    assert curve.baseline is not None
    assert curve.baseline.name == verdict.best_baseline
    assert curve.aurc_difference is not None
    assert curve.aurc_difference.high < 0
    nothing = evaluate(made("nothing"), settings=QUICK, n_permutations=5, risk=0.2)
    assert nothing.checks is not None
    useless = nothing.checks.selective["probe"]
    assert useless.risk == 0.2
    assert useless.aurc_difference is not None
    assert useless.aurc_difference.high > 0


def test_the_ece_is_set_beside_what_its_bias_explains(verdict: Evaluation):
    assert verdict.checks is not None
    sentence = verdict.checks.ece_sentence(verdict.calibration)
    assert "a perfectly calibrated predictor with these risks would show" in sentence
    worse = {**verdict.calibration, "ECE, probe": replace(verdict.calibration["ECE, probe"], value=0.5)}
    assert "more than sampling explains" in verdict.checks.ece_sentence(worse)


def test_isotonic_calibration_is_recorded_and_replaced_where_rows_are_few(verdict: Evaluation):
    assert verdict.checks is not None
    assert verdict.checks.calibration_method == "platt"
    few = evaluate(made("verdict"), settings=QUICK, n_permutations=5, calibration="isotonic")
    assert few.checks is not None
    assert few.checks.calibration_method == "platt"
    assert few.scores == verdict.scores
    many = evaluate(made("verdict", 1260), settings=QUICK, n_permutations=2, n_controls=2, calibration="isotonic")
    assert many.checks is not None
    assert many.checks.calibration_method == "isotonic"


def test_an_evaluation_comes_back_from_json_with_all_its_checks(verdict: Evaluation):
    raw = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert Evaluation.from_dict(raw) == verdict
    del raw["checks"]
    older = Evaluation.from_dict(raw)
    assert older.checks is None
    assert section(older).title == "made"
    with pytest.raises(InputError, match="this is not a Evaluation"):
        from_plain(Evaluation, {"task": "x"})


def test_the_report_lets_a_reader_move_the_threshold_with_or_without_scripts(verdict: Evaluation):
    page = Report("Errors", "of a model", [section(verdict, made("verdict"))]).to_html()
    assert '<label for="slider-1">Give an answer only if its predicted risk is below</label>' in page
    assert '<input type="range" id="slider-1" min="0" max="100" step="1" value="50">' in page
    assert '<output for="slider-1" aria-live="polite">' in page
    start = page.index('<script type="application/json">', page.index('class="slider"'))
    data = json.loads(page[page.index(">", start) + 1 : page.index("</script>", start)])
    assert data["risk"] == sorted(data["risk"])
    assert sum(data["wrong"]) == sum(verdict.scores.wrong)
    assert verdict.checks is not None
    middle = verdict.checks.kept[4]
    assert f"<td>{middle.threshold:.3f}</td><td>{middle.n}</td>" in page
    assert "prefers-color-scheme: dark" in page
    assert 'src="http' not in page
