"""Which thresholds are worth testing, and what no test can reach: the label-free part of a guarantee.

groups_needed(risk=0.1, confidence=0.95)      # 29
feasibility(base_risk=0.3, risk=0.1)          # 0.222: any method must withhold that share
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import check_range
from probes.guarantee.certificate import Method

# Bonferroni pays for every threshold: few where there are few groups. A fixed sequence pays for none.
MAX_BONFERRONI, GROUPS_PER_THRESHOLD, N_SEQUENCE = 20, 25, 40


def feasibility(base_risk: float, risk: float) -> float:
    """Share of answers that any method must withhold, [0, 1]: (base_risk - risk) / (1 - risk), or 0.

    A method that withholds a share q, all of it wrong, still keeps base_risk - q wrong among 1 - q.

    Args:
        base_risk: Share wrong of all answers, [0, 1].
        risk: Largest share wrong among kept answers, [0, 1).

    Raises:
        InputError: Out of range.
    """
    check_range("base_risk", base_risk, 0, 1)
    if not 0 <= risk < 1:
        raise InputError(f"risk={risk} is out of range; use a number in [0, 1)")
    return max(0.0, (base_risk - risk) / (1 - risk))


def groups_needed(risk: float, confidence: float) -> int:
    """Groups that must be kept, none wrong, before one test can pass: smallest n with (1 - risk)^n <= 1 - confidence.

    Args:
        risk: (0, 1).
        confidence: (0, 1).

    Raises:
        InputError: Out of range.
    """
    check_range("risk", risk, 0, 1, open_ends=True)
    check_range("confidence", confidence, 0, 1, open_ends=True)
    return _fewest(0, risk, 1 - confidence)


def given_thresholds(thresholds: ArrayLike) -> np.ndarray:
    grid = np.unique(np.asarray(thresholds, dtype=float))
    if not grid.size or np.isnan(grid).any():
        raise InputError(f"thresholds hold {grid.size} values, nan among them or none; give at least one number")
    return grid


def threshold_grid(
    scores: np.ndarray, risk: float, delta: float, method: Method, given: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Thresholds from strict to loose, and the level of each test; labels play no part."""
    if given is not None:
        return given, delta if method == "fixed-sequence" else delta / len(given)
    n = len(scores)
    n_tests, first, level = _plan(n, risk, delta, method)
    ranks = np.unique(np.linspace(first, n, n_tests).round().astype(int)) if first <= n else np.zeros(0, dtype=int)
    # Keeping k rows: the threshold is the score after them; keeping all needs none.
    return np.unique(np.append(np.sort(scores), math.inf)[ranks]), level


def _plan(n: int, risk: float, delta: float, method: Method) -> tuple[int, int, float]:
    """Number of tests, rows kept by the strictest, level of each; from n only."""
    if method == "fixed-sequence":
        # A start that forgives a wrong answer or two passes more often, if it is still strict.
        starts = [_fewest(forgiven, risk, delta) for forgiven in (2, 1, 0)]
        return N_SEQUENCE, next((start for start in starts if start <= n / 3), starts[-1]), delta
    n_tests = max(1, min(MAX_BONFERRONI, n // GROUPS_PER_THRESHOLD))
    while n_tests > 1 and _fewest(0, risk, delta / n_tests) > n:
        n_tests -= 1
    return n_tests, _fewest(0, risk, delta / n_tests), delta / n_tests


@functools.cache
def _fewest(n_wrong: int, risk: float, level: float) -> int:
    """Smallest number of kept rows at which `n_wrong` wrong ones still pass."""
    low, high = n_wrong, n_wrong + 1
    while binom.cdf(n_wrong, high, risk) > level:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binom.cdf(n_wrong, middle, risk) > level else (low, middle)
    return high
