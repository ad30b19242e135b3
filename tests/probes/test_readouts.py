"""Every readout finds what it is made for, chooses inside the training groups, and finds nothing in noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from ellora_trust.errors import InputError
from ellora_trust.stats import auroc, paired_bootstrap
from probes.fitting.mass_mean import Directions, logistic_on_all, mass_mean, whitened_mass_mean
from probes.fitting.rows import Rows
from probes.fitting.selection import Settings, grouped_folds, nested_selection
from probes.fitting.stacking import SparseStack
from probes.measuring.comparison import LOGPROB, ONE_LAYER, READOUTS, SPARSE, compare_readouts, inner_folds, nested

QUICK = Settings(strengths=(0.01, 0.1), n_components=8)


def planted(n: int = 240, d: int = 16, *, signals: dict[int, float], seed: int = 0, n_sites: int = 6) -> Rows:
    """Rows in pairs of a group; site i holds a signal of its own, of the given strength."""
    rng = np.random.default_rng(seed)
    wrong = (rng.random(n) < 0.4).astype(int)
    features = {(f"resid.{i}", "answer"): rng.normal(size=(n, d)) for i in range(n_sites)}
    for site, strength in signals.items():
        features[f"resid.{site}", "answer"][:, site] += strength * (2 * wrong - 1)
    return Rows(features, wrong, np.array([f"g{i // 2}" for i in range(n)]), logprob=rng.normal(size=n))


def test_mass_mean_is_the_difference_of_class_means():
    rows = planted(signals={0: 1.0})
    x, y = rows.candidates.x, torch.tensor(rows.wrong)
    found = mass_mean(x, y, QUICK)
    expected = x[2].numpy()[rows.wrong == 1].mean(0) - x[2].numpy()[rows.wrong == 0].mean(0)
    assert found.weight[2, 0].numpy() == pytest.approx(expected, abs=1e-6)
    scores = (x[2].numpy() - x[2].numpy().mean(0)) @ expected
    assert found.decision(x)[2, 0].numpy() == pytest.approx(scores, abs=1e-5)


def test_whitened_mass_mean_is_fishers_discriminant():
    rows = planted(400, 8, signals={0: 0.7}, n_sites=1)
    mix = np.random.default_rng(1).normal(size=(8, 8))
    x = torch.tensor(rows.candidates.x[0].numpy() @ mix, dtype=torch.float32)
    found = whitened_mass_mean(x[None], torch.tensor(rows.wrong), QUICK).decision(x[None])[0, 0].numpy()
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(x.numpy(), rows.wrong).decision_function(x.numpy())
    assert np.corrcoef(found, expected)[0, 1] > 0.9999


def test_whitening_helps_where_a_loud_direction_says_nothing():
    rows = planted(400, 8, signals={0: 0.7}, n_sites=1)
    x = rows.candidates.x.clone()
    x[0, :, 5] *= 30
    y, half = torch.tensor(rows.wrong), 200
    plain, whitened = (
        auroc(rows.wrong[half:], fit(x[:, :half], y[:half], QUICK).decision(x[:, half:])[0, 0].numpy())
        for fit in (mass_mean, whitened_mass_mean)
    )
    assert plain < 0.65
    assert whitened > 0.75


def test_logistic_on_all_dimensions_has_an_option_for_each_strength():
    rows = planted(signals={0: 1.0}, n_sites=2)
    x, y = rows.candidates.x, torch.tensor(rows.wrong)
    scores = logistic_on_all(x, y, QUICK).decision(x)
    assert scores.shape == (2, 3, 240)
    z = ((x[0] - x[0].mean(0)) / x[0].std(0, correction=0)).double().numpy()
    expected = LogisticRegression(C=1e-2, tol=1e-10).fit(z, rows.wrong)
    assert scores[0, 2].numpy() == pytest.approx(z @ expected.coef_[0], abs=1e-5)


def test_a_sparse_stack_uses_what_helps_and_leaves_out_noise():
    rng = np.random.default_rng(0)
    wrong, folds = rng.integers(0, 2, 400), np.arange(400) % 4
    scores = rng.normal(size=(20, 400))
    scores[[3, 11]] += 1.2 * wrong
    stack = SparseStack.fit(scores * np.geomspace(0.01, 100, 20)[:, None], wrong, folds)
    assert set(np.argsort(-np.abs(stack.weight * np.geomspace(0.01, 100, 20)))[:2]) == {3, 11}
    assert stack.n_used < 20
    assert stack.inner_auroc > max(auroc(wrong, one) for one in scores)


def test_the_one_layer_row_is_the_nested_selection_that_evaluate_makes():
    rows = planted(signals={2: 0.8})
    found = compare_readouts(rows, readouts=(), settings=QUICK, n_resamples=50)
    folds = grouped_folds(rows.wrong, rows.groups, QUICK.n_folds, QUICK.seed)
    selection = nested_selection(rows.candidates, rows.wrong[None], rows.groups, folds, QUICK)
    assert found.scores[ONE_LAYER] == selection.scores[0].tolist()


def test_every_readout_finds_one_strong_signal_and_none_finds_an_absent_one():
    found = compare_readouts(planted(signals={2: 1.0}), settings=QUICK, n_resamples=200)
    assert set(found.auroc) == {*READOUTS, LOGPROB}
    for name in READOUTS:
        assert found.auroc[name].low > 0.7, name
        assert name == SPARSE or all("resid.2 answer" in choice for choice in found.chosen[name]), name
    assert found.auroc[LOGPROB].low < 0.5 < found.auroc[LOGPROB].high
    nothing = compare_readouts(planted(signals={}), settings=QUICK, n_resamples=200)
    for name in READOUTS:
        assert nothing.auroc[name].low < 0.55, name


def test_a_sparse_combination_beats_one_layer_where_layers_know_different_things():
    rows = planted(480, signals={0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5})
    found = compare_readouts(rows, readouts=(SPARSE,), settings=QUICK, n_resamples=200)
    assert found.difference[SPARSE].low > 0
    single = planted(480, signals={0: 1.0})
    alone = compare_readouts(single, readouts=(SPARSE,), settings=QUICK, n_resamples=200)
    assert alone.difference[SPARSE].low < 0.01


def test_differences_are_paired_and_the_table_is_sorted():
    rows = planted(signals={2: 0.6})
    found = compare_readouts(rows, readouts=("mass-mean",), settings=QUICK, n_resamples=100)
    a, b = (np.array(found.scores[name]) for name in ("mass-mean", ONE_LAYER))
    assert found.difference["mass-mean"] == paired_bootstrap(auroc, a, b, rows.wrong, rows.groups, n_resamples=100)
    assert ONE_LAYER not in found.difference
    values = [found.auroc[name].value for name, _, _ in found.table()]
    assert values == sorted(values, reverse=True)
    assert json.loads(json.dumps(found.to_dict()))["auroc"]["mass-mean"]["n"] == 240


def test_a_readout_never_sees_the_rows_it_scores():
    rows = planted(60, signals={}, n_sites=2)
    x, y = rows.candidates.x, rows.wrong
    folds = grouped_folds(y, rows.groups, QUICK.n_folds, QUICK.seed)
    row_of = {tuple(one[:4].tolist()): i for i, one in enumerate(x[0])}
    seen: list[set[int]] = []
    scored: list[tuple[set[int], set[int]]] = []

    class Watching(Directions):
        def decision(self, x):
            scored.append((seen[-1], {row_of[tuple(one[:4].tolist())] for one in x[0]}))
            return super().decision(x)

    def fit(x, wrong, settings):
        seen.append({row_of[tuple(one[:4].tolist())] for one in x[0]})
        return Watching(x.mean(1), torch.ones(len(x), 1, x.shape[2]))

    # One site only, so that the first one's rows are always among those that are given.
    nested(fit, _one_site(rows), y, rows.groups, folds, settings=QUICK)
    assert len(scored) == QUICK.n_folds * (QUICK.n_inner + 1)
    for fitted, judged in scored:
        assert not {rows.groups[i] for i in fitted} & {rows.groups[i] for i in judged}


def _one_site(rows: Rows):
    key = next(iter(rows.features))
    return Rows({key: rows.features[key]}, rows.wrong, rows.groups).candidates


def test_inner_folds_are_those_of_the_nested_selection():
    rows = planted(signals={2: 1.0})
    folds = grouped_folds(rows.wrong, rows.groups, QUICK.n_folds, QUICK.seed)
    train = np.flatnonzero(folds != 1)
    expected = grouped_folds(rows.wrong[train], rows.groups[train], QUICK.n_inner, QUICK.seed + 2)
    assert np.array_equal(inner_folds(rows.wrong[train], rows.groups[train], 1, QUICK), expected)


def test_bad_input_is_one_clear_sentence():
    rows = planted(signals={})
    with pytest.raises(InputError, match=r"unknown readout 'mas-mean'; use one of .*; did you mean 'mass-mean'\?"):
        compare_readouts(rows, readouts=("mas-mean",))
    with pytest.raises(InputError, match="all 240 answers are right; a predictor needs both"):
        compare_readouts(Rows(rows.features, np.zeros(240, dtype=int), rows.groups))
    with pytest.raises(InputError, match="one class only; a difference of means needs both"):
        mass_mean(rows.candidates.x, torch.zeros(240), QUICK)
