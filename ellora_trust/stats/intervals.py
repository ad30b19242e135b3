"""Intervals: one number with its ends, for proportions and for any statistic of grouped examples.

Examples of one group (a problem and its near-duplicates) are not independent, so whole groups are resampled.

    print(group_bootstrap(auroc, (is_wrong, risk), problem))       # 0.742 [0.701, 0.781]
    paired_bootstrap(auroc, risk_a, risk_b, is_wrong, problem)     # interval of the difference
    wilson(successes=17, n=40)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import (
    FloatArray,
    Groups,
    auroc,
    check_range,
    group_index,
    weighted_auroc,
    weighted_within_group_auroc,
    within_group_auroc,
)

# Statistics that can score all resamples in one matrix operation; found by identity.
_VECTORISED: tuple[tuple[Callable[..., float], Callable[..., FloatArray]], ...] = (
    (auroc, weighted_auroc),
    (within_group_auroc, weighted_within_group_auroc),
)
# Beyond one resample in twenty without a value, the rest no longer stands for the sampling distribution.
_MAX_UNDEFINED = 0.05
# Entries of one block of row weights: 32 MB, whatever n.
_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The number, in its own unit.
        low: Lower end of the interval, same unit.
        high: Upper end.
        n: Rows it rests on.
        n_groups: Independent groups among them.
        confidence: Nominal coverage, (0, 1).
        method: How the interval was made.
        n_undefined: Resamples left out because the statistic had no value.
    """

    value: float
    low: float
    high: float
    n: int
    n_groups: int
    confidence: float = 0.95
    method: str = ""
    n_undefined: int = 0

    def __format__(self, spec: str) -> str:
        """Format all three numbers alike: `f"{estimate:.1%}"` gives "74.2% [70.1%, 78.1%]"; default `.3f`."""
        spec = spec or ".3f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self)

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the fields as JSON scalars."""
        return asdict(self)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Score interval of a proportion of independent trials.

    Args:
        successes: Trials that succeeded, 0..n.
        n: Trials, >= 1.
        confidence: Coverage, (0, 1).

    Raises:
        InputError: An argument is out of range.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, without continuity correction.
    """
    if n < 1:
        raise InputError(f"n={n} trials give no proportion; use at least 1")
    check_range("successes", successes, 0, n)
    check_range("confidence", confidence, 0, 1, open_ends=True)
    successes, n = int(successes), int(n)  # numpy integers do not go into JSON
    p, z = successes / n, float(norm.ppf((1 + confidence) / 2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Exactly 0 and 1 at the ends, where rounding would leave 1e-18.
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
    return Estimate(p, low, high, n, n, confidence, "wilson")


def group_bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[ArrayLike],
    groups: Groups,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Percentile interval over resamples of whole groups, drawn with replacement.

    Resamples on which the statistic is nan (AUROC with one class) are left out and counted in `n_undefined`.
    With fewer than about 30 groups, percentile intervals are too narrow. `auroc` and `within_group_auroc`
    take a fast path with the same resamples; a statistic of your own that reads groups sees the copies of a
    group as one group.

    Args:
        statistic: Called as `statistic(*arrays)` with the rows of a resample; it ignores row order.
        arrays: What the statistic reads, each with n rows.
        groups: Group of each row, (n,); at least 2 groups.
        n_resamples: Resamples, >= 1.
        seed: Seed of the resamples; equal seeds and groups give equal resamples.
        confidence: Coverage, (0, 1).

    Raises:
        InputError: Shapes differ, fewer than 2 groups, the statistic is nan on the data or on more than 5 %
            of the resamples, or a setting is out of range.

    Source: Efron 1979, doi:10.1214/aos/1176344552; whole clusters: Davison & Hinkley 1997, section 3.8.
    """
    rows, index = checked_rows(arrays, groups)
    value = float(statistic(*rows))
    replicates = _replicates(statistic, rows, index, n_resamples, seed)
    return _percentile(value, replicates, index, confidence, "group bootstrap")


def group_bootstraps(
    statistic: Callable[..., ArrayLike],
    arrays: Sequence[ArrayLike],
    groups: Groups,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Estimate]:
    """As `group_bootstrap` of every entry of what the statistic returns, (k,), on the same resamples, read once."""
    rows, index = checked_rows(arrays, groups)
    found = zip(np.asarray(statistic(*rows)), _replicates(statistic, rows, index, n_resamples, seed).T, strict=True)
    return [_percentile(float(value), entry, index, confidence, "group bootstrap") for value, entry in found]


def paired_bootstrap(
    statistic: Callable[..., float],
    a: ArrayLike,
    b: ArrayLike,
    labels: ArrayLike,
    groups: Groups,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Percentile interval of `statistic(labels, a) - statistic(labels, b)` on the same resampled groups.

    Args:
        statistic: Labels and scores to a number, as `auroc`.
        a: Scores of the first system, n rows.
        b: Scores of the second system on the same rows.
        labels: Labels, n rows.
        groups: Group of each row, (n,); at least 2 groups.
        n_resamples: Resamples, >= 1.
        seed: Seed of the resamples.
        confidence: Coverage, (0, 1).

    Raises:
        InputError: As `group_bootstrap`.
    """
    (y, first, second), index = checked_rows((labels, a, b), groups)
    value = float(statistic(y, first)) - float(statistic(y, second))
    # The same seed draws the same groups for both.
    replicates = _replicates(statistic, [y, first], index, n_resamples, seed) - _replicates(
        statistic, [y, second], index, n_resamples, seed
    )
    return _percentile(value, replicates, index, confidence, "paired group bootstrap")


def checked_rows(arrays: Sequence[ArrayLike], groups: Groups) -> tuple[list[NDArray], NDArray[np.intp]]:
    """Return the arrays, checked to share their rows, and the number of each row's group, (n,).

    Raises:
        InputError: The numbers of rows differ, or there are fewer than 2 groups.
    """
    rows = [np.asarray(array) for array in arrays]
    if not rows or any(not r.ndim or len(r) != len(rows[0]) for r in rows):
        raise InputError(f"arrays of shapes {[r.shape for r in rows]} must share the number of rows; align them")
    index = group_index(groups, len(rows[0]))
    n_groups = len(np.unique(index))
    if n_groups < 2:
        raise InputError(f"{n_groups} group(s) carry no interval; use at least 2 groups (30 for a trustworthy one)")
    return rows, index


def _group_counts(n_groups: int, n: int, n_resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """How often each group is drawn, (resamples, n_groups), in blocks; the blocks do not change the draws."""
    rng, block = np.random.default_rng(seed), max(1, _BLOCK_ENTRIES // n)
    for first in range(0, n_resamples, block):
        drawn = rng.integers(n_groups, size=(min(block, n_resamples - first), n_groups))
        offset = np.arange(len(drawn))[:, None] * n_groups
        yield np.bincount((drawn + offset).ravel(), minlength=drawn.size).reshape(drawn.shape)


def _replicates(
    statistic: Callable[..., ArrayLike], rows: list[NDArray], index: NDArray[np.intp], n_resamples: int, seed: int
) -> FloatArray:
    check_range("n_resamples", n_resamples, 1, math.inf)
    vectorised = next((fast for slow, fast in _VECTORISED if slow is statistic), None)
    values: list[FloatArray] = []
    for counts in _group_counts(int(index.max()) + 1, len(index), n_resamples, seed):
        weights = counts[:, index]
        if vectorised is not None:
            values.append(vectorised(*rows, weights))
        else:
            picks = (np.repeat(np.arange(len(index)), w) for w in weights)
            values.append(np.array([statistic(*(r[pick] for r in rows)) for pick in picks], dtype=np.float64))
    return np.concatenate(values)


def _percentile(
    value: float, replicates: FloatArray, index: NDArray[np.intp], confidence: float, method: str
) -> Estimate:
    check_range("confidence", confidence, 0, 1, open_ends=True)
    undefined = int(np.isnan(replicates).sum())
    if math.isnan(value):
        raise InputError("the statistic is nan on the whole data; it may need both classes or more rows")
    if undefined > _MAX_UNDEFINED * len(replicates):
        raise InputError(
            f"the statistic is nan on {undefined} of {len(replicates)} resamples, over {_MAX_UNDEFINED:.0%}; "
            "collect more groups of the rarer class"
        )
    low, high = np.quantile(replicates[~np.isnan(replicates)], [(1 - confidence) / 2, (1 + confidence) / 2])
    n_groups = int(index.max()) + 1
    return Estimate(value, float(low), float(high), len(index), n_groups, confidence, method, undefined)
