"""Risk and coverage against closed forms and brute force; ties and row order change nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ellora_trust.errors import InputError
from ellora_trust.stats import group_bootstrap, paired_bootstrap
from probes.measuring.aurc import aurc, coverage_at_risk, e_aurc, optimal_aurc, risk_at_coverage
from probes.measuring.selective import RiskCoverage, risk_coverage
from probes.reporting.selective_plots import plot_risk_coverage


def graded(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, good scores with ties, useless scores, groups of three."""
    rng = np.random.default_rng(seed)
    wrong = (rng.random(n) < 0.3).astype(int)
    return wrong, (rng.normal(size=n) + 2 * wrong).round(1), rng.normal(size=n), np.arange(n) // 3


def without_ties(wrong: np.ndarray) -> float:
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))


def test_area_equals_the_mean_of_partial_error_rates():
    assert aurc([0, 1, 0, 1], [1, 2, 3, 4]) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


def test_ties_count_as_the_mean_over_all_their_orders():
    wrong, scores = np.array([0, 1, 1, 0, 1, 0]), np.array([1, 2, 2, 2, 3, 3])
    orders = [
        [0, *middle, *last] for middle in itertools.permutations([1, 2, 3]) for last in itertools.permutations([4, 5])
    ]
    assert aurc(wrong, scores) == pytest.approx(np.mean([without_ties(wrong[order]) for order in orders]))


def test_equal_scores_have_the_base_rate_at_every_coverage():
    wrong = np.array([1, 0, 0, 0, 1])
    assert aurc(wrong, np.zeros(5)) == pytest.approx(0.4)
    assert risk_at_coverage(wrong, np.zeros(5), 0.3) == pytest.approx(0.4)


def test_row_order_and_monotone_maps_of_the_scores_change_nothing():
    wrong, scores, _, _ = graded()
    order = np.random.default_rng(1).permutation(len(wrong))
    for statistic in (aurc, e_aurc, lambda y, s: coverage_at_risk(y, s, 0.1), lambda y, s: risk_at_coverage(y, s, 0.5)):
        value = statistic(wrong, scores)
        assert statistic(wrong[order], scores[order]) == pytest.approx(value)
        assert statistic(wrong, np.exp(scores / 3)) == pytest.approx(value)


@pytest.mark.parametrize(("n_wrong", "n"), [(0, 7), (1, 1), (3, 10), (10, 10), (120, 400)])
def test_a_perfect_order_has_no_excess_and_the_stated_area(n_wrong, n):
    wrong = np.arange(n) >= n - n_wrong
    assert optimal_aurc(n_wrong, n) == pytest.approx(without_ties(wrong))
    assert e_aurc(wrong, np.arange(n)) == pytest.approx(0, abs=1e-12)
    assert e_aurc(wrong, -np.arange(n)) >= 0


def test_the_published_approximation_of_the_perfect_order_is_its_limit():
    def gap(n):
        return optimal_aurc(n * 3 // 10, n) - (0.3 + 0.7 * np.log(0.7))

    assert gap(10) > gap(1000) > 0
    assert gap(10**6) == pytest.approx(0, abs=1e-6)


def test_a_threshold_keeps_ties_together_and_its_coverage_is_the_largest():
    wrong, scores = np.array([0, 0, 1, 0, 0, 1]), np.array([1, 2, 2, 3, 4, 5])
    assert coverage_at_risk(wrong, scores, 0.1) == pytest.approx(1 / 6)
    # One of four, then one of five are wrong: risk falls again, and the later crossing counts.
    assert coverage_at_risk(wrong, scores, 0.2) == pytest.approx(5 / 6)
    assert coverage_at_risk([1, 1], [1, 2], 0.5) == 0
    assert risk_at_coverage(wrong, scores, 0.5) == pytest.approx((0 + 1) / 3)
    assert risk_at_coverage(wrong, scores, 2 / 6) == pytest.approx((0 + 0.5) / 2)


def test_intervals_are_those_of_the_group_bootstrap_of_the_plain_statistics():
    wrong, good, bad, groups = graded()
    found = risk_coverage(wrong, good, groups, baseline=bad, n_points=4, n_resamples=50, seed=3)
    boot = {"n_resamples": 50, "seed": 3}
    assert found.aurc == group_bootstrap(aurc, (wrong, good), groups, **boot)
    assert found.e_aurc == group_bootstrap(e_aurc, (wrong, good), groups, **boot)
    assert found.points[1].risk == group_bootstrap(
        lambda y, s: risk_at_coverage(y, s, 0.5), (wrong, good), groups, **boot
    )
    assert found.coverage_at_risk == group_bootstrap(
        lambda y, s: coverage_at_risk(y, s, 0.1), (wrong, good), groups, **boot
    )
    assert found.aurc_difference == paired_bootstrap(aurc, good, bad, wrong, groups, **boot)


def test_good_scores_beat_useless_ones_and_equal_ones_do_not_differ():
    wrong, good, bad, groups = graded()
    found = risk_coverage(wrong, good, groups, baseline=bad, n_points=5, n_resamples=200)
    assert found.aurc_difference is not None
    assert found.coverage_difference is not None
    assert found.aurc_difference.high < 0 < found.coverage_difference.low
    assert found.points[-1].risk.value == found.base_risk.value == pytest.approx(wrong.mean())
    same = risk_coverage(wrong, good, groups, baseline=3 * good, n_points=5, n_resamples=50).aurc_difference
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_the_figure_shows_both_curves_with_their_intervals():
    import matplotlib as mpl

    mpl.use("Agg")
    wrong, good, bad, groups = graded()
    found = risk_coverage(wrong, good, groups, baseline=bad, n_points=5, n_resamples=50, names=("ours", "theirs"))
    axes = plot_risk_coverage(found)
    assert axes.get_xlabel() == "coverage (share of answers kept)"
    assert axes.get_ylabel() == "risk (share wrong among those kept)"
    assert len(axes.collections) == 2
    curves = [line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) == 5]
    assert np.asarray(curves[0].get_ydata()).tolist() == [point.risk.value for point in found.points]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text().split(",")[0] for text in legend.get_texts()][:2] == ["ours", "theirs"]


def test_a_result_goes_to_plain_values():
    import json

    wrong, good, bad, groups = graded(60)
    found: RiskCoverage = risk_coverage(wrong, good, groups, baseline=bad, n_points=3, n_resamples=20)
    raw = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert raw["baseline"]["name"] == "baseline"
    assert raw["aurc"]["value"] == found.aurc.value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aurc([], []), "no rows were given; a risk-coverage curve needs at least one answer"),
        (lambda: aurc([0, 1], [1.0]), "must both be"),
        (lambda: aurc([0, 2], [1.0, 2.0]), "label 2.0 is neither 0 nor 1"),
        (lambda: risk_at_coverage([0, 1], [1, 2], 0), r"coverage=0 is out of range; use a number in \(0, 1\]"),
        (lambda: coverage_at_risk([0, 1], [1, 2], 1), r"risk=1 is out of range; use a number in \(0, 1\)"),
        (lambda: optimal_aurc(3, 2), r"n_wrong=3 is out of range; use a number in \[0, 2\]"),
        (lambda: risk_coverage([0, 1], [1, 2], ["a", "a"]), "carry no interval; use at least 2 groups"),
        (lambda: risk_coverage([0, 1], [1, 2], ["a", "b"], n_points=1), "n_points=1 is out of range"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
