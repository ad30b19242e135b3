"""Numbers of selective prediction, without intervals: AURC, its excess, risk at a coverage, coverage at a risk.

    aurc(wrong, scores)                       # [0, 1], lower is better
    coverage_at_risk(wrong, scores, 0.1)      # how many answers a threshold keeps with at most 10 % wrong

Ties: answers of equal score are taken in random order and every figure is the mean over those orders, in closed form,
so the order of rows does not matter. Copies of a row in a bootstrap resample are such ties.

The functions on `codes` (ranks of the distinct scores) are for resampling: they do not sort.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import check_range, checked_pair


def aurc(wrong: ArrayLike, scores: ArrayLike) -> float:
    """Area under the risk-coverage curve, [0, 1]: mean over i = 1..n of the share wrong among the i safest.

    Args:
        wrong: 0 or 1, (n,).
        scores: Higher is riskier, (n,).

    Raises:
        InputError: Shapes differ or there are no rows.

    Source: Geifman, Uziel & El-Yaniv 2019, arXiv:1805.08206; the curve: Geifman & El-Yaniv 2017, arXiv:1705.08500.
        The authors' code (`RC_curve`) divides every sum below full coverage by one row too many; this does not. Ties:
        mean over orders, ours.
    """
    y, s = checked_scores(wrong, scores)
    return aurc_of_codes(y, score_codes(s))


def e_aurc(wrong: ArrayLike, scores: ArrayLike) -> float:
    """Excess AURC: AURC minus that of a perfect order of the same rows, >= 0.

    Args:
        wrong: 0 or 1, (n,).
        scores: Higher is riskier, (n,).

    Raises:
        InputError: As `aurc`.

    Source: Geifman, Uziel & El-Yaniv 2019, arXiv:1805.08206. They approximate the perfect order's AURC by
        r + (1 - r) ln(1 - r), r the share wrong, which lies a little below it for finite n; here it is exact.
    """
    y, s = checked_scores(wrong, scores)
    return e_aurc_of_codes(y, score_codes(s))


def optimal_aurc(n_wrong: int, n: int) -> float:
    """AURC of a perfect order, [0, 1]: all n - n_wrong right answers first.

    Args:
        n_wrong: Wrong answers, 0..n.
        n: Answers, >= 1.

    Raises:
        InputError: Out of range.
    """
    check_range("n", n, 1, float("inf"))
    check_range("n_wrong", n_wrong, 0, n)
    n_right = n - n_wrong
    # Sum of (i - n_right) / i over i = n_right + 1 .. n, by harmonic numbers.
    return float(n_wrong - n_right * (digamma(n + 1) - digamma(n_right + 1))) / n


def risk_at_coverage(wrong: ArrayLike, scores: ArrayLike, coverage: float) -> float:
    """Share wrong among the safest `coverage` of the rows, [0, 1]; a fraction of a row counts as that fraction.

    Args:
        wrong: 0 or 1, (n,).
        scores: Higher is riskier, (n,).
        coverage: (0, 1].

    Raises:
        InputError: As `aurc`, or coverage out of range.
    """
    y, s = checked_scores(wrong, scores)
    if not 0 < coverage <= 1:
        raise InputError(f"coverage={coverage} is out of range; use a number in (0, 1]")
    return float(risk_of_codes(y, score_codes(s), np.asarray(coverage)))


def coverage_at_risk(wrong: ArrayLike, scores: ArrayLike, risk: float) -> float:
    """Largest share of rows that a threshold can keep with at most `risk` wrong among them, [0, 1]; 0 if none.

    A threshold keeps equal scores together. The threshold is chosen on these very rows: too good for new ones.

    Args:
        wrong: 0 or 1, (n,).
        scores: Higher is riskier, (n,).
        risk: (0, 1).

    Raises:
        InputError: As `aurc`, or risk out of range.
    """
    y, s = checked_scores(wrong, scores)
    check_range("risk", risk, 0, 1, open_ends=True)
    return coverage_of_codes(y, score_codes(s), risk)


def checked_scores(wrong: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    y, s = checked_pair(wrong, scores, "scores")
    if not len(y):
        raise InputError("no rows were given; a risk-coverage curve needs at least one answer")
    return y, s


def score_codes(scores: ArrayLike) -> np.ndarray:
    """Number the distinct scores, so that resamples need no sorting."""
    return np.unique(np.asarray(scores, dtype=float), return_inverse=True)[1]


def _kept_and_wrong(y: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows kept, and wrong among them, at the end of each block of equal scores; from none on."""
    kept = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    return kept, np.concatenate([[0.0], np.cumsum(np.bincount(codes, y))])


def aurc_of_codes(y: np.ndarray, codes: np.ndarray) -> float:
    kept, bad = _kept_and_wrong(y, codes)
    first = np.arange(1, len(y) + 1)
    # Within a block of ties the expected number wrong grows linearly.
    return float(np.mean(np.interp(first, kept, bad) / first))


def e_aurc_of_codes(y: np.ndarray, codes: np.ndarray) -> float:
    return aurc_of_codes(y, codes) - optimal_aurc(int(y.sum()), len(y))


def risk_of_codes(y: np.ndarray, codes: np.ndarray, coverages: np.ndarray) -> np.ndarray:
    kept, bad = _kept_and_wrong(y, codes)
    return np.interp(coverages * len(y), kept, bad) / (coverages * len(y))


def coverage_of_codes(y: np.ndarray, codes: np.ndarray, risk: float) -> float:
    kept, bad = _kept_and_wrong(y, codes)
    return float(kept[bad <= risk * kept + 1e-9].max() / len(y))
