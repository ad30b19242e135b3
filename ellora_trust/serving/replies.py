"""Answers in OpenAI's form, each choice with its `risk`.

reply = Reply.of(guarded, job, chat=True)
reply.body(choices)                               # the whole answer
reply.chunk(0, "text", risk=...)                  # a piece of a streamed one
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ellora_trust.serving.generation import Guarded
from ellora_trust.serving.jobs import Choice, Job, TokenRead

# How an answer ended, in the words of the library and of OpenAI; `abstained` is ours.
FINISH = {"eos": "stop", "stop": "stop", "length": "length", "abstain": "abstained"}


def finish_reason(choice: Choice) -> str:
    """Return why an answer ended: `stop`, `length` or `abstained`."""
    return FINISH[choice.watched.finish]


@dataclass(frozen=True)
class Reply:
    """What all parts of one answer share.

    Attributes:
        id: Of the answer.
        created: Seconds since 1970.
        guarded: Who answers.
        job: To what.
        chat: Whether it is a chat turn.
        logprobs: Whether log-probabilities were asked for.
    """

    id: str
    created: int
    guarded: Guarded
    job: Job
    chat: bool
    logprobs: bool = False

    @classmethod
    def of(cls, guarded: Guarded, job: Job, *, chat: bool, logprobs: bool = False) -> Reply:
        """Return a new one."""
        number = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
        return cls(number, int(time.time()), guarded, job, chat, logprobs)

    def body(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the whole answer."""
        return {**self._head(streamed=False), "choices": self._choices(choices), "usage": self.usage(choices)}

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Return how many tokens were read and written."""
        read, written = self.job.n_prompt_tokens, sum(choice.n_tokens for choice in choices)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def usage_chunk(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the last piece of a stream whose client asked for the usage."""
        return {**self._head(streamed=True), "choices": [], "usage": self.usage(choices)}

    def opening(self, index: int) -> dict[str, Any]:
        """Return the first piece of a chat turn."""
        delta = {"role": "assistant", "content": ""}
        return self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def chunk(self, index: int, text: str, *, risk: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        """Return a piece of one choice."""
        said = {"delta": {"content": text} if text else {}} if self.chat else {"text": text}
        return self._chunk({"index": index, **said, "logprobs": None, "finish_reason": finish, "risk": risk})

    def risk(self, choice: Choice, tokens: Sequence[TokenRead]) -> dict[str, Any]:
        """Return what the probe says of an answer, with these of its tokens.

        `value` is the calibrated risk that decides, in [0, 1]; `logit` the score at the probe's own position.
        """
        watched, probe = choice.watched, self.guarded.probe
        value = watched.risk if watched.deciding_risk is None else watched.deciding_risk
        return {
            "value": value,
            "logit": watched.score,
            "readout": {"by": self.guarded.defaults.readout, "site": probe.site_, "position": probe.position_},
            "threshold": self.job.threshold,
            "flagged": watched.flagged,
            "policy": self.job.policy,
            "reason": watched.reason,
            "verdict": choice.verdict,
            "tokens": [token.to_dict() for token in tokens],
        }

    def _head(self, *, streamed: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if streamed else "chat.completion") if self.chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.guarded.name}

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head(streamed=True), "choices": [choice]}

    def _choices(self, choices: Sequence[Choice]) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                **self._said(choice.text),
                "logprobs": self._logprobs(choice),
                "finish_reason": finish_reason(choice),
                "risk": self.risk(choice, choice.read),
            }
            for index, choice in enumerate(choices)
        ]

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}

    def _logprobs(self, choice: Choice) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if self.chat:
            found = [
                {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
                for text, value in choice.logprobs
            ]
            return {"content": found, "refusal": None}
        texts, values = [text for text, _ in choice.logprobs], [value for _, value in choice.logprobs]
        offsets = [sum(map(len, texts[:i])) for i in range(len(texts))]
        return {"tokens": texts, "token_logprobs": values, "top_logprobs": None, "text_offset": offsets}


def models(guarded: Guarded, created: int) -> list[dict[str, Any]]:
    """Return the one model that is served, with the probe that watches it."""
    probe, defaults = guarded.probe, guarded.defaults
    artifact = getattr(probe, "artifact_", None)
    watch = {
        "site": probe.site_,
        "position": probe.position_,
        "readout": defaults.readout,
        "policy": defaults.policy,
        "threshold": guarded.threshold,
        "fitted_on": {key: artifact.data[key] for key in ("task", "n", "prompt_format") if key in artifact.data}
        if artifact
        else {},
    }
    return [{"id": guarded.name, "object": "model", "created": created, "owned_by": "ellora-trust", "risk": watch}]
