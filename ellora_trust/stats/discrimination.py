"""How well a score separates two classes: AUROC, pooled, within groups and weighted, and the n it needs.

AUROC is the chance that a random positive scores above a random negative, ties half. Plain numbers only:
`ellora_trust.stats` gives them intervals.

    auroc(is_wrong, risk)                          # [0, 1]; nan with one class
    within_group_auroc(is_wrong, risk, problem)    # does it separate answers to the same problem?
    sample_size_for_auroc(0.05, base_rate=0.3)     # examples needed for +-0.05
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ellora_trust.errors import InputError

FloatArray = NDArray[np.float64]
Groups = Sequence[Hashable] | NDArray


def group_index(groups: Groups, n: int) -> NDArray[np.intp]:
    """Number the groups 0, 1, ... in sorted order; one number per row, (n,).

    Raises:
        InputError: `groups` does not have one entry per row.
    """
    array = np.asarray(groups)
    if array.shape != (n,):
        raise InputError(f"groups has shape {array.shape} for {n} rows; pass one group name per row")
    return np.unique(array.astype(str) if array.dtype == object else array, return_inverse=True)[1]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, [0, 1]; nan where only one class is present.

    Args:
        labels: 0 or 1 (or booleans), (n,).
        scores: Higher means label 1 is likelier, (n,), finite, any unit.

    Raises:
        InputError: Shapes differ, a label is not 0/1, or a score is not finite.

    Source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747 (the Mann-Whitney form).
    """
    y, s = checked_pair(labels, scores, "scores")
    return _pooled(*_concordance(y, s, np.zeros(len(y), dtype=np.intp)))


def within_group_auroc(labels: ArrayLike, scores: ArrayLike, groups: Groups) -> float:
    """AUROC over pairs of the same group only, pairs pooled, [0, 1]; nan where no group has both classes.

    What is left of an AUROC when the difficulty of the problem is taken out.

    Args:
        labels: 0 or 1, (n,).
        scores: Higher means label 1 is likelier, (n,).
        groups: Group of each row, (n,).

    Raises:
        InputError: As `auroc`, or `groups` has another length.
    """
    y, s = checked_pair(labels, scores, "scores")
    return _pooled(*_concordance(y, s, group_index(groups, len(y))))


def weighted_auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> FloatArray:
    """AUROC of many reweighted samples at once; weight k equals k copies of the row.

    Args:
        labels: 0 or 1, (n,).
        scores: As in `auroc`, (n,).
        weights: Row weights >= 0, (n,) or (n_samples, n).

    Returns:
        AUROC in [0, 1], () or (n_samples,); nan where a class has no weight.

    Raises:
        InputError: As `auroc`, or weights of another length or below 0.
    """
    y, s = checked_pair(labels, scores, "scores")
    w = _checked_weights(weights, len(y))
    order = np.argsort(s, kind="stable")
    # One cell per distinct score, so that ties count half whatever their order.
    cells = np.flatnonzero(np.diff(s[order], prepend=-np.inf)) if len(y) else np.zeros(0, dtype=np.intp)
    positive = np.add.reduceat(w[..., order] * y[order], cells, axis=-1)
    negative = np.add.reduceat(w[..., order] * (1 - y[order]), cells, axis=-1)
    below = np.cumsum(negative, axis=-1) - negative
    concordant = (positive * (below + negative / 2)).sum(axis=-1)
    return _ratio(concordant, positive.sum(axis=-1) * negative.sum(axis=-1))


def weighted_within_group_auroc(labels: ArrayLike, scores: ArrayLike, groups: Groups, weights: ArrayLike) -> FloatArray:
    """`within_group_auroc` of many reweighted samples; a group drawn k times counts as k separate groups.

    Args:
        labels: 0 or 1, (n,).
        scores: As in `auroc`, (n,).
        groups: Group of each row, (n,).
        weights: Row weights >= 0, constant within each group, (n,) or (n_samples, n).

    Raises:
        InputError: As `weighted_auroc`, or weights that differ within a group.
    """
    y, s = checked_pair(labels, scores, "scores")
    w, index = _checked_weights(weights, len(y)), group_index(groups, len(y))
    per_group = w[..., np.unique(index, return_index=True)[1]]
    if not np.array_equal(per_group[..., index], w):
        raise InputError("rows of one group have different weights; resample by these groups or by coarser ones")
    concordant, pairs = _concordance(y, s, index)
    return _ratio(per_group @ concordant, per_group @ pairs)


def hanley_mcneil_se(auroc: float, n_pos: float, n_neg: float) -> float:
    """Standard error of an AUROC, in AUROC units, for independent examples.

    Args:
        auroc: Expected AUROC, [0, 1].
        n_pos: Positive examples, >= 1; a fraction is allowed for planning.
        n_neg: Negative examples, >= 1.

    Raises:
        InputError: An argument is out of range.

    Source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747 (exponential approximation).
    """
    check_range("auroc", auroc, 0, 1)
    if min(n_pos, n_neg) < 1:
        raise InputError(f"n_pos={n_pos}, n_neg={n_neg}: need at least 1 of each; collect both classes")
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (n_pos - 1) * (q1 - auroc**2) + (n_neg - 1) * (q2 - auroc**2)
    return math.sqrt(max(variance, 0.0) / (n_pos * n_neg))


def sample_size_for_auroc(
    half_width: float,
    base_rate: float,
    auroc: float = 0.75,
    confidence: float = 0.95,
    design_effect: float = 1.0,
) -> int:
    """Smallest number of examples whose normal interval for the AUROC is at most +-`half_width`.

    Args:
        half_width: Half of the wanted interval, in AUROC units, (0, 0.5).
        base_rate: Share of positives, (0, 1); their expected number may be a fraction.
        auroc: AUROC you expect, (0, 1).
        confidence: Coverage, (0, 1).
        design_effect: Variance inflation by grouping, >= 1: 1 + (group size - 1) * intraclass correlation.

    Raises:
        InputError: An argument is out of range.

    Source: Hanley & McNeil 1982, solved for n; design effect: Kish 1965, "Survey Sampling".
    """
    check_range("half_width", half_width, 0, 0.5, open_ends=True)
    check_range("base_rate", base_rate, 0, 1, open_ends=True)
    check_range("auroc", auroc, 0, 1, open_ends=True)
    check_range("confidence", confidence, 0, 1, open_ends=True)
    if not design_effect >= 1:
        raise InputError(f"design_effect={design_effect} must be at least 1; use 1 for independent examples")
    target = half_width / (norm.ppf((1 + confidence) / 2) * math.sqrt(design_effect))
    # The standard error falls with n: double until it fits, then bisect. Start where each class has one.
    low = math.ceil(1 / min(base_rate, 1 - base_rate)) - 1
    high = low + 1
    while hanley_mcneil_se(auroc, *_class_sizes(high, base_rate)) > target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = hanley_mcneil_se(auroc, *_class_sizes(middle, base_rate)) <= target
        low, high = (low, middle) if fits else (middle, high)
    return high


def _concordance(y: FloatArray, s: FloatArray, index: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Per group: pairs in the right order (ties half), and pairs of both classes. One sort, no loop."""
    if not len(y):
        return np.zeros(1), np.zeros(1)
    order = np.lexsort((s, index))
    group, value = index[order], s[order]
    # One cell per group and distinct score, so that ties count half whatever their order.
    cells = np.flatnonzero(np.diff(group, prepend=-1) | (np.diff(value, prepend=-np.inf) != 0))
    positive = np.add.reduceat(y[order], cells)
    negative = np.diff(cells, append=len(y)) - positive
    owner = group[cells]
    n_pos, n_neg = np.bincount(owner, positive), np.bincount(owner, negative)
    below = np.cumsum(negative) - negative - (np.cumsum(n_neg) - n_neg)[owner]
    return np.bincount(owner, positive * (below + negative / 2)).astype(np.float64), (n_pos * n_neg).astype(np.float64)


def _pooled(concordant: FloatArray, pairs: FloatArray) -> float:
    return float(concordant.sum() / pairs.sum()) if pairs.sum() else math.nan


def _ratio(top: ArrayLike, bottom: ArrayLike) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(bottom) > 0, np.divide(top, bottom), np.nan)


def _class_sizes(n: int, base_rate: float) -> tuple[float, float]:
    # n * (1 / n) may round to just below 1.
    return max(n * base_rate, 1.0), max(n * (1 - base_rate), 1.0)


def check_range(name: str, value: float, low: float, high: float, *, open_ends: bool = False) -> None:
    if not (low < value < high if open_ends else low <= value <= high):
        allowed = f"({low}, {high})" if open_ends else f"[{low}, {high}]"
        raise InputError(f"{name}={value} is out of range; use a number in {allowed}")


def checked_pair(labels: ArrayLike, values: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise InputError(f"labels {y.shape} and {name} {s.shape} must both be (n,); pass one of each per example")
    if not np.all((y == 0) | (y == 1)):
        raise InputError(
            f"label {y[(y != 0) & (y != 1)][0]} is neither 0 nor 1; pass booleans, 1 for the positive class"
        )
    if not np.all(np.isfinite(s)):
        raise InputError(f"{name} hold {np.sum(~np.isfinite(s))} nan or infinite values; drop those rows first")
    return y, s


def _checked_weights(weights: ArrayLike, n: int) -> FloatArray:
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim not in (1, 2) or w.shape[-1] != n or (w.size and not w.min() >= 0):
        raise InputError(f"weights {w.shape} for {n} rows; pass (n,) or (n_samples, n) weights, none below 0")
    return w
