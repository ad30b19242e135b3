"""Whether a stated probability means what it says: Brier score, its skill, expected calibration error.

Plain numbers only; for an interval pass one to `ellora_trust.stats.group_bootstrap`.

    brier(probabilities, labels)                          # [0, 1], 0 is best
    brier_skill(probabilities, labels)                    # 0 = no better than the base rate
    group_bootstrap(brier, (probabilities, labels), groups)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import FloatArray, check_range, checked_pair


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared error of the probabilities, [0, 1]; 0 is best.

    Args:
        probabilities: Probability of label 1, [0, 1], (n,).
        labels: 0 or 1, (n,).

    Raises:
        InputError: Shapes differ or are empty, or a value is out of range.

    Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    p, y = _probabilities(probabilities, labels)
    return float(np.mean((p - y) ** 2))


def brier_skill(probabilities: ArrayLike, labels: ArrayLike, base_rate: float | None = None) -> float:
    """Share of a constant forecast's Brier score that the probabilities remove, (-inf, 1]; 0 is no skill.

    Args:
        probabilities: Probability of label 1, [0, 1], (n,).
        labels: 0 or 1, (n,).
        base_rate: The constant forecast, [0, 1]; None takes the rate of `labels`, the best in hindsight.

    Returns:
        The skill; nan where the constant forecast is already perfect.

    Raises:
        InputError: As `brier`, or `base_rate` out of range.
    """
    p, y = _probabilities(probabilities, labels)
    rate = float(y.mean()) if base_rate is None else base_rate
    check_range("base_rate", rate, 0, 1)
    reference = float(np.mean((rate - y) ** 2))
    return 1 - float(np.mean((p - y) ** 2)) / reference if reference > 0 else math.nan


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Mean absolute gap between stated probability and observed rate over bins of equal mass, [0, 1].

    Equal probabilities always share a bin (the one of their middle rank), so the result does not depend on
    the order of the rows. Biased upwards when bins hold few rows: compare only at equal n and bins.

    Args:
        probabilities: Probability of label 1, [0, 1], (n,).
        labels: 0 or 1, (n,).
        bins: Number of bins, 1..n.

    Raises:
        InputError: As `brier`, or `bins` out of range.

    Source: Nixon et al. 2019, arXiv:1904.01685 (adaptive binning).
    """
    p, y = _probabilities(probabilities, labels)
    check_range("bins", bins, 1, len(p))
    bin_of = ((rankdata(p) - 0.5) * bins / len(p)).astype(int)
    return float(np.abs(np.bincount(bin_of, p - y)).sum() / len(p))


def _probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, FloatArray]:
    y, p = checked_pair(labels, probabilities, "probabilities")
    if not len(p) or p.min() < 0 or p.max() > 1:
        given = f"range [{p.min()}, {p.max()}]" if len(p) else "no rows"
        raise InputError(f"probabilities have {given}; pass at least one, all in [0, 1] (calibrate scores first)")
    return p, y
