"""From token scores to one risk an answer, by the very convention the probe was fitted with.

A probe is linear, so the mean of token scores is the score of the mean activation: nothing is approximated. A second
readout, the running maximum over the answer's tokens, has a calibration of its own.

    readout = Readout.of(probe, by="position", threshold=0.5)
    readout.risk(values, n_prompt)           # values: score of each token of the text, (n_tokens,), logits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ellora_trust.errors import InputError, one_of
from ellora_trust.positions import Position, parse_positions, token_ranges
from probes.error_probe import Calibration, ErrorProbe
from probes.fitting.selection import grouped_folds

By = Literal["position", "running_max"]
READOUTS = ("position", "running_max")
# Either class needs this many groups before two parameters mean anything.
MIN_GROUPS = 5


@dataclass(frozen=True)
class Readout:
    """How token scores become an answer's score and risk.

    Attributes:
        position: Where the probe was fitted.
        bias: The probe's; the score of a position that no token was at.
        calibration: From a score at the position to a risk.
        maximum: From the running maximum to a risk; None where it was never calibrated.
        by: Which of the two decides.
        threshold: Risk from which an answer is flagged, [0, 1].
    """

    position: Position
    bias: float
    calibration: Calibration
    maximum: Calibration | None
    by: By
    threshold: float

    @classmethod
    def of(cls, probe: ErrorProbe, *, by: By = "position", threshold: float = 0.5) -> Readout:
        """Return a fitted probe's readout.

        Raises:
            InputError: Not fitted, fitted where tokens cannot be read one by one, a threshold out of range, or a
                running maximum without a calibration.
        """
        if not hasattr(probe, "weight_"):
            raise InputError(
                "this ErrorProbe is not fitted; call fit(features, wrong, groups) or ErrorProbe.load(folder)"
            )
        if by not in READOUTS:
            raise InputError(one_of(by, READOUTS, what="readout"))
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is {threshold}; it is a risk, give a number in 0..1")
        maximum = probe.running_max_
        if by == "running_max" and maximum is None:
            raise InputError(
                "this probe's running maximum has no calibration; fit one with calibrate_running_max, set it as "
                "probe.running_max_, or use readout='position'"
            )
        return cls(_position(probe), probe.bias_, probe.calibration_, maximum, by, threshold)

    @property
    def reads_answer(self) -> bool:
        """Whether it changes while the answer grows."""
        return self.by == "running_max" or (self.position.span != "prompt" and self.position.index is None)

    def score(self, values: np.ndarray, n_prompt: int) -> float:
        """Return the score at the probe's position, in logits.

        Args:
            values: Score of each token of prompt and answer so far, (n_tokens,).
            n_prompt: How many of them are the prompt.
        """
        if self.position.index is not None:
            here = values[self.position.index : self.position.index + 1]
        else:
            start, end = token_ranges([self.position], n_prompt, len(values), {})[0].tolist()
            here = values[start:end]
        # The library's mean over no token is the zero vector, whose score is the bias.
        return float(here.mean()) if len(here) else self.bias

    def highest(self, values: np.ndarray, n_prompt: int) -> float | None:
        """Return the maximum over the answer's tokens so far, in logits; None before the first."""
        answer = values[n_prompt:]
        return float(answer.max()) if len(answer) else None

    def highest_risk(self, values: np.ndarray, n_prompt: int) -> float | None:
        """Return the calibrated risk of the maximum, [0, 1]; None without a calibration or a token."""
        highest = self.highest(values, n_prompt)
        return None if self.maximum is None or highest is None else _risk(self.maximum, highest)

    def risk(self, values: np.ndarray, n_prompt: int) -> float | None:
        """Return the risk that decides, [0, 1]; None where the maximum decides and there is no token yet."""
        if self.by == "running_max":
            return self.highest_risk(values, n_prompt)
        return _risk(self.calibration, self.score(values, n_prompt))

    def token_risks(self, scores: np.ndarray) -> list[float]:
        """Return the risk of an answer that read throughout like each token, [0, 1]."""
        return [float(risk) for risk in self.calibration(scores)]


def _risk(calibration: Calibration, score: float) -> float:
    return float(calibration(np.array([score]))[0])


def _position(probe: ErrorProbe) -> Position:
    position = parse_positions(probe.position_)[0]
    linear = position.span in ("text", "prompt", "answer") and position.reduction in ("mean", "last", "first")
    readable = linear if position.index is None else position.index >= 0
    if not readable:
        raise InputError(
            f"this probe was fitted at position {probe.position_!r}, which cannot be read token by token; fit it at "
            "prompt_end, answer or answer.last"
        )
    return position


def calibrate_running_max(
    probe: ErrorProbe, token_scores: Sequence[ArrayLike], wrong: ArrayLike, groups: ArrayLike
) -> Calibration:
    """Fit the running maximum's own map from score to risk, at the level of whole answers.

    A maximum over many tokens is higher than their mean, so the calibration of the probe's position does not hold for
    it. Set the result as `probe.running_max_`; `save` keeps it.

    Args:
        probe: The probe that gave the scores.
        token_scores: Scores of each answer's tokens in logits, (n_tokens,) each. They must be of answers that the
            probe was not fitted on: scores of its own training rows are too good, and so would the risks be.
        wrong: Whether each answer is wrong, (n,).
        groups: Problem of each answer, (n,).

    Raises:
        InputError: The lists differ in length, an answer has no token, too few groups of either class, or wrong answers
            whose maximum is not higher.

    Source: sequence-level calibration of a maximum: Obeso et al. 2025, arXiv:2509.03531, who train the span maximum;
        here it is only calibrated, by Platt's method.
    """
    Readout.of(probe)
    y, g = np.asarray(wrong).astype(int), np.asarray(groups)
    if not len(token_scores) == len(y) == len(g):
        raise InputError(
            f"token scores of {len(token_scores)} answers, {len(y)} verdicts and {len(g)} groups were given; give one "
            "each"
        )
    empty = [i for i, scores in enumerate(token_scores) if not np.size(scores)]
    if empty:
        raise InputError(f"answer {empty[0]} has no token scores; leave empty answers out")
    grouped_folds(y, g, MIN_GROUPS, 0)  # refuses too few groups
    found = Calibration.fit(np.array([np.max(scores) for scores in token_scores]), y)
    if found.slope <= 0:
        raise InputError(
            f"wrong answers have no higher maximum (slope {found.slope:.3f}), so it predicts nothing here; use "
            "readout='position'"
        )
    return found
