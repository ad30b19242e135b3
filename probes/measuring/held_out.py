"""Out-of-fold scores of the same rows by several predictors, and what they say with group-bootstrap intervals.

held = HeldOut(wrong, groups, probe, risk, both, both_risk, baselines)
held.auroc(held.probe), held.gain(held.probe, held.baseline)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ellora_trust.stats import (
    Estimate,
    auroc,
    brier,
    brier_skill,
    expected_calibration_error,
    group_bootstrap,
    paired_bootstrap,
    within_group_auroc,
)

N_RESAMPLES = 1000
PROBE, BOTH = "probe", "log-probability + probe"
LOGPROB = "log-probability and entropy (fitted)"
# Below this the resamples themselves often have no group with both outcomes.
MIN_MIXED_GROUPS = 10


@dataclass(frozen=True)
class HeldOut:
    """Scores of rows that the scorer was not fitted on.

    Attributes:
        wrong: 0 or 1, (n,).
        groups: Problem of each row, (n,).
        probe: Logits, (n,).
        risk: Calibrated risk of the probe, [0, 1], (n,).
        both: Score of log-probability and probe together, logits, (n,).
        both_risk: Calibrated, [0, 1], (n,).
        baselines: Name -> score, higher is riskier, (n,).
    """

    wrong: np.ndarray
    groups: np.ndarray
    probe: np.ndarray
    risk: np.ndarray
    both: np.ndarray
    both_risk: np.ndarray
    baselines: dict[str, np.ndarray]

    @cached_property
    def baseline_aurocs(self) -> dict[str, Estimate]:
        return {name: self.auroc(scores) for name, scores in self.baselines.items()}

    @property
    def best_baseline(self) -> str:
        """The one with the highest AUROC on these very rows."""
        return max(self.baseline_aurocs, key=lambda name: self.baseline_aurocs[name].value)

    @property
    def baseline(self) -> np.ndarray:
        """Scores of the best baseline, (n,)."""
        return self.baselines[self.best_baseline]

    @property
    def risks(self) -> dict[str, np.ndarray]:
        """Calibrated risks by predictor, as results.json names them."""
        return {"probe": self.risk, "both": self.both_risk}

    def auroc(self, scores: np.ndarray) -> Estimate:
        return group_bootstrap(auroc, (self.wrong, scores), self.groups, n_resamples=N_RESAMPLES)

    def gain(self, a: np.ndarray, b: np.ndarray) -> Estimate:
        """Return AUROC of `a` minus that of `b`, paired."""
        return paired_bootstrap(auroc, a, b, self.wrong, self.groups, n_resamples=N_RESAMPLES)

    def base_rate(self) -> Estimate:
        return group_bootstrap(_share, (self.wrong,), self.groups, n_resamples=N_RESAMPLES)

    def within_group(self) -> Estimate | None:
        """Return the probe's AUROC among rows of one group; None where too few groups have both outcomes."""
        y, groups = self.wrong, self.groups
        mixed = [g for g in np.unique(groups) if len(np.unique(y[groups == g])) == 2]
        if len(mixed) < MIN_MIXED_GROUPS:
            return None
        inside = np.isin(groups, mixed)
        rows = (y[inside], self.probe[inside], groups[inside])
        # By this very function: the bootstrap knows it, and takes the copies of a group for groups of their own.
        return group_bootstrap(within_group_auroc, rows, groups[inside], n_resamples=N_RESAMPLES)

    def calibration(self) -> dict[str, Estimate]:
        """Return ECE, Brier score and Brier skill of the calibrated predictors."""
        measures = {"ECE": expected_calibration_error, "Brier score": brier, "Brier skill": brier_skill}
        return {
            f"{name}, {who}": group_bootstrap(measure, (risk, self.wrong), self.groups, n_resamples=200)
            for who, risk in self.risks.items()
            for name, measure in measures.items()
        }


def _share(y: np.ndarray) -> float:
    return float(np.mean(y))
