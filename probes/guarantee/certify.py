"""A threshold with a guarantee: below it, answers are wrong at most a stated share of the time.

    certificate = certify(risks, wrong, groups, risk=0.1, confidence=0.95)
    print(certificate.sentence())

Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052): every threshold t has the null hypothesis that
R(t) = P(wrong | score < t) exceeds the target; thresholds whose nulls are rejected, with the family-wise error bounded,
are safe. R is not monotone in t, so conformal risk control does not apply.

What is exchangeable are groups, so one random row of each is used: rows of one problem are no independent evidence.
The guarantee is about a random item of a new group, not about a random row where some groups are larger.

Thresholds. Without `thresholds=` they are order statistics of the calibration scores: data-dependent, label-free.
The row that sets a threshold is not kept (the rule is score < t): given t and the number of rows below it, those rows
are independent draws from the population below t, so their wrong answers are Bin(n, R(t)) and the binomial p-value is
exact for this one random t. (With the row counted it would not be.) Hence:

* Bonferroni is valid over order statistics without any assumption: it sums the errors of single thresholds.
* A fixed sequence (strictest first, stop at the first failure) is valid over order statistics of scores without ties
  if R crosses the target at most once. Let t* be the crossing and t the first order statistic tested above it: given t
  and the number N of rows below t*, wrong rows are Bin(N, target) below t* and likelier than the target between t* and
  t, so the p-value stays conservative. With q upward crossings the error is at most q * (1 - confidence). Holm has no
  such argument here.
* With `thresholds=` set without these rows (such as quantiles of scores from elsewhere) both need no assumption.

MAPIE 1.6's `BinaryClassificationController` tests the same nulls but knows no groups and no order-statistic thresholds,
and its p-value sometimes counts one wrong answer too many (`ceil(n * share)` after rounding), so it is not used.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from ellora_trust.errors import InputError, one_of
from ellora_trust.stats import wilson
from ellora_trust.stats.discrimination import Groups, check_range, checked_pair, group_index
from probes.error_probe import ErrorProbe
from probes.guarantee.certificate import Certificate, Method
from probes.guarantee.threshold_grid import feasibility, given_thresholds, groups_needed, threshold_grid


def certify(
    scores: ArrayLike,
    wrong: ArrayLike,
    groups: Groups,
    *,
    risk: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
    method: Method = "bonferroni",
    thresholds: ArrayLike | None = None,
) -> Certificate:
    """Find the threshold that keeps most answers and is certified to keep the share wrong at `risk` or below.

    Args:
        scores: Higher is riskier, any unit, (n,); of rows that scorer and its choices never saw.
        wrong: 0 or 1, (n,).
        groups: Problem of each row, (n,); near-duplicates share one.
        risk: Largest share wrong among kept answers, (0, 1).
        confidence: Probability that the promise holds, over certification sets, (0, 1).
        seed: Of the draw of one row a group; choose it before looking at results.
        method: `bonferroni` needs no assumption. `fixed-sequence` keeps more answers (with 200 groups about twice as
            many) but without `thresholds` assumes that R crosses the target once, and keeps nothing where the lowest
            scores are not safe.
        thresholds: Candidates chosen without these rows, scores; None takes order statistics. For a fixed sequence the
            smallest must keep enough groups: a test that cannot pass ends it.

    Raises:
        InputError: Shapes differ, no rows, values not finite, or a setting out of range.

    Source: Angelopoulos et al. 2021, arXiv:2110.01052 (fixed sequence, Bonferroni); the binomial tail for selective
        risk: Geifman & El-Yaniv 2017, arXiv:1705.08500. Order statistics: ours, argued above.
    """
    y, s, index = _checked(scores, wrong, groups, (risk, confidence), method)
    rows = one_row_per_group(s, y, index, seed)
    s, y = s[rows], y[rows].astype(int)
    given = None if thresholds is None else given_thresholds(thresholds)
    grid, level = threshold_grid(s, risk, 1 - confidence, method, given)
    order = np.argsort(s)
    kept = np.searchsorted(s[order], grid)
    bad = np.append(0, np.cumsum(y[order]))[kept]
    # Nothing kept is no evidence; the binomial tail says 1 there.
    passed = binom.cdf(bad, kept, risk) <= level
    if method == "fixed-sequence":
        passed = np.logical_and.accumulate(passed)
    best = int(np.flatnonzero(passed)[-1]) if passed.any() else None
    base = wilson(int(y.sum()), len(y))
    return Certificate(
        threshold=None if best is None else float(grid[best]),
        risk=risk,
        confidence=confidence,
        method=method,
        assumes_one_crossing=method == "fixed-sequence" and given is None,
        n_groups=len(y),
        n_needed=groups_needed(risk, confidence),
        n_tested=len(grid),
        base_risk=base,
        least_abstention=feasibility(base.value, risk),
        coverage=None if best is None else wilson(int(kept[best]), len(y)),
        kept_risk=None if best is None else wilson(int(bad[best]), int(kept[best])),
        seed=seed,
        data_hash=data_hash(scores, wrong, groups),
    )


def certify_probe(
    probe: ErrorProbe,
    x: ArrayLike,
    wrong: ArrayLike,
    groups: Groups,
    *,
    fitted_groups: Groups,
    risk: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
    method: Method = "bonferroni",
    thresholds: ArrayLike | None = None,
) -> Certificate:
    """Certify a fitted probe's calibrated risk on answers it was not fitted on; the threshold is a risk, [0, 1].

    Args:
        probe: Fitted.
        x: Held-out activations at its site and position, (n, d).
        wrong: 0 or 1, (n,).
        groups: Problem of each row, (n,).
        fitted_groups: Groups of all rows that fitting, choosing and calibrating the probe used. Rows it has seen look
            safer than they are, so a shared group is refused.
        risk: As in `certify`.
        confidence: As in `certify`.
        seed: As in `certify`.
        method: As in `certify`.
        thresholds: As in `certify`, in risk.

    Raises:
        InputError: A group in both, no fitted groups, or as `certify` and `ErrorProbe.predict`.
    """
    seen = {str(group) for group in np.asarray(fitted_groups).ravel()}
    if not seen:
        raise InputError("fitted_groups is empty; give the groups of the rows that the probe was fitted on")
    shared = sorted(seen & {str(group) for group in np.asarray(groups).ravel()})
    if shared:
        raise InputError(
            f"{len(shared)} groups, such as {shared[0]!r}, were also used to fit the probe; certify on groups it has "
            "not seen"
        )
    risks = probe.predict(x)
    return certify(
        risks, wrong, groups, risk=risk, confidence=confidence, seed=seed, method=method, thresholds=thresholds
    )


def one_row_per_group(scores: np.ndarray, wrong: np.ndarray, index: np.ndarray, seed: int) -> np.ndarray:
    """Return one random row of each group, whatever the order of rows, (n_groups,)."""
    order = np.lexsort((wrong, scores, index))
    size = np.bincount(index)
    start = np.cumsum(size) - size
    return order[start + np.random.default_rng(seed).integers(size)]


def data_hash(scores: ArrayLike, wrong: ArrayLike, groups: Groups) -> str:
    """Return the sha256 of certification rows, whatever their order."""
    columns = (np.asarray(groups), np.asarray(scores, dtype=float), np.asarray(wrong, dtype=int))
    rows = sorted(f"{group}\t{float(score)!r}\t{int(bad)}" for group, score, bad in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _checked(
    scores: ArrayLike, wrong: ArrayLike, groups: Groups, rates: tuple[float, float], method: Method
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check_range("risk", rates[0], 0, 1, open_ends=True)
    check_range("confidence", rates[1], 0, 1, open_ends=True)
    if method not in ("bonferroni", "fixed-sequence"):
        raise InputError(one_of(method, ["bonferroni", "fixed-sequence"], what="method"))
    y, s = checked_pair(wrong, scores, "scores")
    if not len(y):
        raise InputError("no rows were given; certify on held-out answers, one of each of many groups")
    return y, s, group_index(groups, len(y))
