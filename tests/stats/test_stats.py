"""Intervals, metrics and tests against closed forms, brute force, scipy, scikit-learn and simulation."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp
from sklearn.metrics import brier_score_loss, roc_auc_score

from ellora_trust.errors import InputError
from ellora_trust.stats import (
    Estimate,
    auroc,
    brier,
    brier_skill,
    expected_calibration_error,
    group_bootstrap,
    group_bootstraps,
    hanley_mcneil_se,
    holm,
    intervals,
    mcnemar,
    paired_bootstrap,
    permutation_test,
    permute_by_group,
    sample_size_for_auroc,
    tost_paired,
    weighted_auroc,
    wilson,
    within_group_auroc,
)
from ellora_trust.stats.discrimination import weighted_within_group_auroc


def brute_concordance(labels, scores, groups=None):
    pairs = [
        (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
        for i, j in itertools.product(range(len(labels)), repeat=2)
        if labels[i] == 1 and labels[j] == 0 and (groups is None or groups[i] == groups[j])
    ]
    return np.mean(pairs) if pairs else math.nan


def tied_data(seed, n=60, n_groups=9):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = rng.integers(0, 6, n) / 5 + 0.3 * labels
    return labels, scores, rng.integers(0, n_groups, n)


def test_estimate_prints_value_and_interval_and_goes_to_json():
    estimate = Estimate(0.7423, 0.7009, 0.7812, n=600, n_groups=100)
    assert str(estimate) == "0.742 [0.701, 0.781]"
    assert f"{estimate:.1%}" == "74.2% [70.1%, 78.1%]"
    assert json.loads(json.dumps(estimate.to_dict()))["confidence"] == 0.95


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 12), (3, 10), (10, 10), (517, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_equals_scipy(k, n, confidence):
    ours = wilson(k, n, confidence)
    theirs = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1
    assert json.dumps(wilson(np.int64(k), np.int64(n)).to_dict())


@pytest.mark.parametrize("seed", range(5))
def test_auroc_with_ties_equals_brute_force_and_sklearn(seed):
    labels, scores, _ = tied_data(seed)
    assert auroc(labels, scores) == pytest.approx(brute_concordance(labels, scores), abs=1e-12)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auroc(labels, -scores) == pytest.approx(1 - auroc(labels, scores), abs=1e-12)
    assert auroc(labels.astype(bool), np.exp(scores)) == auroc(labels, scores)


def test_auroc_of_one_class_is_nan():
    assert math.isnan(auroc([1, 1], [0.1, 0.2]))
    assert math.isnan(auroc([], []))
    assert math.isnan(within_group_auroc([0, 1], [0.1, 0.2], ["a", "b"]))


@pytest.mark.parametrize("seed", range(3))
def test_weighted_auroc_equals_auroc_of_repeated_rows(seed):
    labels, scores, _ = tied_data(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (7, len(labels)))
    expected = [auroc(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
    assert weighted_auroc(labels, scores, weights) == pytest.approx(expected, abs=1e-12)
    assert weighted_auroc(labels, scores, weights[0]) == pytest.approx(expected[0], abs=1e-12)
    assert np.isnan(weighted_auroc(labels, scores, labels))


@pytest.mark.parametrize("seed", range(3))
def test_within_group_auroc_equals_brute_force_and_ignores_group_offsets(seed):
    labels, scores, groups = tied_data(seed)
    value = within_group_auroc(labels, scores, groups)
    assert value == pytest.approx(brute_concordance(labels, scores, groups), abs=1e-12)
    offsets = np.array([8.0, 0, 32, 16, 64, 4, 2, 128, 1])
    assert within_group_auroc(labels, scores.round(3) + offsets[groups], groups) == pytest.approx(
        within_group_auroc(labels, scores.round(3), groups), abs=0.02
    )
    assert auroc(labels, scores + 10 * offsets[groups]) != pytest.approx(auroc(labels, scores), abs=0.02)


def test_weighted_within_group_auroc_counts_copies_of_a_group_as_separate_groups():
    labels, scores, groups = tied_data(0)
    times = np.array([2, 0, 1, 3, 1, 1, 0, 2, 1])
    rows = [(i, copy) for i in range(len(labels)) for copy in range(times[groups[i]])]
    picked = [i for i, _ in rows]
    names = [f"{groups[i]}/{copy}" for i, copy in rows]
    assert weighted_within_group_auroc(labels, scores, groups, times[groups]) == pytest.approx(
        brute_concordance(labels[picked], scores[picked], names), abs=1e-12
    )
    with pytest.raises(InputError, match="different weights; resample by these groups"):
        weighted_within_group_auroc(labels, scores, groups, np.arange(len(labels)))


def test_fast_bootstrap_equals_the_plain_one_and_takes_under_a_second():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 600), np.repeat(np.arange(100), 6)
    scores = labels + rng.normal(size=600)
    fast = group_bootstrap(auroc, (labels, scores), groups)
    plain = group_bootstrap(lambda y, s: auroc(y, s), (labels, scores), groups)
    assert (fast.low, fast.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert (fast.n, fast.n_groups, fast.n_undefined) == (600, 100, 0)


def test_bootstrap_does_not_depend_on_row_order_group_names_or_block_size(monkeypatch):
    labels, scores, groups = tied_data(1, n=200, n_groups=40)
    expected = group_bootstrap(auroc, (labels, scores), groups)
    order = np.random.default_rng(0).permutation(200)
    names = np.array([f"problem-{g:03d}" for g in groups])
    assert group_bootstrap(auroc, (labels[order], scores[order]), names[order]) == expected
    monkeypatch.setattr(intervals, "_BLOCK_ENTRIES", 200 * 7)
    assert group_bootstrap(auroc, (labels, scores), groups) == expected
    assert group_bootstrap(auroc, (labels, scores), groups, seed=1) != expected


def clustered(rng, n_groups=40, size=5):
    """Scores that share an effect within their group: true AUROC across groups is Phi(1 / 2) = 0.6915."""
    groups = np.repeat(np.arange(n_groups), size)
    labels = rng.integers(0, 2, n_groups * size)
    scores = labels + rng.normal(size=n_groups)[groups] + rng.normal(size=len(groups))
    return labels, scores, groups


def covered(make, truth, statistic, rng, n_simulations):
    hits = []
    for _ in range(n_simulations):
        arrays, groups = make(rng)
        estimate = group_bootstrap(statistic, arrays, groups, n_resamples=300)
        hits.append(estimate.low <= truth <= estimate.high)
    return np.mean(hits)


def test_group_bootstrap_of_auroc_covers_the_truth():
    def make(rng):
        labels, scores, groups = clustered(rng)
        return (labels, scores), groups

    truth = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert 0.90 <= covered(make, truth, auroc, np.random.default_rng(0), 200) <= 0.99


def test_resampling_groups_covers_where_resampling_rows_does_not():
    def by_group(rng):
        groups = np.repeat(np.arange(40), 5)
        return (rng.normal(size=40)[groups] + 0.3 * rng.normal(size=200),), groups

    def by_row(rng):
        return by_group(rng)[0], np.arange(200)

    assert 0.90 <= covered(by_group, 0.0, np.mean, np.random.default_rng(0), 400) <= 0.99
    assert covered(by_row, 0.0, np.mean, np.random.default_rng(0), 200) < 0.75


def test_undefined_resamples_are_counted_and_too_many_are_refused():
    labels, scores = np.array([1] * 4 + [0] * 40), np.arange(44.0)
    estimate = group_bootstrap(auroc, (labels, scores), np.arange(44))
    assert 0 < estimate.n_undefined <= 50
    assert not math.isnan(estimate.low)
    with pytest.raises(InputError, match=r"nan on \d+ of 1000 resamples, over 5%; collect more groups"):
        group_bootstrap(auroc, (labels[2:], scores[2:]), np.arange(42))
    with pytest.raises(InputError, match="nan on the whole data; it may need both classes"):
        group_bootstrap(auroc, ([1, 1, 1], [1, 2, 3]), [0, 1, 2])


def test_several_numbers_read_at_once_have_the_intervals_that_each_has_alone():
    rng = np.random.default_rng(3)
    groups, labels = np.arange(60) // 2, rng.integers(0, 2, 60)
    scores = rng.normal(size=60) + labels

    def both(y, s):
        return auroc(y, s), brier(1 / (1 + np.exp(-s)), y)

    alone = [lambda y, s: both(y, s)[0], lambda y, s: both(y, s)[1]]
    found = group_bootstraps(both, (labels, scores), groups, n_resamples=200, seed=5)
    assert found == [group_bootstrap(one, (labels, scores), groups, n_resamples=200, seed=5) for one in alone]
    assert found[0].value != found[1].value


def test_paired_bootstrap_is_the_interval_of_the_difference_on_the_same_groups():
    rng = np.random.default_rng(0)
    labels, a, groups = clustered(rng)
    b = a + 0.5 * rng.normal(size=len(a))
    paired = paired_bootstrap(auroc, a, b, labels, groups)
    direct = group_bootstrap(lambda y, s, t: auroc(y, s) - auroc(y, t), (labels, a, b), groups)
    assert (paired.value, paired.low, paired.high) == pytest.approx((direct.value, direct.low, direct.high))
    assert paired_bootstrap(auroc, a, a, labels, groups).high == 0
    alone = group_bootstrap(auroc, (labels, b), groups)
    assert paired.high - paired.low < alone.high - alone.low


def test_permuted_blocks_stay_whole_and_move_only_between_groups_of_equal_size():
    labels = np.array([10, 11, 20, 21, 30, 31, 40, 41, 42])
    groups = ["a", "a", "b", "b", "c", "c", "d", "d", "d"]
    rng, seen, inner = np.random.default_rng(0), set(), set()
    for _ in range(200):
        permuted = permute_by_group(labels, groups, rng)
        blocks = permuted[:6].reshape(3, 2)
        assert sorted(map(tuple, blocks)) == [(10, 11), (20, 21), (30, 31)]
        assert sorted(permuted[6:]) == [40, 41, 42]
        seen.add(tuple(permuted[:6]))
        inner.add(tuple(permuted[6:]))
    assert len(seen) == 6
    assert len(inner) == 6
    assert list(labels) == [10, 11, 20, 21, 30, 31, 40, 41, 42]


def test_permutation_null_of_auroc_is_a_half_and_its_p_value_is_uniform_under_the_null():
    rng = np.random.default_rng(0)
    labels, scores, groups = clustered(rng)
    real = permutation_test(lambda y: auroc(y, scores), labels, groups, n_permutations=500)
    assert real.p_value == 1 / 501
    assert real.null_mean == pytest.approx(0.5, abs=0.02)
    assert 0 < real.null_sd < 0.1
    p_values = []
    for _ in range(60):
        y, noise = np.repeat(rng.integers(0, 2, 40), 5), np.repeat(rng.normal(size=40), 5)
        y[0] = 1 - y[5]
        p_values.append(permutation_test(lambda y, s=noise: auroc(y, s), y, groups, n_permutations=50).p_value)
    # Labels and scores that are constant per group would be "significant" in most shuffles of rows.
    assert np.mean(np.array(p_values) <= 0.1) < 0.25
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)


def test_mcnemar_equals_the_exact_binomial():
    a = np.array([1] * 30 + [1] * 9 + [0] * 2 + [0] * 10)
    b = np.array([1] * 30 + [0] * 9 + [1] * 2 + [0] * 10)
    result = mcnemar(a, b)
    assert result.p_value == binomtest(2, 11).pvalue
    assert (result.only_a, result.only_b, result.n) == (9, 2, 51)
    assert result.difference == pytest.approx(a.mean() - b.mean())
    assert mcnemar(a, a).p_value == 1
    assert mcnemar(b, a).p_value == result.p_value


def test_holm_equals_the_textbook_and_keeps_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


def test_tost_with_one_row_per_group_equals_two_one_sided_t_tests():
    d = np.random.default_rng(0).normal(0.01, 0.1, 80)
    result = tost_paired(d, 0.05, np.arange(80))
    below = ttest_1samp(d, -0.05, alternative="greater")[1]
    above = ttest_1samp(d, 0.05, alternative="less")[1]
    assert result.p_value == pytest.approx(max(below, above))
    interval = ttest_1samp(d, 0).confidence_interval(0.9)
    assert (result.difference.low, result.difference.high) == pytest.approx((interval.low, interval.high))
    assert result.equivalent == (-0.05 < interval.low and interval.high < 0.05)


def test_tost_does_not_take_copies_of_a_row_for_evidence():
    d = np.random.default_rng(0).normal(0, 0.1, 20)
    once = tost_paired(d, 0.05, np.arange(20))
    copied = tost_paired(np.repeat(d, 9), 0.05, np.repeat(np.arange(20), 9))
    assert copied.p_value == pytest.approx(once.p_value)
    assert copied.minimum_detectable_effect == pytest.approx(once.minimum_detectable_effect)
    assert tost_paired(np.repeat(d, 9), 0.05, np.arange(180)).p_value < 0.1 * once.p_value


def test_minimum_detectable_effect_is_found_with_the_stated_power():
    rng = np.random.default_rng(0)
    effect = tost_paired(rng.normal(0, 1, 5000), 1, np.arange(5000)).minimum_detectable_effect * math.sqrt(100)
    found = [ttest_1samp(rng.normal(effect, 1, 50), 0)[1] < 0.05 for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_tost_without_any_difference_needs_enough_groups():
    few, many = (tost_paired(np.zeros(n), 0.05, np.arange(n)) for n in (20, 100))
    assert (few.equivalent, many.equivalent) == (False, True)
    assert 0.95**100 < many.p_value < 0.95**100 + 0.003
    assert many.difference.high == pytest.approx(1.6449**2 / (100 + 1.6449**2), abs=1e-4)
    assert tost_paired(np.full(100, 0.3), 0.05, np.arange(100)).p_value == 1


def test_brier_equals_sklearn_and_its_skill_is_relative_to_the_base_rate():
    rng = np.random.default_rng(0)
    p, y = rng.random(200), rng.integers(0, 2, 200)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p))
    assert brier_skill(np.full(200, y.mean()), y) == pytest.approx(0)
    assert brier_skill(y, y) == 1
    assert brier_skill(p, y, base_rate=0.5) == pytest.approx(1 - brier(p, y) / 0.25)
    assert math.isnan(brier_skill([0.5, 0.5], [1, 1]))


def test_calibration_error_equals_brute_force_over_equal_bins():
    rng = np.random.default_rng(0)
    p = rng.random(200)
    y = (rng.random(200) < p**2).astype(int)
    bins = np.array_split(np.argsort(p), 10)
    expected = sum(len(b) * abs(p[b].mean() - y[b].mean()) for b in bins) / 200
    assert expected_calibration_error(p, y) == pytest.approx(expected)
    assert expected_calibration_error(p, y, bins=1) == pytest.approx(abs(p.mean() - y.mean()))


def test_calibration_error_keeps_ties_together_and_ignores_row_order():
    p = np.array([0.1] * 90 + [0.9] * 10)
    y = np.array([1] * 9 + [0] * 81 + [1] * 9 + [0])
    order = np.random.default_rng(0).permutation(100)
    assert expected_calibration_error(p, y) == pytest.approx(0)
    assert expected_calibration_error(p[order], y[order]) == pytest.approx(0)
    assert expected_calibration_error(1 - p, y) > 0.5


def test_hanley_mcneil_equals_the_simulated_error():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 60 + [0] * 140)
    values = [auroc(labels, rng.normal(size=200) + 0.9539 * labels) for _ in range(1000)]
    assert hanley_mcneil_se(0.75, 60, 140) == pytest.approx(np.std(values), rel=0.1)


@pytest.mark.parametrize(("half_width", "base_rate", "value"), [(0.05, 0.3, 0.75), (0.02, 0.05, 0.9), (0.1, 0.8, 0.5)])
def test_sample_size_is_the_smallest_that_fits(half_width, base_rate, value):
    n = sample_size_for_auroc(half_width, base_rate, value)

    def width(m):
        return 1.959964 * hanley_mcneil_se(value, m * base_rate, m * (1 - base_rate))

    assert width(n) <= half_width * (1 + 1e-6) < width(n - 1) * (1 + 2e-6)
    assert sample_size_for_auroc(half_width, base_rate, value, design_effect=3) == pytest.approx(3 * n, rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(5, 4), r"successes=5 is out of range; use a number in \[0, 4\]"),
        (lambda: wilson(0, 0), "n=0 trials give no proportion; use at least 1"),
        (lambda: auroc([0, 1], [1.0]), r"labels \(2,\) and scores \(1,\) must both be"),
        (lambda: auroc([0, 2], [1.0, 2.0]), r"label 2.0 is neither 0 nor 1; pass booleans"),
        (lambda: auroc([0, 1], [1.0, math.nan]), "scores hold 1 nan or infinite values; drop those rows"),
        (lambda: weighted_auroc([0, 1], [1, 2], [1, -1]), "none below 0"),
        (lambda: within_group_auroc([0, 1], [1, 2], ["a"]), r"groups has shape \(1,\) for 2 rows"),
        (lambda: group_bootstrap(np.mean, ([1, 2],), ["a", "a"]), "carry no interval; use at least 2 groups"),
        (lambda: group_bootstrap(np.mean, ([1, 2], [1]), ["a", "b"]), "must share the number of rows; align"),
        (
            lambda: group_bootstrap(np.mean, ([1, 2],), ["a", "b"], n_resamples=0),
            "n_resamples=0 is out of range",
        ),
        (lambda: group_bootstrap(np.mean, ([1, 2],), ["a", "b"], confidence=95), r"use a number in \(0, 1\)"),
        (lambda: permutation_test(np.mean, [1, 1, 1], [0, 0, 1]), "no permutation moves a label"),
        (lambda: permutation_test(lambda y: math.nan, [0, 1], [0, 1]), "statistic is nan on these labels"),
        (lambda: permutation_test(np.mean, [0, 1], [0, 1], n_permutations=0), "must be at least 1; 1000"),
        (lambda: mcnemar([1, 0], [1]), "pair the examples"),
        (lambda: mcnemar([1, 0.5], [1, 0]), "values other than 0 and 1; pass booleans"),
        (lambda: holm([0.5, 1.5]), r"must be \(n_tests,\) within \[0, 1\]; pass raw p-values"),
        (lambda: tost_paired([0.1, 0.2], -1, [0, 1]), "margin=-1 above 0; drop undecided rows"),
        (lambda: tost_paired([0.1, 0.2], 1, [0, 1], alpha=0.5), r"alpha=0.5 is out of range"),
        (lambda: brier([1.2], [1]), r"probabilities have range \[1.2, 1.2\]; .* \(calibrate scores first\)"),
        (lambda: expected_calibration_error([0.5], [1], bins=2), "bins=2 is out of range"),
        (lambda: brier_skill([], []), "probabilities have no rows"),
        (lambda: hanley_mcneil_se(0.7, 0, 5), "need at least 1 of each; collect both classes"),
        (
            lambda: sample_size_for_auroc(0.6, 0.5),
            r"half_width=0.6 is out of range; use a number in \(0, 0.5\)",
        ),
        (lambda: sample_size_for_auroc(0.1, 0.5, design_effect=0.5), "use 1 for independent examples"),
    ],
)
def test_bad_input_says_what_was_given_and_what_to_do(call, message):
    with pytest.raises(InputError, match=message):
        call()
