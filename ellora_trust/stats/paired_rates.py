"""Two rates on the same items: is their difference within a margin? Exact where items are few that turn.

A t test of right/wrong answers says "within" far too often where few items turn: of 150 items of which 2 % break, one
draw in five holds at most one broken item, and that one makes the estimated error tiny. Here the chance of a result as
good is computed from the counts themselves, at whatever share of turning items makes it largest.

    not_worse(Turned(fixed=3, broken=2, n=400), margin=0.02)              # p-value
    score_interval(Turned(fixed=3, broken=2, n=400), confidence=0.9)      # (low, high)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import beta, binom, norm

# Chance that the share that turns lies outside the range searched; it is added to the p-value.
_OUTSIDE = 0.001
_GRID = 41
_TAIL = 1e-9
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Turned:
    """Items that turned.

    Attributes:
        fixed: Wrong before and right after.
        broken: Right before and wrong after.
        n: All items.
    """

    fixed: int
    broken: int
    n: int

    @property
    def reversed(self) -> Turned:
        return Turned(self.broken, self.fixed, self.n)


def effective(d: NDArray, index: NDArray[np.intp]) -> Turned:
    """Return what so many independent items would have shown, where items of a group are not independent.

    Counts are divided by the design effect: the variance of the mean over whole groups to that over single items. One
    group that turned wholly for the better and one wholly for the worse are added to both, so that where nothing turned
    a group counts as one item. Rounded against "not worse": items and fixed ones down, broken ones up.

    Args:
        d: After minus before, -1, 0 or 1, (n,).
        index: Number of each row's group, (n,).

    Source: Rao & Scott 1992, doi:10.2307/2532311; the two groups added are ours, as in the interval of the difference.
    """
    typical, mean = float(np.bincount(index).mean()), float(d.mean())
    whole = float(np.square(np.bincount(index, d - mean)).sum()) + 2 * typical**2
    single = float(np.square(d - mean).sum()) + 2 * typical
    effect = max(whole / single, 1.0)
    fixed, broken = int((d > 0).sum()), int((d < 0).sum())
    counts = math.floor(fixed / effect + _ROUNDING), math.ceil(broken / effect - _ROUNDING)
    return Turned(*counts, max(math.floor(len(d) / effect + _ROUNDING), sum(counts)))


@lru_cache(maxsize=4096)
def not_worse(turned: Turned, margin: float) -> float:
    """Return the p-value of "the rate falls by the margin or more", (0, 1].

    Args:
        turned: What turned.
        margin: Of the difference of rates, > 0; a fall of 1 or more cannot be, so its p-value is the smallest.

    Source: unconditional exact test on the score statistic, Liu et al. 2002, doi:10.1002/sim.1012; the range of the
        share that turns by Berger & Boos 1994, doi:10.1080/01621459.1994.10476836.
    """
    if margin >= 1:
        return _OUTSIDE
    n = turned.n
    low, high = _share(turned.fixed + turned.broken, n)
    churn = np.unique(np.linspace(max(low, margin), max(high, margin), _GRID))
    counts = np.arange(int(binom.ppf(1 - _TAIL, n, churn[-1])) + 1)
    needed = _least_fixed(counts, n, margin, float(score(turned.fixed, turned.broken, n, margin)))
    reached = binom.sf(needed[None] - 1, counts[None], np.maximum((churn - margin) / (2 * churn), 0.0)[:, None])
    chance = (binom.pmf(counts[None], n, churn[:, None]) * reached).sum(1)
    return min(float(chance.max()) + _OUTSIDE, 1.0)


def _share(hits: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson range of the share that turns."""
    low = float(beta.ppf(_OUTSIDE / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - _OUTSIDE / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def _least_fixed(counts: NDArray, n: int, margin: float, seen: float) -> NDArray:
    """Return, for each number of turned items, how many of them must be fixed to score as high as was seen."""
    # The score rises with the items fixed: halve the range until one is left, counts + 1 where none is enough.
    low, high = np.zeros_like(counts), counts + 1
    while (low < high).any():
        middle = (low + high) // 2
        enough = score(middle, np.maximum(counts - middle, 0), n, margin) >= seen - _ROUNDING
        low, high = np.where((low < high) & ~enough, middle + 1, low), np.where((low < high) & enough, middle, high)
    return low


def score(fixed: ArrayLike, broken: ArrayLike, n: int, fall: float) -> NDArray:
    """Return the score statistic of "the rate falls by so much"; a high one speaks against it.

    Args:
        fixed: Items that turned right.
        broken: Items that turned wrong.
        n: All items.
        fall: Of the rate, (-1, 1).

    Source: Tango 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B, section 3; the share that
        is fixed maximises the likelihood of the counts under the fall.
    """
    f, b = np.asarray(fixed, dtype=float), np.asarray(broken, dtype=float)
    linear = (f + b) * (1 - fall) - 2 * fall * (n - b)
    share = (linear + np.sqrt(np.maximum(linear**2 + 8 * n * f * fall * (1 - fall), 0.0))) / (4 * n)
    share = np.maximum(share, max(0.0, -fall))
    variance = n * (2 * share + fall - fall**2)
    return (f - b + n * fall) / np.sqrt(np.maximum(variance, 1e-12))


def score_interval(turned: Turned, confidence: float) -> tuple[float, float]:
    """Return the differences of rates that the score test does not refuse.

    Args:
        turned: What turned.
        confidence: Coverage, (0, 1).

    Source: Tango 1998, as `score`.
    """
    return -_largest_fall(turned, confidence), _largest_fall(turned.reversed, confidence)


def _largest_fall(turned: Turned, confidence: float) -> float:
    limit = float(norm.ppf((1 + confidence) / 2))
    seen = (turned.broken - turned.fixed) / turned.n

    def beyond(fall: float) -> float:
        return float(score(turned.fixed, turned.broken, turned.n, fall)) - limit

    return float(brentq(beyond, seen, 1 - 1e-9)) if seen < 1 - 1e-6 else 1.0  # pyright: ignore[reportArgumentType]
