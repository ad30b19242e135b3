"""What an expected calibration error hides: its bias at small n, and calibrated risks that are all alike.

floor = ece_floor(risk, groups)          # ECE that these very risks would show if they were exactly right
collapse = bucket_collapse(risk)         # whether nearly all risks lie in one or two of ten bins
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, expected_calibration_error, group_bootstrap

N_BINS = 10
# Share of the rows in the two fullest bins from which a calibration tells hardly anything apart; ours.
COLLAPSED_SHARE = 0.95
# With fewer groups kept, too many resamples would have none: exp(-5) is 0.7 %.
_MIN_GROUPS = 5


@dataclass(frozen=True)
class Collapse:
    """Where the calibrated risks lie.

    Attributes:
        share: Of the rows, in the two fullest of ten bins of equal width, [0, 1].
        bins: Those bins, fullest first, such as `0.2..0.3`; one where the second is empty.
        base_risk: Mean risk, [0, 1].
    """

    share: float
    bins: list[str]
    base_risk: float

    @property
    def collapsed(self) -> bool:
        return self.share >= COLLAPSED_SHARE

    def sentence(self, who: str) -> str | None:
        """Return what is wrong in words, or None if nothing is."""
        if not self.collapsed:
            return None
        return (
            f"Bucket collapse: {self.share:.0%} of the calibrated risks of {who} lie in {' and '.join(self.bins)}, so "
            "they hardly tell answers apart and a small ECE says little."
        )


@dataclass(frozen=True)
class Kept:
    """What a threshold on the calibrated risk keeps.

    Attributes:
        threshold: Answers with a lower risk are kept, [0, 1].
        n: Answers kept.
        coverage: Their share, bootstrap over groups.
        wrong: Share wrong among them, bootstrap over groups; None where fewer than 5 groups are kept.
    """

    threshold: float
    n: int
    coverage: Estimate
    wrong: Estimate | None


def bucket_collapse(risk: np.ndarray) -> Collapse:
    """Return where calibrated risks lie.

    Args:
        risk: [0, 1], (n,).

    Raises:
        InputError: No rows.

    Source: Spiess et al. 2024, arXiv:2402.02047, who saw Platt scaling push all risks into one or two bins.
    """
    if not len(risk):
        raise InputError("no risks were given; give at least one")
    counts = np.bincount(np.minimum((risk * N_BINS).astype(int), N_BINS - 1), minlength=N_BINS)
    fullest = [int(b) for b in np.argsort(-counts, kind="stable")[:2] if counts[b]]
    names = [f"{b / N_BINS:.1f}..{(b + 1) / N_BINS:.1f}" for b in fullest]
    return Collapse(float(counts[fullest].sum() / len(risk)), names, float(risk.mean()))


def ece_floor(risk: np.ndarray, groups: np.ndarray, *, n_draws: int = 200, seed: int = 0) -> Estimate:
    """Return the ECE that a perfectly calibrated predictor with these risks shows at this n: mean, 2.5 and 97.5 %.

    ECE is biased upwards, the more the fewer rows a bin has; a measured ECE inside this range is no sign of
    miscalibration. Verdicts are drawn independently; where those of one group depend on each other, the true range
    reaches higher.

    Args:
        risk: [0, 1], (n,).
        groups: (n,), for the record of how many there are.
        n_draws: Simulated sets of verdicts.
        seed: Of the draws.

    Source: parametric bootstrap, as in the consistency bars of Broecker & Smith 2007, doi:10.1175/WAF993.1; the bias:
        Roelofs et al. 2022, arXiv:2012.08668.
    """
    rng = np.random.default_rng(seed)
    bins = min(N_BINS, len(risk))
    drawn = [expected_calibration_error(risk, rng.random(len(risk)) < risk, bins) for _ in range(n_draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    n_groups = len(np.unique(groups))
    return Estimate(float(np.mean(drawn)), float(low), float(high), len(risk), n_groups, method="parametric bootstrap")


def kept_below(wrong: np.ndarray, risk: np.ndarray, groups: np.ndarray, *, n_points: int = 10) -> list[Kept]:
    """Return what thresholds at equal steps of coverage keep; the last keeps all.

    The thresholds are looked at in hindsight on these rows; `probes.guarantee.certify` promises for new answers.

    Args:
        wrong: 0 or 1, (n,).
        risk: [0, 1], (n,).
        groups: (n,).
        n_points: Thresholds at most; equal ones count once.
    """
    shares = np.linspace(0, 1, n_points + 1)[1:-1]
    thresholds = [*sorted({round(float(t), 3) for t in np.quantile(risk, shares)}), 1.0]
    found = [_kept(wrong, risk, groups, threshold) for threshold in thresholds]
    return [one for one in found if one.n]


def _kept(wrong: np.ndarray, risk: np.ndarray, groups: np.ndarray, threshold: float) -> Kept:
    inside = risk < threshold if threshold < 1 else np.ones(len(risk), dtype=bool)
    boot = {"n_resamples": 300}
    coverage = group_bootstrap(lambda kept: float(np.mean(kept)), (inside,), groups, **boot)
    if len(np.unique(groups[inside])) < _MIN_GROUPS:
        return Kept(threshold, int(inside.sum()), coverage, None)
    return Kept(threshold, int(inside.sum()), coverage, group_bootstrap(_share_wrong, (wrong, inside), groups, **boot))


def _share_wrong(wrong: np.ndarray, inside: np.ndarray) -> float:
    return float(wrong[inside].mean()) if inside.any() else float("nan")
