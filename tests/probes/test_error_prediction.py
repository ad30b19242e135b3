"""Error prediction finds what is planted, nothing else, and refuses every leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import auroc
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome
from probes import ErrorProbe, Settings, evaluate
from probes.fitting.baselines import confidence_columns, length_columns
from probes.fitting.combination import combined
from probes.fitting.linear import Projection, batched_auroc, fit_batched, pipeline
from probes.fitting.selection import check_folds, grouped_folds

QUICK = Settings(strengths=(0.01, 0.1), n_components=8)


def made(n: int = 240, d: int = 24, *, signal: float = 1.0, seed: int = 0, logprob: float = 0.0) -> Labelled:
    """Rows in pairs, with a signal in one direction of one of four candidates."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    direction = rng.normal(size=d) / d**0.5
    features = {
        (site, position): torch.tensor(rng.normal(size=(n, d)), dtype=torch.float32)
        for site in ("resid.0", "resid.1")
        for position in ("prompt_end", "answer")
    }
    features["resid.1", "answer"] += torch.tensor(signal * 3 * np.outer(wrong, direction), dtype=torch.float32)
    examples = [Example(f"e{i}", f"g{i // 2}", f"x{i} = {rng.integers(9)}", "1") for i in range(n)]
    generations = [
        Generation("1", [1, 2], 1, [-rng.exponential() - logprob * bad, -0.1], [rng.random(), 0.1], "stop")
        for bad in wrong
    ]
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    return Labelled("made", examples, generations, outcomes, Activations(features))


def test_batched_fit_equals_scikit_learn():
    torch.manual_seed(0)
    x = torch.randn(2, 200, 30) @ torch.randn(30, 30)
    labels = torch.stack([(x[0, :, 0] > 0).int(), torch.randint(0, 2, (200,))])
    z = Projection.fit(x, 8).apply(x)
    weights = fit_batched(z, labels, (0.01, 0.1, 0.3))
    for c in range(2):
        for s, strength in enumerate((0.01, 0.1, 0.3)):
            for p in range(2):
                reference = LogisticRegression(C=strength, tol=1e-10, max_iter=1000)
                reference.fit(z[c].double().numpy(), labels[p].numpy())
                ours = torch.sigmoid(z[c] @ weights[c, s, p, :-1] + weights[c, s, p, -1])
                assert np.abs(reference.predict_proba(z[c].double().numpy())[:, 1] - ours.numpy()).max() < 1e-4


def test_batched_search_and_reference_pipeline_agree():
    data = made()
    x = data.activations.vectors("resid.1", "answer")
    y = data.wrong.astype(int)
    z = Projection.fit(x[None], 8).apply(x[None])
    ours = z[0] @ fit_batched(z, torch.tensor(y)[None], (0.1,))[0, 0, 0, :-1]
    theirs = pipeline(0.1, 8, 0).fit(x.double().numpy(), y).decision_function(x.double().numpy())
    assert np.corrcoef(ours.numpy(), theirs)[0, 1] > 0.999


def test_batched_auroc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (3, 50)), rng.normal(size=(4, 3, 50))
    got = batched_auroc(torch.tensor(labels), torch.tensor(scores))
    expected = [[roc_auc_score(labels[j], scores[i, j]) for j in range(3)] for i in range(4)]
    assert got.numpy() == pytest.approx(np.array(expected))


def test_ties_count_one_half():
    assert float(batched_auroc(torch.tensor([0, 1, 1, 0]), torch.zeros(4))) == 0.5


def test_constant_candidates_are_left_out_and_nothing_else_is_refused():
    features, wrong, groups = _arrays(made())
    constant = torch.full((240, 24), 0.1)
    probe = ErrorProbe(QUICK).fit({("embed", "prompt_end"): constant, **features}, wrong, groups)
    assert probe.site_ == "resid.1"
    with pytest.raises(InputError, match="every feature row is the same"):
        ErrorProbe(QUICK).fit(constant, wrong, groups)


def test_a_planted_signal_is_found_where_it_is():
    probe = ErrorProbe(QUICK).fit(*_arrays(made()))
    assert (probe.site_, probe.position_) == ("resid.1", "answer")
    fresh = made(seed=0)
    assert probe.score(fresh.activations["resid.1", "answer"], fresh.wrong, fresh.groups).low > 0.7


def test_evaluation_finds_a_planted_signal_and_no_absent_one():
    found = evaluate(made(signal=1.0), settings=QUICK, n_permutations=50)
    assert found.probe.low > 0.7
    assert found.gain_over_baseline.low > 0
    assert found.permutation.p_value < 0.05
    assert "beats the best baseline" in found.sentences()[0]
    assert found.oracle_best[0] == "resid.1 answer"
    nothing = evaluate(made(signal=0.0), settings=QUICK, n_permutations=50)
    assert nothing.probe.low < 0.5 < nothing.probe.high
    assert nothing.permutation.p_value > 0.05
    assert "is not shown to beat" in nothing.sentences()[0]


def test_permuted_labels_reach_one_half_on_average():
    means = [evaluate(made(signal=1.0, seed=s), settings=QUICK, n_permutations=60).permutation.mean for s in (1, 2)]
    assert all(abs(mean - 0.5) <= 0.02 for mean in means), means


def test_a_probe_that_loses_to_log_probability_says_so():
    result = evaluate(made(signal=0.3, logprob=4.0), settings=QUICK, n_permutations=20)
    assert result.gain_over_baseline.high < 0
    assert "The probe loses to the best baseline" in result.sentences()[0]
    assert result.both.value > result.probe.value


def test_calibrated_risk_is_honest_on_fresh_rows():
    train = made(600)
    probe = ErrorProbe(QUICK).fit(*_arrays(train))
    rng = np.random.default_rng(0)
    fresh = made(600)  # the same direction; new noise below
    x = fresh.activations.vectors("resid.1", "answer") + 0.05 * torch.tensor(rng.normal(size=(600, 24)))
    risk = probe.predict(x)
    assert ((risk >= 0) & (risk <= 1)).all()
    assert abs(risk.mean() - fresh.wrong.mean()) < 0.05


def test_row_order_changes_nothing_but_rounding():
    features, wrong, groups = _arrays(made())
    order = np.random.default_rng(1).permutation(len(wrong))
    a = ErrorProbe(QUICK).fit(features, wrong, groups)
    b = ErrorProbe(QUICK).fit({k: v[order] for k, v in features.items()}, wrong[order], groups[order])
    assert (a.site_, a.position_) == (b.site_, b.position_)
    x = features["resid.1", "answer"]
    assert np.corrcoef(a.decision(x), b.decision(x))[0, 1] > 0.99


def test_the_same_seed_gives_the_same_numbers():
    first, second = (evaluate(made(), settings=QUICK, n_permutations=10).to_dict() for _ in range(2))
    assert first == second


def test_a_probe_comes_back_from_disk_bit_for_bit(tiny, tmp_path):
    features, wrong, groups = _arrays(made())
    probe = ErrorProbe(QUICK).fit(features, wrong, groups)
    probe.save(tmp_path / "probe", model=tiny, metrics={"AUROC": {"value": 0.8}})
    again = ErrorProbe.load(tmp_path / "probe", model=tiny)
    x = features["resid.1", "answer"]
    assert np.array_equal(probe.predict(x), again.predict(x))
    assert again.artifact_.metrics["AUROC"]["value"] == 0.8
    assert sorted(p.name for p in (tmp_path / "probe").iterdir()) == ["artifact.json", "tensors.safetensors"]


def test_a_probe_of_another_model_is_refused_unless_forced(tiny, tmp_path):
    from tiny_models import make_model

    ErrorProbe(QUICK).fit(*_arrays(made())).save(tmp_path / "probe", model=tiny)
    other = make_model("llama", seed=5)
    with pytest.raises(InputError, match=r"was fitted on tiny-llama .* but the model given is tiny-llama .* --force"):
        ErrorProbe.load(tmp_path / "probe", model=other)
    assert ErrorProbe.load(tmp_path / "probe", model=other, force=True).site_ == "resid.1"


def test_undecided_rows_do_not_count():
    data = made()
    outcomes = [Outcome.UNDECIDED if i < 20 else o for i, o in enumerate(data.outcomes)]
    some = Labelled("made", data.examples, data.generations, outcomes, data.activations)
    assert evaluate(some, settings=QUICK, n_permutations=5).probe.n == len(outcomes) - 20


def test_confidence_is_riskier_where_the_model_is_less_sure():
    sure = Generation("1", [1, 2], 1, [-0.1, -0.1], [0.2, 0.2], "stop")
    unsure = Generation("1", [1, 2], 1, [-3.0, -0.1], [2.0, 0.2], "stop")
    examples = [Example("a", "a", "x"), Example("b", "b", "longer")]
    data = Labelled("two", examples, [sure, unsure], [Outcome.CORRECT, Outcome.WRONG])
    columns = confidence_columns(data)
    assert all(column[1] > column[0] for column in columns.values())
    assert columns["log-probability (sum)"].tolist() == pytest.approx([0.2, 3.1])
    assert columns["log-probability (min)"].tolist() == pytest.approx([0.1, 3.0])
    assert length_columns(data)["prompt length"].tolist() == [1, 6]


def test_folds_keep_groups_whole_and_leaky_ones_are_refused():
    groups = np.repeat(np.arange(30), 4)
    wrong = np.random.default_rng(0).integers(0, 2, 120)
    folds = grouped_folds(wrong, groups, 5, 0)
    check_folds(folds, groups)
    with pytest.raises(InputError, match=r"group 0 has rows in folds .* which leaks; keep groups whole"):
        check_folds(np.arange(120) % 5, groups)


def _arrays(data: Labelled):
    return dict(data.activations), data.wrong, data.groups


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, w, g: (f, w, None), "fit needs groups=, one problem id a row .* near-duplicates leak"),
        (lambda f, w, g: (f, np.ones_like(w), g), "all 240 answers are wrong; a predictor needs both"),
        (lambda f, w, g: (f, np.zeros_like(w), g), "all 240 answers are right; a predictor needs both"),
        (lambda f, w, g: (f, w[:-1], g), "240 feature rows, 239 labels and 240 groups were given"),
        (lambda f, w, g: (f, w.astype(int) + 1, g), "use 0 .right. and 1 .wrong."),
        (lambda f, w, g: ({}, w, g), "no features were given"),
        (lambda f, w, g: ({**f, ("resid.9", "x"): torch.zeros(240, 3)}, w, g), "features have shapes"),
        (lambda f, w, g: (f["resid.0", "answer"] * float("nan"), w, g), "some features are not finite"),
        (lambda f, w, g: (f, w, ["one"] * 240), "only 1 groups have wrong answers; 5 folds need at least 5"),
    ],
)
def test_bad_input_is_one_clear_sentence(change, message: str):
    with pytest.raises(InputError, match=message):
        ErrorProbe(QUICK).fit(*change(*_arrays(made())))


def test_one_prompt_in_two_groups_is_refused():
    data = made()
    examples = [Example(e.id, e.group, "the same prompt") for e in data.examples]
    twice = Labelled("made", examples, data.generations, data.outcomes, data.activations)
    with pytest.raises(InputError, match="is in groups 'g0' and 'g1', which leaks its answer"):
        evaluate(twice, settings=QUICK, n_permutations=2)


def test_an_unfitted_probe_and_a_wrong_width_are_refused():
    with pytest.raises(InputError, match="this ErrorProbe is not fitted"):
        ErrorProbe().predict(np.zeros((2, 3)))
    probe = ErrorProbe(QUICK).fit(*_arrays(made()))
    with pytest.raises(InputError, match=r"activations have shape \(2, 3\); this probe reads \(n, 24\)"):
        probe.predict(np.zeros((2, 3)))
    with pytest.raises(InputError, match="score needs groups="):
        probe.score(np.zeros((2, 24)), [0, 1])


def test_figures_list_sites_by_depth_however_the_store_lists_them() -> None:
    from probes.fitting.selection import Candidates
    from probes.measuring.evaluation import _by_site

    sites = ["resid.10", "resid.2", "embed", "resid.0"]
    candidates = Candidates([(site, "answer") for site in sites], torch.zeros(4, 2, 3))
    shown = _by_site(candidates, [0.1, 0.2, 0.3, 0.4])["answer"]
    assert shown == [("embed", 0.3), ("resid.0", 0.4), ("resid.2", 0.2), ("resid.10", 0.1)]


def test_the_combination_is_fitted_on_scores_that_the_probe_gave_without_the_test_groups():
    rng = np.random.default_rng(0)
    wrong = rng.integers(0, 2, 200)
    folds, confidence = np.arange(200) % 5, (wrong + rng.normal(size=200))[:, None]
    # Outside the fold the probe knows everything, inside it nothing: who fits on the former trusts it blindly.
    probe, inner = wrong + 0.01 * rng.normal(size=200), [rng.normal(size=200) for _ in range(5)]
    score, _ = combined(rng.normal(size=200), [probe] * 5, confidence, wrong, folds)
    assert auroc(wrong, score) < 0.65
    score, _ = combined(probe, inner, confidence, wrong, folds)
    assert auroc(wrong, score) == pytest.approx(auroc(wrong, confidence[:, 0]), abs=0.06)
