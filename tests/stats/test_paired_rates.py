"""Equivalence of two rates on the same items: against brute force, and the error it must not make by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, multinomial, t

from ellora_trust.stats import tost_paired
from ellora_trust.stats.paired_rates import Turned, effective, not_worse, score, score_interval

MARGIN = 0.02


def t_test(d: np.ndarray) -> float:
    """The two one-sided t tests, which this replaced for right/wrong answers."""
    error = d.std(ddof=1) / np.sqrt(len(d))
    return float(t.sf((MARGIN - abs(d.mean())) / error, len(d) - 1)) if error else 0.0


def test_the_score_uses_the_likeliest_share_under_the_fall():
    fixed, broken, n, fall = 3, 7, 60, 0.05
    share = np.linspace(1e-6, 0.4, 400_001)
    likelihood = multinomial.logpmf(
        [fixed, broken, n - 10], n, np.stack([share, share + fall, 1 - 2 * share - fall], 1)
    )
    best = share[likelihood.argmax()]
    expected = (fixed - broken + n * fall) / np.sqrt(n * (2 * best + fall - fall**2))
    assert float(score(fixed, broken, n, fall)) == pytest.approx(expected, abs=1e-4)


def test_the_p_value_equals_a_sum_over_all_tables():
    n, turned = 20, Turned(2, 1, 20)
    tables = [(f, b) for f in range(n + 1) for b in range(n + 1 - f)]
    as_good = [(f, b) for f, b in tables if score(f, b, n, 0.2) >= score(2, 1, n, 0.2) - 1e-9]
    churn = np.linspace(0.2, 0.49, 60)
    chances = [
        sum(multinomial.pmf([f, b, n - f - b], n, [(c - 0.2) / 2, (c + 0.2) / 2, 1 - c]) for f, b in as_good)
        for c in churn
    ]
    assert not_worse(turned, 0.2) == pytest.approx(max(chances) + 0.001, abs=1e-3)


def test_nothing_turned_is_as_likely_as_no_fall_of_the_margin_drawn():
    assert not_worse(Turned(0, 0, 150), MARGIN) == pytest.approx(0.98**150 + 0.001, abs=2e-4)


@pytest.mark.parametrize(("n", "churn"), [(100, 0.0), (150, 0.0), (300, 0.0), (100, 0.03), (150, 0.1)])
def test_a_fall_of_the_whole_margin_is_called_unharmed_in_at_most_five_per_cent(n, churn):
    """The chance is summed over all tables, not simulated."""
    turning = 2 * churn + MARGIN
    called = 0.0
    for turned in range(int(binom.ppf(1e-4, n, turning)), int(binom.ppf(1 - 1e-4, n, turning)) + 1):
        shown = [not_worse(Turned(f, turned - f, n), MARGIN) < 0.05 for f in fixed_or_none(turned, n)]
        least = fixed_or_none(turned, n)[shown.index(True)] if True in shown else turned + 1
        called += binom.pmf(turned, n, turning) * binom.sf(least - 1, turned, churn / turning)
    assert called + 2e-4 <= 0.05


def fixed_or_none(turned: int, n: int) -> range:
    """Numbers of fixed items around the border: far below it nothing is shown, far above it everything is."""
    border = max((turned - round(MARGIN * n)) // 2, 0)
    return range(border, min(border + 12, turned) + 1)


def test_a_t_test_calls_one_such_fall_in_five_unharmed():
    rng = np.random.default_rng(0)
    drawn = rng.choice([0, -1], (1000, 150), p=[1 - MARGIN, MARGIN])
    assert np.mean([t_test(d) < 0.05 for d in drawn]) > 0.15
    assert np.mean([tost_paired(d, MARGIN, range(150)).equivalent for d in drawn[:400]]) <= 0.077


def test_no_change_is_found_unharmed_where_items_are_enough():
    rng = np.random.default_rng(1)
    drawn = rng.choice([-1, 0, 1], (30, 2000), p=[0.02, 0.96, 0.02])
    assert np.mean([tost_paired(d, MARGIN, range(2000)).equivalent for d in drawn]) > 0.8


def test_groups_that_turn_together_count_as_one_item():
    once, index = np.array([1, -1, -1, 0] * 20), np.arange(80)
    copied = effective(np.repeat(once, 5), np.repeat(index, 5))
    assert copied.n == pytest.approx(80, abs=4)
    assert copied.broken == pytest.approx(40, abs=2)
    assert effective(once, index) == Turned(20, 40, 80)
    assert effective(np.zeros(400), np.repeat(index, 5)).n == 80


def test_groups_do_not_call_a_fall_of_the_margin_unharmed_too_often():
    """Items of a group of four turn together half of the time."""
    rng, runs, n_groups = np.random.default_rng(2), 300, 100
    groups = np.repeat(np.arange(n_groups), 4)
    called = 0
    for _ in range(runs):
        whole = np.repeat(rng.choice([1, -1, 0], n_groups, p=[0.01, 0.03, 0.96]), 4)
        own = rng.choice([1, -1, 0], 4 * n_groups, p=[0.01, 0.03, 0.96])
        d = np.where(np.repeat(rng.random(n_groups) < 0.5, 4), whole, own)
        called += tost_paired(d, MARGIN, groups).equivalent
    assert called / runs <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / runs)


def test_the_interval_holds_the_value_and_mirrors():
    low, high = score_interval(Turned(3, 9, 200), 0.9)
    assert low < -0.03 < high
    assert score_interval(Turned(9, 3, 200), 0.9) == pytest.approx((-high, -low))
    assert score_interval(Turned(0, 0, 100), 0.9)[1] == pytest.approx(2.7055 / (100 + 2.7055), abs=1e-4)


def test_a_margin_of_one_is_always_met():
    assert not_worse(Turned(0, 9, 9), 1.0) == 0.001
