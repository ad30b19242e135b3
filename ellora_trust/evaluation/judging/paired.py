"""The same questions before and after: what changed, how sure that is, and what could have been missed.

    result = pair(before_right, after_right, groups, margin=0.02)
    result.difference, result.p_value, result.equivalence.equivalent, result.equivalence.minimum_detectable_effect

Items are paired; items of one group (a problem and its near-duplicates) count as one draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, binom

from ellora_trust.stats import Equivalence, Estimate, group_bootstrap, holm, mcnemar, tost_paired, wilson
from ellora_trust.stats.discrimination import Groups
from ellora_trust.stats.intervals import checked_rows

N_RESAMPLES = 2000


@dataclass(frozen=True)
class Paired:
    """Right answers before and after, on the same items.

    Attributes:
        before: Share right before, with its interval.
        after: Share right after.
        difference: After minus before (the risk difference), with its paired interval.
        fixed: Items wrong before and right after.
        broken: Items right before and wrong after.
        odds_ratio: Matched odds ratio fixed / broken, exact interval; its ends may be 0 and infinity, written as None.
        mcnemar_p: Exact McNemar test, which takes items as independent, (0, 1].
        p_value: The same test with whole groups exchanged; equal to McNemar's where each item is its own group.
        holm_p: `p_value` adjusted for the family of all tasks and candidates of the comparison.
        equivalence: Two one-sided tests of "the difference is within the margin".
        detectable: Smallest drop that the exact test, at the level left to one test of the family, finds with a chance
            of 80 % on so many groups with so much turning both ways; [0, 1].
    """

    before: Estimate
    after: Estimate
    difference: Estimate
    fixed: int
    broken: int
    odds_ratio: tuple[float | None, float | None, float | None]
    mcnemar_p: float
    p_value: float
    holm_p: float
    equivalence: Equivalence
    detectable: float


def pair(
    before: ArrayLike,
    after: ArrayLike,
    groups: Groups,
    *,
    margin: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Compare right answers before and after.

    Args:
        before: Whether each item was answered rightly before, 0/1, (n,).
        after: The same after.
        groups: Group of each item, (n,); at least 2.
        margin: Largest difference of rates that does not matter, > 0.
        confidence: Of the intervals, (0, 1); the equivalence test's level is 1 - confidence.
        seed: Of the bootstrap.

    Raises:
        InputError: Shapes differ, a value is not 0/1, or fewer than 2 groups.
    """
    a, b = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    plain = mcnemar(b, a)
    p_value = group_exchange_p(b - a, groups)
    background = min(plain.only_a, plain.only_b) / len(a)
    n_groups = len(set(np.asarray(groups).tolist()))
    return Paired(
        rate(a, groups, confidence),
        rate(b, groups, confidence),
        difference_interval(b - a, groups, confidence=confidence, seed=seed),
        plain.only_a,
        plain.only_b,
        matched_odds_ratio(plain.only_a, plain.only_b, confidence),
        plain.p_value,
        p_value,
        p_value,
        tost_paired(b - a, margin, groups, alpha=1 - confidence),
        detectable_damage(n_groups, background, alpha=1 - confidence),
    )


def adjusted(family: Sequence[Paired]) -> list[Paired]:
    """Return the same results with Holm's p-values of the family, and what can be found at the level that is left."""
    together = holm([one.p_value for one in family])
    return [
        replace(one, holm_p=float(p), detectable=_left(one, len(family)))
        for one, p in zip(family, together, strict=True)
    ]


def _left(one: Paired, n_tests: int) -> float:
    background = min(one.fixed, one.broken) / one.difference.n
    return detectable_damage(one.difference.n_groups, background, alpha=one.equivalence.alpha / n_tests)


def rate(right: NDArray, groups: Groups, confidence: float = 0.95) -> Estimate:
    """Return a share of right answers: Wilson where items are independent, else a bootstrap over groups."""
    n_groups = len(set(np.asarray(groups).tolist()))
    if n_groups == len(right):
        return wilson(int(right.sum()), len(right), confidence)
    if right.min() == right.max():  # resamples would all be the same
        whole = wilson(n_groups * int(right.max()), n_groups, confidence)
        return replace(whole, n=len(right), method="wilson, groups as items")
    return group_bootstrap(lambda values: float(values.mean()), (right,), groups, confidence=confidence)


def difference_interval(
    differences: ArrayLike,
    groups: Groups,
    *,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Bootstrap interval of a mean paired difference over whole groups, with two pseudo-groups.

    A plain bootstrap of few discordant items is too narrow, and of none has no width at all. As Bonett and Price do for
    single items, one group that turned wholly for the better and one wholly for the worse are added before resampling;
    the value reported is that of the data alone.

    Args:
        differences: After minus before, each in [-1, 1], (n,).
        groups: Group of each row, (n,); at least 2.
        confidence: Coverage, (0, 1).
        n_resamples: Resamples.
        seed: Of the resamples.

    Source: Bonett & Price 2012, doi:10.3102/1076998611411915 (adjusted Wald interval); resampling whole clusters:
        Davison & Hinkley 1997, section 3.8. Their union is ours; its coverage is simulated in the tests.
    """
    (d,), index = checked_rows((np.asarray(differences, dtype=np.float64),), groups)
    sizes = np.bincount(index).astype(float)
    typical = float(sizes.mean())
    sums = np.concatenate([np.bincount(index, d), [typical, -typical]])
    sizes = np.concatenate([sizes, [typical, typical]])
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), n_resamples)
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(d.mean())
    ends = min(float(low), value), max(float(high), value)
    return Estimate(value, *ends, len(d), len(sizes) - 2, confidence, "paired group bootstrap with two pseudo-groups")


def group_exchange_p(differences: ArrayLike, groups: Groups) -> float:
    """Exact two-sided test of no change: before and after of each whole group are exchanged in all ways.

    With one item a group this is McNemar's exact test.

    Args:
        differences: After minus before, each -1, 0 or 1, (n,).
        groups: Group of each row, (n,); at least 2.

    Source: Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", paired exchange; the exact
        distribution by convolution is ours.
    """
    (d,), index = checked_rows((np.asarray(differences, dtype=np.float64),), groups)
    sums = np.abs(np.bincount(index, d).round().astype(int))
    sums = sums[sums > 0]
    if not len(sums):
        return 1.0
    total = int(sums.sum())
    # Chance of each total of +-sum; the total t stands at place t + total.
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for one in sums:
        chances = (np.roll(chances, one) + np.roll(chances, -one)) / 2
    reached = np.abs(np.arange(-total, total + 1)) >= abs(round(float(d.sum())))
    return min(float(chances[reached].sum()), 1.0)


def matched_odds_ratio(
    fixed: int, broken: int, confidence: float = 0.95
) -> tuple[float | None, float | None, float | None]:
    """Return fixed / broken with the exact interval from the binomial share; None for infinity or 0 / 0.

    Source: Breslow & Day 1980, "Statistical Methods in Cancer Research" I, section 5.2, with Clopper-Pearson ends.
    """
    n, tail = fixed + broken, (1 - confidence) / 2
    if n == 0:
        return None, None, None
    low = float(beta.ppf(tail, fixed, broken + 1)) if fixed else 0.0
    high = float(beta.ppf(1 - tail, fixed + 1, broken)) if broken else 1.0
    return tuple(_odds(share) for share in (fixed / n, low, high))  # pyright: ignore[reportReturnType]


def _odds(share: float) -> float | None:
    return None if share >= 1 or math.isnan(share) else share / (1 - share)


def predicted_power(n: int, fixed: float, broken: float, alpha: float = 0.05) -> float:
    """Return the chance that McNemar's exact test on n independent items finds a change.

    Args:
        n: Items.
        fixed: Share of all items that turn right, [0, 1].
        broken: Share that turn wrong, [0, 1].
        alpha: Level of the two-sided test.

    Source: the exact distribution of the test statistic, summed over the number of discordant items.
    """
    share = min(fixed + broken, 1.0)
    if share == 0:
        return 0.0
    discordant = np.arange(1, n + 1)
    # Rejected where at most `most` items turned one way: the largest count whose two tails stay within alpha.
    most = binom.ppf(alpha / 2, discordant, 0.5)
    most = np.where(2 * binom.cdf(most, discordant, 0.5) < alpha, most, most - 1)
    one_way = fixed / (fixed + broken)
    found = binom.cdf(most, discordant, one_way) + binom.sf(discordant - most - 1, discordant, one_way)
    return float((binom.pmf(discordant, n, share) * found).sum())


def detectable_damage(n: int, background: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest drop of a rate that McNemar's exact test on n items finds with this power; 1 if none.

    Args:
        n: Independent items.
        background: Share of items that turn each way besides, [0, 0.5).
        alpha: Level.
        power: Chance to find it, (0, 1).
    """
    low, high = 0.0, 1.0 - 2 * background
    if predicted_power(n, background, background + high, alpha) < power:
        return 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        enough = predicted_power(n, background, background + middle, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high
