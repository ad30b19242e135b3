"""What an AUROC alone hides: selective risk, confounders, control labels, and whether calibrated risks mean anything.

checks = check(held, lengths, confidence, control_labels, control_scores, risk=0.1)
checks.selective["probe"].coverage_at_risk
checks.sentences()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ellora_trust.stats import Estimate
from probes.fitting.calibration import Method
from probes.measuring.calibration_checks import Collapse, Kept, bucket_collapse, ece_floor, kept_below
from probes.measuring.control import Selectivity
from probes.measuring.held_out import BOTH, PROBE, HeldOut
from probes.measuring.residual import ResidualAuroc, residual_auroc
from probes.measuring.selective import RiskCoverage, risk_coverage

# Each is a bootstrap of its own; fewer resamples than the AUROCs get keep the run short.
N_RESAMPLES = 300
N_POINTS = 10


@dataclass(frozen=True)
class Checks:
    """What stands beside the AUROCs of one task.

    Attributes:
        selective: Risk and coverage of probe and both, each with the best baseline on the same resamples.
        residual: AUROC of the probe without what a confounder explains: `length`, `log-probability`.
        selectivity: Real against control labels, one random label a group.
        ece_floor: ECE that a perfectly calibrated predictor with the same risks would show, for probe and both.
        collapse: Where the calibrated risks lie, for probe and both.
        kept: What thresholds on the probe's calibrated risk keep.
        calibration_method: How the probe was calibrated.
    """

    selective: dict[str, RiskCoverage]
    residual: dict[str, ResidualAuroc]
    selectivity: Selectivity
    ece_floor: dict[str, Estimate]
    collapse: dict[str, Collapse]
    kept: list[Kept]
    calibration_method: Method

    def sentences(self) -> list[str]:
        """Return what a reader of the AUROCs has to know."""
        collapsed = (one.sentence(who) for who, one in self.collapse.items())
        return [
            *(_residual_sentence(name, one) for name, one in self.residual.items()),
            _control_sentence(self.selectivity),
            *(sentence for sentence in collapsed if sentence),
        ]

    def ece_sentence(self, measured: Mapping[str, Estimate]) -> str:
        """Return the probe's ECE beside what its bias alone explains.

        Args:
            measured: `Evaluation.calibration`.
        """
        ece, floor = measured["ECE, probe"], self.ece_floor["probe"]
        verdict = "no sign of miscalibration" if ece.value <= floor.high else "more than sampling explains"
        return (
            f"ECE of the probe is {ece:.3f}. At n = {floor.n} a perfectly calibrated predictor with these risks would "
            f"show {floor:.3f}, since ECE is biased upwards: {verdict}."
        )


def check(
    held: HeldOut,
    confounders: Mapping[str, Mapping[str, np.ndarray]],
    selectivity: Selectivity,
    *,
    risk: float,
    calibration_method: Method,
) -> Checks:
    """Return the checks of one task's held-out scores.

    Args:
        held: Scores.
        confounders: Name of a check -> the columns that it removes jointly, each (n,).
        selectivity: Of the same procedure.
        risk: Stated share of wrong answers, (0, 1), for coverage at a risk.
        calibration_method: Of the probe's risks, for the record.
    """
    y, groups = held.wrong, held.groups
    named = {PROBE: held.probe, BOTH: held.both}
    selective = {
        name: risk_coverage(
            y,
            scores,
            groups,
            risk=risk,
            baseline=held.baseline,
            names=(name, held.best_baseline),
            n_points=N_POINTS,
            n_resamples=N_RESAMPLES,
        )
        for name, scores in named.items()
    }
    return Checks(
        selective,
        {
            name: residual_auroc(y, held.probe, columns, groups, n_resamples=N_RESAMPLES)
            for name, columns in confounders.items()
        },
        selectivity,
        {who: ece_floor(one, groups) for who, one in held.risks.items()},
        {who: bucket_collapse(one) for who, one in held.risks.items()},
        kept_below(y, held.risk, groups),
        calibration_method,
    )


def within_group_sentence(probe: Estimate, within: Estimate | None) -> str:
    """Return whether the probe tells answers to one problem apart, or only problems.

    Args:
        probe: Pooled AUROC.
        within: AUROC within groups, or None where it cannot be computed.
    """
    if probe.low <= 0.5:
        return f"The probe is not shown to predict errors at all: AUROC {probe}."
    if within is None:
        return (
            "Whether the probe predicts more than difficulty cannot be said: fewer than 10 groups have both right and "
            "wrong answers."
        )
    if within.low > 0.5:
        return f"The probe also tells answers of one group apart: AUROC within groups {within}."
    if within.high < 0.5:
        return f"Within groups the probe ranks answers the wrong way round: AUROC {within}."
    return f"The probe predicts difficulty only, as far as shown: AUROC within groups {within} holds 0.5."


def _residual_sentence(name: str, found: ResidualAuroc) -> str:
    head = f"Without what {name} explains ({found.explained:.0%} of its variance) the probe's AUROC is {found.residual}"
    return f"{head}: it knows more." if found.residual.low > 0.5 else f"{head}: more than {name} is not shown."


def _control_sentence(found: Selectivity) -> str:
    head = f"On {found.n_controls} random labelings, one label a group, the same procedure reaches {found.control}"
    if found.leaks:
        return f"{head}: above 0.5, so something leaks between folds."
    return f"{head}; selectivity {found.selectivity}."
