"""What watching one answer gave: a score and a risk for each token and for the whole.

answer.risk, answer.flagged, answer.finish
list(zip(answer.tokens, answer.risks))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probes.watching.readout import Readout


@dataclass(frozen=True)
class TokenRisks:
    """Scores of one answer's tokens, as far as it is written.

    Attributes:
        scores: In logits.
        risks: [0, 1]: the calibrated risk of an answer that read throughout like this token. The calibration was fitted
            on whole answers, so these rank tokens; they are not the probability that a token is wrong.
    """

    scores: list[float]
    risks: list[float]


@dataclass(frozen=True)
class WatchedAnswer:
    """One finished answer.

    Attributes:
        tokens: Generated ids, the one that ended it included.
        n_answer: How many of them make up the text.
        scores: Score of each token that was read, in logits: those of the answer's own position in the library, so
            one fewer than `tokens` where an end-of-text token or a stop string ended it.
        risks: As in `TokenRisks`.
        score: At the probe's own position, in logits: what the probe says offline of the same answer.
        risk: Calibrated, [0, 1].
        highest: Running maximum over the answer's tokens, in logits; None where there is none.
        highest_risk: By the maximum's own calibration; None where it has none.
        deciding_risk: The one of the two risks that the watch goes by.
        flagged: Whether that reaches the threshold.
        finish: What ended it: `eos`, `stop`, `length`, or `abstain`.
        reason: Why it was stopped; empty unless it was.
    """

    tokens: list[int]
    n_answer: int
    scores: list[float]
    risks: list[float]
    score: float
    risk: float
    highest: float | None
    highest_risk: float | None
    deciding_risk: float | None
    flagged: bool
    finish: str
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def n_read(n_tokens: int, n_answer: int) -> int:
    """Return how many generated tokens the library's `answer` position covers.

    The token that ends an answer is not run, unless a part of the text is in it.
    """
    return n_tokens if n_answer == n_tokens else n_tokens - 1


def watched_answer(
    readout: Readout,
    values: np.ndarray,
    n_prompt: int,
    tokens: Sequence[int],
    n_answer: int,
    *,
    finish: str,
) -> WatchedAnswer:
    """Return what a finished answer's token scores say.

    Args:
        readout: How.
        values: Score of each token of prompt and answer that was read, (n_tokens,), logits.
        n_prompt: Tokens of the prompt.
        tokens: Generated ids.
        n_answer: How many of them make up the text.
        finish: What ended it.
    """
    here = readout.calibration(np.array([readout.score(values, n_prompt)]))
    deciding = readout.risk(values, n_prompt)
    flagged = deciding is not None and deciding >= readout.threshold
    answer = values[n_prompt:]
    reason = ""
    if finish == "abstain":
        at = "unknown" if deciding is None else f"{deciding:.2f}"
        reason = f"stopped after {len(answer)} tokens at risk {at}, threshold {readout.threshold:.2f}"
    return WatchedAnswer(
        tokens=list(tokens),
        n_answer=n_answer,
        scores=answer.tolist(),
        risks=readout.token_risks(answer),
        score=readout.score(values, n_prompt),
        risk=float(here[0]),
        highest=readout.highest(values, n_prompt),
        highest_risk=readout.highest_risk(values, n_prompt),
        deciding_risk=deciding,
        flagged=flagged,
        finish=finish,
        reason=reason,
    )
