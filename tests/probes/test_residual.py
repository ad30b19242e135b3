"""What length explains is taken away, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from ellora_trust.errors import InputError
from ellora_trust.stats import auroc, group_bootstrap
from probes.measuring.residual import residual_auroc, residuals


def rows(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Length, a signal of its own, labels that depend on both, groups of two."""
    rng = np.random.default_rng(seed)
    length, signal = rng.normal(40, 10, n), rng.normal(size=n)
    wrong = (rng.random(n) < 1 / (1 + np.exp(-((length - 40) / 8 + 1.5 * signal)))).astype(int)
    return length, signal, wrong, np.arange(n) // 2


def test_a_score_that_only_knows_the_length_is_left_with_nothing():
    length, _, wrong, groups = rows()
    noisy = 0.3 * length + np.random.default_rng(1).normal(size=len(length))
    found = residual_auroc(wrong, noisy, {"answer length": length}, groups, n_resamples=200)
    assert found.raw.low > 0.6
    assert found.residual.low < 0.5 < found.residual.high
    assert found.change.high < 0
    assert found.explained > 0.8


def test_a_signal_of_its_own_is_kept():
    length, signal, wrong, groups = rows()
    alone = residual_auroc(wrong, signal, {"answer length": length}, groups, n_resamples=200)
    assert alone.residual.value == pytest.approx(alone.raw.value, abs=0.02)
    mixed = residual_auroc(wrong, signal + length, {"answer length": length}, groups, n_resamples=200)
    assert mixed.residual.value == pytest.approx(auroc(wrong, signal), abs=0.02)
    assert mixed.residual.low > 0.6


def test_an_exact_function_of_the_confounders_leaves_exactly_one_half():
    length, signal, wrong, groups = rows()
    found = residual_auroc(wrong, 3 * length - 2 * signal, {"a": length, "b": signal}, groups, n_resamples=20)
    assert (found.residual.low, found.residual.value, found.residual.high) == (0.5, 0.5, 0.5)
    assert found.explained == pytest.approx(1)


def test_ranks_remove_a_monotone_relation_that_a_line_does_not():
    length, _, wrong, groups = rows()
    curved = np.exp(length / 5)
    line = residual_auroc(wrong, curved, {"answer length": length}, groups, n_resamples=20)
    ranked = residual_auroc(wrong, curved, {"answer length": length}, groups, ranks=True, n_resamples=20)
    assert ranked.residual.value == 0.5
    assert abs(line.residual.value - 0.5) > 0.02


def test_residuals_equal_a_straight_line_fit_and_units_do_not_matter():
    length, signal, _, _ = rows()
    slope, offset = np.polyfit(length, signal + length, 1)
    expected = signal + length - slope * length - offset
    assert residuals(signal + length, length[:, None]) == pytest.approx(expected)
    both = np.column_stack([length, signal**2])
    assert residuals(signal + length, both * [1e6, 1e-6] + [7, -3]) == pytest.approx(residuals(signal + length, both))


def test_a_constant_confounder_changes_nothing():
    _, signal, wrong, groups = rows()
    found = residual_auroc(wrong, signal, {"prompt length": np.full(len(wrong), 12)}, groups, n_resamples=20)
    assert found.residual == group_bootstrap(auroc, (wrong, signal), groups, n_resamples=20)


def test_the_regression_is_fitted_again_in_every_resample():
    length, signal, wrong, groups = rows(80)
    score = signal + 0.1 * length

    def by_hand(y, s, c):
        return auroc(y, s - np.polyval(np.polyfit(c, s, 1), c))

    found = residual_auroc(wrong, score, {"answer length": length}, groups, n_resamples=100)
    again = group_bootstrap(by_hand, (wrong, score, length), groups, n_resamples=100)
    assert (found.residual.low, found.residual.high) == pytest.approx((again.low, again.high))


@pytest.mark.parametrize(
    ("confounders", "message"),
    [
        ({}, "no confounders were given; give at least one"),
        ({"length": [1.0]}, r"confounder 'length' has shape \(1,\) for 4 rows"),
        ({"length": [1.0, 2.0, np.nan, 3.0]}, "or values that are not finite; give one finite number a row"),
    ],
)
def test_bad_input_is_one_clear_sentence(confounders, message):
    with pytest.raises(InputError, match=message):
        residual_auroc([0, 1, 0, 1], [1, 2, 3, 4], confounders, [1, 2, 3, 4])
