"""Risk and coverage: how often answers are wrong when the riskiest ones are withheld.

    result = risk_coverage(wrong, probe_scores, groups, baseline=logprob_scores)
    result.aurc, result.coverage_at_risk           # each with its interval
    result.aurc_difference                         # probe - baseline on the same resamples

These numbers describe the rows given. For a promise about new answers see `probes.guarantee.certify`.

Ties count as the mean over their orders (`probes.measuring.aurc`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ellora_trust.stats import Estimate, group_bootstraps, paired_bootstrap
from ellora_trust.stats.discrimination import Groups, check_range
from probes.measuring.aurc import (
    aurc_of_codes,
    checked_scores,
    coverage_of_codes,
    e_aurc_of_codes,
    risk_of_codes,
    score_codes,
)


@dataclass(frozen=True)
class Point:
    """One point of a risk-coverage curve.

    Attributes:
        coverage: Share of answers kept, (0, 1].
        risk: Share wrong among those kept, [0, 1].
    """

    coverage: float
    risk: Estimate


@dataclass(frozen=True)
class RiskCoverage:
    """A risk-coverage curve and its summaries; every interval is a bootstrap over groups.

    Attributes:
        name: Of the scores.
        risk: The stated risk, (0, 1), that `coverage_at_risk` refers to.
        base_risk: Share wrong when all are kept.
        points: The curve.
        aurc: Area under it, [0, 1]; lower is better.
        e_aurc: What of it a perfect order would remove, >= 0.
        coverage_at_risk: Largest coverage with at most `risk` wrong among the kept rows; in hindsight, not a promise.
        baseline: The same for other scores on the same rows.
        aurc_difference: AURC minus that of the baseline; below 0 is better.
        coverage_difference: `coverage_at_risk` minus that of the baseline; above 0 is better.
    """

    name: str
    risk: float
    base_risk: Estimate
    points: list[Point]
    aurc: Estimate
    e_aurc: Estimate
    coverage_at_risk: Estimate
    baseline: RiskCoverage | None = None
    aurc_difference: Estimate | None = None
    coverage_difference: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def risk_coverage(
    wrong: ArrayLike,
    scores: ArrayLike,
    groups: Groups,
    *,
    risk: float = 0.1,
    baseline: ArrayLike | None = None,
    names: tuple[str, str] = ("probe", "baseline"),
    n_points: int = 20,
    n_resamples: int = 1000,
    seed: int = 0,
) -> RiskCoverage:
    """Return the risk-coverage curve of scores, and of a baseline's scores on the same rows.

    Args:
        wrong: 0 or 1, (n,).
        scores: Higher is riskier, any unit, (n,); of rows the scorer was not fitted on.
        groups: Problem of each row, (n,).
        risk: Stated share of wrong answers, (0, 1).
        baseline: Scores to compare with, (n,).
        names: Of the scores and of the baseline's.
        n_points: Points of the curve, at equal steps of coverage.
        n_resamples: Bootstrap resamples of groups.
        seed: Of the resamples; both curves see the same ones.

    Raises:
        InputError: Shapes differ, no rows, fewer than 2 groups, or a setting is out of range.
    """
    check_range("risk", risk, 0, 1, open_ends=True)
    check_range("n_points", n_points, 2, 1000)
    boot, coverages = {"n_resamples": n_resamples, "seed": seed}, np.linspace(0, 1, n_points + 1)[1:]
    curve = _curve(wrong, scores, groups, risk=risk, coverages=coverages, name=names[0], boot=boot)
    if baseline is None:
        return curve
    other = _curve(wrong, baseline, groups, risk=risk, coverages=coverages, name=names[1], boot=boot)
    y, ours, theirs = np.asarray(wrong, dtype=float), score_codes(scores), score_codes(baseline)
    found = vars(curve) | {
        "baseline": other,
        "aurc_difference": paired_bootstrap(aurc_of_codes, ours, theirs, y, groups, **boot),
        "coverage_difference": paired_bootstrap(
            lambda labels, codes: coverage_of_codes(labels, codes, risk), ours, theirs, y, groups, **boot
        ),
    }
    return RiskCoverage(**found)


def _curve(
    wrong: ArrayLike,
    scores: ArrayLike,
    groups: Groups,
    *,
    risk: float,
    coverages: np.ndarray,
    name: str,
    boot: dict[str, int],
) -> RiskCoverage:
    y, s = checked_scores(wrong, scores)
    rows = (y, score_codes(s))

    def curve_and_summaries(labels: np.ndarray, codes: np.ndarray) -> list[float]:
        summaries = aurc_of_codes(labels, codes), e_aurc_of_codes(labels, codes), coverage_of_codes(labels, codes, risk)
        return [*risk_of_codes(labels, codes, coverages), *summaries]

    *risks, area, excess, coverage_at_risk = group_bootstraps(curve_and_summaries, rows, groups, **boot)
    points = [Point(float(c), one) for c, one in zip(coverages, risks, strict=True)]
    return RiskCoverage(name, risk, points[-1].risk, points, area, excess, coverage_at_risk)
