"""What an evaluation of error prediction says: numbers with intervals, controls, choices, and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ellora_trust.stats import Estimate
from probes.measuring.checks import Checks, within_group_sentence
from probes.measuring.plain import from_plain


@dataclass(frozen=True)
class Permutation:
    """The whole procedure on labels permuted between groups, within folds.

    Attributes:
        mean: AUROC it reaches on average; 0.5 if nothing leaks.
        sd: Its standard deviation.
        p_value: Share of permutations at least as good as the real labels, (1 + k) / (1 + n).
        n: Permutations.
    """

    mean: float
    sd: float
    p_value: float
    n: int


@dataclass(frozen=True)
class Scores:
    """Out-of-fold risk of each decided row, all (n,); for figures and for comparing with other predictors.

    Attributes:
        rows: Which rows of the labelled set.
        wrong: 0 or 1.
        probe: Score in logits.
        probe_risk: Calibrated, [0, 1].
        both: Score of log-probability and probe together.
        both_risk: Calibrated, [0, 1].
        baseline: Score of the best baseline.
    """

    rows: list[int]
    wrong: list[int]
    probe: list[float]
    probe_risk: list[float]
    both: list[float]
    both_risk: list[float]
    baseline: list[float]


@dataclass(frozen=True)
class Evaluation:
    """Everything `ellora-trust probe` says about one task.

    Attributes:
        task: Its name.
        model: The model's name.
        prompt_format: How the questions were put.
        outcomes: How often each outcome occurred.
        base_rate: Share of wrong answers, with a group bootstrap interval.
        baselines: AUROC of each baseline.
        best_baseline: The one with the highest AUROC on these very rows, which favours it.
        probe: AUROC of the probe, nested choice.
        both: AUROC of log-probability and probe together.
        gain_over_baseline: probe - best baseline, paired.
        gain_over_logprob: probe - fitted log-probability and entropy, paired.
        gain_of_both: both - best baseline, paired.
        within_group: AUROC among rows of one group (difficulty cancels); None where no group has both outcomes.
        calibration: ECE, Brier score and Brier skill of the calibrated probe and of both.
        permutation: The same procedure on permuted labels.
        chosen: What each outer fold chose.
        oracle_best: The (site, position) that would have been best on the test folds, and its AUROC: not attainable.
        by_site: position -> [(site, AUROC)], nested strength, for the figure.
        scores: Out-of-fold scores.
        checks: Selective risk, confounders, control labels, what calibration hides; None in results of older versions.
    """

    task: str
    model: str
    prompt_format: str
    outcomes: dict[str, int]
    base_rate: Estimate
    baselines: dict[str, Estimate]
    best_baseline: str
    probe: Estimate
    both: Estimate
    gain_over_baseline: Estimate
    gain_over_logprob: Estimate
    gain_of_both: Estimate
    within_group: Estimate | None
    calibration: dict[str, Estimate]
    permutation: Permutation
    chosen: list[str]
    oracle_best: tuple[str, float]
    by_site: dict[str, list[tuple[str, float]]]
    scores: Scores
    checks: Checks | None = None

    def sentences(self) -> list[str]:
        """Return the verdict in words."""
        found = [
            _verdict("The probe", self.best_baseline, self.gain_over_baseline),
            _verdict("Log-probability and probe together", self.best_baseline, self.gain_of_both),
            within_group_sentence(self.probe, self.within_group),
        ]
        if self.checks is not None:
            found += [*self.checks.sentences(), self.checks.ece_sentence(self.calibration)]
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Return the evaluation that `to_dict` gave, also after JSON.

        Raises:
            InputError: It is none.
        """
        return from_plain(cls, raw)


def _verdict(what: str, baseline: str, gain: Estimate) -> str:
    if gain.low > 0:
        relation = "beats"
    elif gain.high < 0:
        relation = "loses to"
    else:
        relation = "is not shown to beat"
    return f"{what} {relation} the best baseline, {baseline}: difference in AUROC {gain:+.3f}."
