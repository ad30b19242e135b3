"""Shown to be the same: two one-sided tests on paired differences, with the effect the data could have seen.

A large p-value of a difference test is no evidence of equality; this is. For "the edit cost nothing".

    result = tost_paired(after_correct - before_correct, margin=0.02, groups=problem)
    result.equivalent, result.difference, result.minimum_detectable_effect
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import Groups, check_range
from ellora_trust.stats.intervals import Estimate, checked_rows
from ellora_trust.stats.paired_rates import effective, not_worse, score_interval


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference is shown to lie within +-margin.

    Attributes:
        difference: Mean difference with its 1 - 2 alpha interval, in the unit given.
        margin: Largest difference that does not matter, same unit.
        p_value: Of the two one-sided tests, [0, 1].
        equivalent: Whether p_value < alpha.
        minimum_detectable_effect: True difference that a two-sided test at `alpha` on such data finds with
            probability `power`, same unit.
        alpha: Level.
        power: Power of the minimum detectable effect.
    """

    difference: Estimate
    margin: float
    p_value: float
    equivalent: bool
    minimum_detectable_effect: float
    alpha: float
    power: float


def tost_paired(
    differences: ArrayLike, margin: float, groups: Groups, *, alpha: float = 0.05, power: float = 0.8
) -> Equivalence:
    """Two one-sided tests: is the mean difference within +-margin?

    Differences of right/wrong answers (-1, 0, 1) are tested by an exact test of their counts, scaled to independent
    items by the design effect of the groups; see `ellora_trust.stats.paired_rates` for why no t test will do. Other
    differences get t tests with a cluster-robust error; where they are all the same there is no variance to estimate,
    and for differences bounded by 1 the chance of having drawn no deviating group replaces the t test (`method` says
    which).

    Args:
        differences: Per example, first system minus second, (n,).
        margin: Largest mean difference that does not matter, > 0, same unit.
        groups: Group of each row, (n,); at least 2 groups.
        alpha: Level of each test, (0, 0.5).
        power: Power of the minimum detectable effect, (0.5, 1).

    Raises:
        InputError: Shapes differ, fewer than 2 groups, or a setting is out of range.

    Source: Schuirmann 1987, doi:10.1007/BF01068419; cluster error: Cameron & Miller 2015,
        doi:10.3368/jhr.50.2.317; minimum detectable effect: Bloom 1995, doi:10.1177/0193841X9501900504.
    """
    (d,), index = checked_rows((np.asarray(differences, dtype=np.float64),), groups)
    if d.ndim != 1 or not np.isfinite(d).all() or not margin > 0:
        raise InputError(f"differences {d.shape} must be finite and (n,), margin={margin} above 0; drop undecided rows")
    check_range("alpha", alpha, 0, 0.5, open_ends=True)
    check_range("power", power, 0.5, 1, open_ends=True)
    n_groups = int(index.max()) + 1
    half, mde, p_value, constant = _by_t(d, index, margin, alpha, power)
    if np.isin(d, (-1.0, 0.0, 1.0)).all():
        ways = effective(d, index), effective(-d, index)
        p_value, method = max(not_worse(one, margin) for one in ways), "exact, counts scaled to independent items"
        low, high = score_interval(ways[0], 1 - 2 * alpha)[0], -score_interval(ways[1], 1 - 2 * alpha)[0]
    else:
        method = "share of deviating groups" if constant else "cluster-robust t"
        low, high = float(d.mean()) - half, float(d.mean()) + half
    interval = Estimate(float(d.mean()), low, high, len(d), n_groups, 1 - 2 * alpha, method)
    return Equivalence(interval, margin, p_value, p_value < alpha, mde, alpha, power)


def _by_t(
    d: NDArray, index: NDArray[np.intp], margin: float, alpha: float, power: float
) -> tuple[float, float, float, bool]:
    """Return half the width of the interval, the detectable effect, the p-value, and whether all are the same."""
    mean, n_groups = float(d.mean()), int(index.max()) + 1
    sums = np.bincount(index, d - mean)
    se = math.sqrt(n_groups / (n_groups - 1) * float(sums @ sums)) / len(d)
    # Rounding of the mean leaves an error of this size where all differences are equal.
    if se <= 1e-14 * abs(mean):
        left = min(max(margin - abs(mean), 0.0), 1.0)
        return 1 - alpha ** (1 / n_groups), 1 - (1 - power) ** (1 / n_groups), (1 - left) ** n_groups, True
    low_t, power_t, two_sided_t = t.ppf([1 - alpha, power, 1 - alpha / 2], n_groups - 1)
    p_value = float(t.sf((margin - abs(mean)) / se, n_groups - 1))
    return float(low_t) * se, float(two_sided_t + power_t) * se, p_value, False
