"""Kinds of failure and shares of wrong samples are predicted where they can be, and counted where they cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import auroc
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome
from probes.fitting.rows import Rows
from probes.fitting.selection import Settings
from probes.fitting.success_rate import evaluate_rate
from probes.fitting.targets import Counts, evaluate_kinds, one_vs_rest

QUICK = Settings(strengths=(0.01, 0.1), n_components=12)
KINDS = [Outcome.CORRECT, Outcome.WRONG, Outcome.TIMEOUT, Outcome.FLAKY]


def labelled(n: int = 300, d: int = 12, *, seed: int = 0) -> Labelled:
    """Time-outs show in the activations, plain wrong answers do not; two crashes; some flaky rows."""
    rng = np.random.default_rng(seed)
    outcomes = [KINDS[i] for i in rng.choice(4, n, p=[0.45, 0.3, 0.2, 0.05])]
    outcomes[:2] = [Outcome.CRASH] * 2
    x = rng.normal(size=(n, d))
    x[:, 3] += 2.5 * np.array([o is Outcome.TIMEOUT for o in outcomes])
    examples = [Example(f"e{i}", f"g{i // 2}", f"x{i}") for i in range(n)]
    generations = [Generation("1", [1], 1, [-rng.exponential()], [rng.random()], "stop") for _ in range(n)]
    activations = Activations({("resid.0", "answer"): torch.tensor(x, dtype=torch.float32)})
    return Labelled("made", examples, generations, outcomes, activations)


def test_each_kind_is_set_against_all_other_decided_answers():
    data = labelled()
    labels, rare = one_vs_rest(data, 5)
    assert set(labels) == {"wrong", "timeout"}
    decided = [o for o in data.outcomes if o is not Outcome.FLAKY]
    assert labels["timeout"].tolist() == [int(o is Outcome.TIMEOUT) for o in decided]
    assert rare == {"crash": Counts(2, 1, len({e.group for e, o in zip(data.examples, data.outcomes, strict=True)
                                               if o not in (Outcome.FLAKY, Outcome.CRASH)}))}  # fmt: skip


def test_a_kind_that_shows_is_found_one_that_does_not_is_not_and_a_rare_one_is_counted():
    result = evaluate_kinds(labelled(), settings=QUICK, n_resamples=200)
    timeout, wrong = result.found["timeout"], result.found["wrong"]
    assert timeout.auroc.low > 0.85
    assert timeout.gain.low > 0
    assert timeout.baseline.low < 0.5 < timeout.baseline.high
    assert wrong.auroc.low < 0.6
    assert timeout.counts.n == round(timeout.base_rate.value * timeout.base_rate.n)
    assert result.too_rare["crash"].n == 2
    assert json.loads(json.dumps(result.to_dict()))["too_rare"]["crash"]["n_groups"] == 1


def test_a_set_without_failures_is_refused():
    data = labelled()
    right = Labelled("made", data.examples, data.generations, [Outcome.CORRECT] * 300, data.activations)
    with pytest.raises(InputError, match="every decided answer is correct; there is no kind of failure"):
        evaluate_kinds(right, settings=QUICK)


def sampled(n_problems: int = 120, k: int = 5, d: int = 10, *, signal: float = 2.0, seed: int = 0):
    """k samples of each problem; its difficulty shows in its prompt's activation; two problems a group."""
    rng = np.random.default_rng(seed)
    difficulty, direction = rng.normal(size=n_problems), rng.normal(size=d) / d**0.5
    x = rng.normal(size=(n_problems, d)) + signal * np.outer(difficulty, direction)
    of = np.repeat(np.arange(n_problems), k)
    wrong = (rng.random(n_problems * k) < 1 / (1 + np.exp(-2 * difficulty[of]))).astype(int)
    noise = rng.normal(size=(n_problems, d))
    features = {("resid.0", "prompt_end"): noise[of], ("resid.1", "prompt_end"): x[of]}
    return Rows(features, wrong, np.array([f"g{i // 2}" for i in of])), np.array([f"p{i:03d}" for i in of])


def test_the_share_of_wrong_samples_is_predicted_where_difficulty_shows():
    rows, problems = sampled()
    result = evaluate_rate(rows, problems, settings=QUICK, n_resamples=200)
    assert result.auroc.low > 0.7
    assert result.spearman.low > 0.4
    assert result.squared_error.high < result.baseline_error.value
    assert set(result.chosen) == {"resid.1 prompt_end"}
    assert result.problems[:2] == ["p000", "p001"]
    assert result.rate == pytest.approx(rows.wrong.reshape(120, 5).mean(1))
    assert json.loads(json.dumps(result.to_dict()))["spearman"]["n"] == 120


def test_nothing_is_predicted_where_difficulty_does_not_show():
    rows, problems = sampled(signal=0.0)
    result = evaluate_rate(rows, problems, settings=QUICK, n_resamples=200)
    assert result.auroc.low < 0.5 < result.auroc.high
    assert result.spearman.low < 0 < result.spearman.high
    assert result.squared_error.value > 0.9 * result.baseline_error.value


def test_the_figures_are_those_of_the_predicted_risks():
    rows, problems = sampled()
    result = evaluate_rate(rows, problems, settings=QUICK, n_resamples=20)
    risk, rate = np.array(result.risk), np.array(result.rate)
    assert result.squared_error.value == pytest.approx(np.mean((risk - rate) ** 2))
    # Risk is a map of the score that differs between folds, so the orders are only nearly the same.
    assert result.spearman.value == pytest.approx(np.corrcoef(rankdata(risk), rankdata(rate))[0, 1], abs=0.05)
    assert result.auroc.value == pytest.approx(auroc(rows.wrong, np.repeat(risk, 5)), abs=0.05)


def test_the_order_of_samples_changes_nothing_but_folds_by_group():
    rows, problems = sampled(60)
    order = np.random.default_rng(0).permutation(len(problems))
    first = evaluate_rate(rows, problems, settings=QUICK, n_resamples=20)
    second = evaluate_rate(rows.take(order), problems[order], settings=QUICK, n_resamples=20)
    assert first.problems == second.problems
    assert first.rate == pytest.approx(second.rate)
    assert np.corrcoef(first.risk, second.risk)[0, 1] > 0.9


def test_samples_that_do_not_fit_are_refused_in_one_sentence():
    rows, problems = sampled(60)
    with pytest.raises(InputError, match=r"problems has shape \(3,\) for 300 decided rows"):
        evaluate_rate(rows, problems[:3], settings=QUICK)
    with pytest.raises(InputError, match="every problem has one sample; label each several times"):
        evaluate_rate(rows, np.arange(300), settings=QUICK)
    with pytest.raises(InputError, match=r"problem 'p000' is in groups 'g0', 'g1'; give it one"):
        evaluate_rate(rows, np.where(problems == "p002", "p000", problems), settings=QUICK)
