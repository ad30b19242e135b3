"""One request on its way: what the model is to do, what it reports while it works, and what came of it.

job = Job(texts=("x =",), n_prompt_tokens=2, max_tokens=8)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.watching.answer import WatchedAnswer


@dataclass(frozen=True)
class Defaults:
    """How answers are produced and watched where a request does not say."""

    name: str | None = None
    """What clients call the model; None is the name it was loaded by."""
    policy: str = "flag"
    """`flag`, `abstain` or `resample`."""
    threshold: float | None = None
    """Risk from which an answer is flagged, [0, 1]; None as in `probes.watching.attach`."""
    readout: str = "position"
    """`position` or `running_max`."""
    samples: int = 4
    """Draws at most under `resample`."""
    temperature: float = 0.0
    """0 is greedy, which is how the library labels the answers that a probe is fitted on; OpenAI's own is 1."""
    max_tokens: int = 128
    """Tokens of an answer at most; less where the context ends."""
    override: bool = True
    """Whether a request may choose policy, threshold and samples of its own."""
    force: bool = False
    """Accept a model other than the one the probe was fitted on."""


@dataclass(frozen=True)
class Job:
    """A checked request.

    Attributes:
        texts: What the model continues, one for each choice.
        n_prompt_tokens: Of the prompts, each counted once.
        max_tokens: Of an answer.
        stop: Strings before the first of which an answer ends.
        temperature: 0 is greedy.
        seed: Of the sampling.
        policy: As in `Defaults`.
        threshold: Resolved, [0, 1].
        samples: Draws at most.
        format: `plain` or `chat`: how the prompts were put.
        streams: Whether somebody reads along.
    """

    texts: tuple[str, ...]
    n_prompt_tokens: int
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int = 0
    policy: str = "flag"
    threshold: float = 0.5
    samples: int = 4
    format: str = "plain"
    streams: bool = False


class HungUp(Exception):
    """Ends a generation that nobody waits for."""


@dataclass(frozen=True)
class TokenRead:
    """One token of an answer was read.

    Attributes:
        choice: Which answer.
        text: What the token completed; empty within a character of several tokens.
        risk: [0, 1]; ranks tokens, see `probes.watching.answer.TokenRisks`.
        logit: The probe's score.
    """

    choice: int
    text: str
    risk: float
    logit: float

    def to_dict(self) -> dict[str, str | float]:
        return {"token": self.text, "risk": self.risk, "logit": self.logit}


@dataclass(frozen=True)
class Choice:
    """One finished answer.

    Attributes:
        text: Without the stop string.
        n_tokens: Generated, the one that ended it included.
        watched: Its risks.
        read: Its tokens that were read, in order.
        logprobs: Text and log-probability in nats of each token of the text.
        verdict: What the risk means, in one line.
    """

    text: str
    n_tokens: int
    watched: WatchedAnswer
    read: list[TokenRead]
    logprobs: list[tuple[str, float]]
    verdict: str
