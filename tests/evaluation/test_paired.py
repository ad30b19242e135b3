"""Paired statistics: the same tables by statsmodels and scipy, coverage by simulation, clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from ellora_trust.errors import InputError
from ellora_trust.evaluation.judging.paired import (
    adjusted,
    detectable_damage,
    difference_interval,
    group_exchange_p,
    matched_odds_ratio,
    pair,
    predicted_power,
    rate,
)
from ellora_trust.stats import wilson

TABLES = [(0, 0), (1, 0), (0, 5), (7, 2), (12, 12), (3, 19)]


def of_table(fixed: int, broken: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    before = np.zeros(n, dtype=int)
    after = np.zeros(n, dtype=int)
    after[:fixed] = 1
    before[fixed : fixed + broken] = 1
    before[-15:] = after[-15:] = 1
    return before, after


@pytest.mark.parametrize(("fixed", "broken"), TABLES)
def test_mcnemar_agrees_with_statsmodels_on_the_same_table(fixed, broken):
    before, after = of_table(fixed, broken)
    result = pair(before, after, np.arange(60), margin=0.05)
    both = int((before & after).sum())
    neither = 60 - both - fixed - broken
    expected = reference_mcnemar([[both, broken], [fixed, neither]], exact=True).pvalue
    assert result.mcnemar_p == pytest.approx(expected)
    assert (result.fixed, result.broken) == (fixed, broken)


@pytest.mark.parametrize(("fixed", "broken"), TABLES)
def test_exchange_of_single_items_is_mcnemars_exact_test(fixed, broken):
    before, after = of_table(fixed, broken)
    assert group_exchange_p(after - before, np.arange(60)) == pytest.approx(
        pair(before, after, np.arange(60), margin=0.05).mcnemar_p
    )


def test_copies_of_items_add_no_evidence_once_they_share_a_group():
    before, after = of_table(7, 1)
    single = group_exchange_p(after - before, np.arange(60))
    tripled = np.repeat(after - before, 3)
    assert group_exchange_p(tripled, np.repeat(np.arange(60), 3)) == pytest.approx(single)
    assert group_exchange_p(tripled, np.arange(180)) < single / 10


def test_exchange_of_uneven_groups_agrees_with_all_sign_flips():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), rng.integers(1, 5, 8))
    d = rng.integers(-1, 2, len(groups))
    sums = np.bincount(groups, d)
    flips = np.array([[1 if bits >> g & 1 else -1 for g in range(8)] for bits in range(256)])
    expected = np.mean(np.abs(flips @ sums) >= abs(sums.sum()))
    assert group_exchange_p(d, groups) == pytest.approx(expected)


def test_holm_agrees_with_statsmodels():
    family = [pair(*of_table(*table), np.arange(60), margin=0.05) for table in TABLES]
    expected = multipletests([one.p_value for one in family], method="holm")[1]
    assert [one.holm_p for one in adjusted(family)] == pytest.approx(expected)


def test_equivalence_of_many_items_agrees_with_statsmodels_t_tests():
    before, after = of_table(150, 170, n=3000)
    result = pair(before, after, np.arange(3000), margin=0.02)
    expected = DescrStatsW(after - before).ttost_mean(-0.02, 0.02)[0]
    assert result.equivalence.p_value == pytest.approx(expected, abs=0.01)
    assert 0.001 < expected < 0.05


@pytest.mark.parametrize(("fixed", "broken"), TABLES[1:])
def test_odds_ratio_has_the_exact_binomial_interval(fixed, broken):
    value, low, high = matched_odds_ratio(fixed, broken)
    ends = binomtest(fixed, fixed + broken).proportion_ci(0.95)
    assert low == pytest.approx(ends.low / (1 - ends.low) if ends.low < 1 else None)
    assert high == (None if ends.high == 1 else pytest.approx(ends.high / (1 - ends.high)))
    assert value == (None if broken == 0 else pytest.approx(fixed / broken))


def test_no_discordant_item_gives_an_interval_with_width():
    """A plain bootstrap would say [0, 0]: no change shown as certain by 60 items."""
    d = np.zeros(60)
    found = difference_interval(d, np.arange(60))
    assert found.value == 0
    assert found.low < -0.01
    assert found.high > 0.01


@pytest.mark.parametrize(("fixed", "broken"), [(0.02, 0.02), (0.01, 0.05), (0.15, 0.05)])
def test_interval_covers_the_true_difference_of_single_items(fixed, broken):
    rng, hits, runs, n = np.random.default_rng(0), 0, 300, 100
    for run in range(runs):
        d = rng.choice([1, -1, 0], n, p=[fixed, broken, 1 - fixed - broken])
        found = difference_interval(d, np.arange(n), n_resamples=600, seed=run)
        hits += found.low <= fixed - broken <= found.high
    assert hits / runs >= 0.918  # 0.95 less 2.5 standard errors of 300 runs


def test_interval_covers_the_true_difference_of_groups():
    rng, hits, runs = np.random.default_rng(1), 0, 500
    groups = np.repeat(np.arange(60), 4)
    for run in range(runs):
        # All four items of a group turn together half of the time.
        whole = rng.choice([1, -1, 0], 60, p=[0.04, 0.08, 0.88])
        own = rng.choice([1, -1, 0], 240, p=[0.04, 0.08, 0.88])
        d = np.where(np.repeat(rng.random(60) < 0.5, 4), np.repeat(whole, 4), own)
        found = difference_interval(d, groups, n_resamples=600, seed=run)
        hits += found.low <= -0.04 <= found.high
    assert hits / runs >= 0.925


def test_predicted_power_is_the_share_of_simulated_tables_that_are_found():
    rng, n = np.random.default_rng(2), 300
    drawn = rng.multinomial(n, [0.01, 0.04, 0.95], 4000)
    found = np.mean([binomtest(int(f), int(f + b)).pvalue < 0.05 if f + b else False for f, b, _ in drawn])
    assert predicted_power(n, 0.01, 0.04) == pytest.approx(found, abs=0.025)


def test_power_without_change_stays_below_the_level():
    assert predicted_power(200, 0.03, 0.03) <= 0.05
    assert binom.pmf(0, 200, 0.06) < 0.001  # there are discordant items to be misled by


def test_one_group_is_refused():
    with pytest.raises(InputError, match="at least 2 groups"):
        pair([1, 0], [1, 1], ["a", "a"], margin=0.02)


def test_detectable_damage_is_where_the_power_reaches_four_in_five():
    found = detectable_damage(150, 0.02)
    assert predicted_power(150, 0.02, 0.02 + found) >= 0.8
    assert predicted_power(150, 0.02, 0.02 + found - 0.002) < 0.8


def test_without_any_change_a_small_comparison_still_could_have_missed_much():
    """Six discordant items one way are needed for p < 0.05, so 150 items miss a damage of 3 pp more often than not."""
    d = np.zeros(150, dtype=int)
    found = pair(d, d, np.arange(150), margin=0.02)
    assert found.detectable > 0.05
    assert predicted_power(150, 0.0, 0.03) < 0.5


def test_a_larger_family_leaves_less_to_be_found():
    one = pair(*of_table(3, 2), np.arange(60), margin=0.05)
    assert adjusted([one] * 6)[0].detectable > adjusted([one])[0].detectable


def test_where_all_are_right_a_group_counts_as_one_item():
    found, groups = rate(np.ones(40), np.repeat(np.arange(4), 10)), wilson(4, 4)
    assert (found.value, found.low, found.high, found.n, found.n_groups) == (1.0, groups.low, 1.0, 40, 4)
    assert rate(np.zeros(40), np.repeat(np.arange(4), 10)).high == wilson(0, 4).high
    assert rate(np.ones(40), np.arange(40)) == wilson(40, 40)
