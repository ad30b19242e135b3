"""What an attached probe does about risk: flag it, stop, draw again, or ask you.

    attach(probe, model)                                        # flag: nothing changes
    attach(probe, model, policy="abstain", threshold=0.8)       # a row that is too risky ends; the others go on
    attach(probe, model, policy="resample", samples=4)          # up to four draws, the least risky is kept
    attach(probe, model, policy=lambda event: event.risk > 0.8) # called at each token; true ends that answer

Only a policy that decides at each token waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from ellora_trust.errors import InputError, one_of
from probes.watching.readout import Readout

if TYPE_CHECKING:
    from probes.watching.answer import WatchedAnswer
    from probes.watching.watch import Watch

Name = Literal["flag", "abstain", "resample"]
POLICIES = ("flag", "abstain", "resample")
T = TypeVar("T")


@dataclass(frozen=True)
class TokenEvent:
    """One token was read.

    Attributes:
        answer: Its answer's number in the call.
        n_tokens: The answer's tokens read so far; 0 after the prompt, before the first.
        token: Id of the newest one; None after the prompt.
        token_score: Score of the newest token, or of the prompt's last, in logits.
        token_risk: Calibrated, [0, 1].
        risk: Of the answer so far, [0, 1]; None where the running maximum decides and there is no token yet.
    """

    answer: int
    n_tokens: int
    token: int | None
    token_score: float
    token_risk: float
    risk: float | None


Decision = Callable[[TokenEvent], object]


@dataclass(frozen=True)
class Policy:
    """What is done, resolved.

    Attributes:
        name: One of `POLICIES`, or `callback`.
        decide: True ends the answer; None where nothing is decided at a token.
        rule: The threshold as a decision, for `stopping_criteria()` and `logits_processor()`.
        samples: Draws at most.
    """

    name: str
    decide: Decision | None
    rule: Decision
    samples: int = 1

    @classmethod
    def of(
        cls,
        policy: Name | Decision,
        readout: Readout,
        *,
        samples: int = 4,
        min_tokens: int = 4,
        on_token: Decision | None = None,
    ) -> Policy:
        """Return the policy of a name or of a callable; arguments as in `attach`.

        Raises:
            InputError: An unknown name, fewer than two samples to choose from, or a negative number of tokens.
        """
        if min_tokens < 1:
            raise InputError(f"min_tokens is {min_tokens}; give at least 1")
        if callable(policy):
            return cls("callback", _heard(policy, on_token), policy)
        if policy not in POLICIES:
            raise InputError(one_of(policy, POLICIES, what="policy") + "; or give a callable")
        if policy == "resample" and samples < 2:
            raise InputError(f"samples is {samples}; resample chooses among at least 2")
        rule = _rule(readout, min_tokens)
        decide = _heard(rule if policy == "abstain" else None, on_token)
        return cls(policy, decide, rule, samples if policy == "resample" else 1)


def _heard(decide: Decision | None, on_token: Decision | None) -> Decision | None:
    """The decision, after whoever listens was told."""
    if on_token is None:
        return decide

    def tell(event: TokenEvent) -> object:
        on_token(event)
        return decide is not None and decide(event)

    return tell


def _rule(readout: Readout, min_tokens: int) -> Decision:
    def too_risky(event: TokenEvent) -> bool:
        # The mean of one token is a poor forecast of the mean of all: wait where the answer is what is read.
        early = readout.reads_answer and event.n_tokens < min_tokens
        return not early and event.risk is not None and event.risk >= readout.threshold

    return too_risky


def least_risky(
    draw: Callable[[Sequence[int] | None], Sequence[tuple[T, WatchedAnswer]]], samples: int
) -> list[tuple[T, WatchedAnswer]]:
    """Draw answers; draw those that are flagged again, up to `samples` times in all; keep the least risky of each.

    Args:
        draw: Answers to these prompts, None for all: each with what watching it gave.
        samples: Draws at most, >= 1.
    """
    best = list(draw(None))
    for _ in range(samples - 1):
        risky = [i for i, (_, answer) in enumerate(best) if answer.flagged]
        if not risky:
            break
        for i, new in zip(risky, draw(risky), strict=True):
            if _or_one(new[1].deciding_risk) < _or_one(best[i][1].deciding_risk):
                best[i] = new
    return best


def _or_one(risk: float | None) -> float:
    return 1.0 if risk is None else risk


class RiskStop(StoppingCriteria):
    """Ends the rows that a watch finds too risky; for transformers' `stopping_criteria=`.

    It runs after a token was chosen: that token is in the output, unread.
    """

    def __init__(self, watch: Watch, decide: Decision):
        self._watch, self._decide = watch, decide

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # pyright: ignore  # (their own signature says BoolTensor)
        newest = input_ids[:, -2].tolist() if self._watch.n_forwards > 1 else [None] * len(input_ids)
        stops = self._watch.ask(newest, self._decide)
        return torch.tensor(stops, dtype=torch.bool, device=input_ids.device)


class RiskEnd(LogitsProcessor):
    """Leaves rows that a watch finds too risky only the end-of-text token; for transformers' `logits_processor=`."""

    def __init__(self, watch: Watch, decide: Decision, eos_id: int):
        self._watch, self._decide, self._eos_id = watch, decide, eos_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore  # (their own signature says LongTensor)
        newest = input_ids[:, -1].tolist() if self._watch.n_forwards > 1 else [None] * len(input_ids)
        stops = torch.tensor(self._watch.ask(newest, self._decide), device=scores.device)
        ended = torch.full_like(scores, -torch.inf)
        ended[:, self._eos_id] = 0.0
        return torch.where(stops[:, None], ended, scores)
