"""The estimators against brute force over all subsets of samples."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellora_trust.errors import InputError
from ellora_trust.stats.pass_at_k import pass_at_k
from ellora_trust.tasks.parallel.speedup import efficiency_at_k, speedup, speedup_at_k

VALUES = st.lists(st.floats(0, 8), min_size=1, max_size=7)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(correct: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(correct)))
    share = fmean(any(subset) for subset in combinations(correct, k))
    assert pass_at_k(len(correct), sum(correct), k) == pytest.approx(share)


@given(VALUES, st.data())
def test_speedup_at_k_is_the_mean_best_over_subsets(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    best = fmean(max(subset) for subset in combinations(values, k))
    assert speedup_at_k(values, k) == pytest.approx(best)
    assert efficiency_at_k(values, k, 4) == pytest.approx(best / 4)


@given(VALUES)
def test_the_order_of_samples_does_not_matter(values: list[float]) -> None:
    assert speedup_at_k(values, 1) == pytest.approx(speedup_at_k(values[::-1], 1))
    assert speedup_at_k(values, len(values)) == pytest.approx(max(values))


def test_terms_below_k_are_zero_and_the_fastest_weighs_most() -> None:
    # One subset of two: a term for j = 1, or the slowest first, would give something else than the larger one.
    assert speedup_at_k([1.0, 3.0], 2) == 3.0
    assert speedup_at_k([1.0, 3.0, 0.0], 2) == pytest.approx((3 + 3 + 1) / 3)


def test_one_right_sample_among_wrong_ones_is_not_rated_like_all_right() -> None:
    assert speedup_at_k([2.0, 0.0, 0.0, 0.0], 1) == pytest.approx(0.5)


def test_speedup_is_cut_at_the_workers_and_zero_without_a_time() -> None:
    assert speedup(1.0, 0.4, 4) == pytest.approx(2.5)
    assert speedup(1.0, 0.1, 4) == 4.0
    assert speedup(1.0, None, 4) == 0.0


@pytest.mark.parametrize(("samples", "k"), [(3, 0), (3, 4), (0, 1)])
def test_k_out_of_range_is_refused_with_the_range(samples: int, k: int) -> None:
    with pytest.raises(InputError, match=rf"k={k} is out of range for {samples} samples; use 1\.\.{samples}"):
        pass_at_k(samples, 0, k)
    with pytest.raises(InputError, match=f"k is {k} with {samples} samples"):
        speedup_at_k([1.0] * samples, k)


def test_counts_and_times_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"5 correct of 3 samples is impossible; counts are 0\.\.3"):
        pass_at_k(3, 5, 1)
    with pytest.raises(InputError, match="give numbers above 0"):
        speedup(0.0, 1.0, 2)
    with pytest.raises(InputError, match="give numbers above 0"):
        speedup(1.0, -1.0, 2)
    with pytest.raises(InputError, match="0 workers; give at least 1"):
        efficiency_at_k([1.0], 1, 0)
