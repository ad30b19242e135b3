"""A streamed answer: text as it comes, less what may turn out to be a stop string, as server-sent events.

async for line in stream(ticket, reply, include_usage=False): ...
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ellora_trust.serving.jobs import Choice, TokenRead
from ellora_trust.serving.refusals import Refusal
from ellora_trust.serving.replies import Reply, finish_reason
from ellora_trust.serving.worker import Ticket

DONE = "data: [DONE]\n\n"


def held_back(text: str, stops: Sequence[str]) -> int:
    """Return how many characters at the end of a text could be the beginning of a stop string."""
    lengths = (n for stop in stops for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n]))
    return max(lengths, default=0)


class ChoiceStream:
    """One choice as its client sees it."""

    def __init__(self, stops: Sequence[str]):
        self._stops = stops
        self._held, self._n_sent = "", 0
        self._waiting: list[TokenRead] = []
        self._n_tokens = 0

    def feed(self, token: TokenRead) -> tuple[str, list[TokenRead]] | None:
        """Return the text that is certain now, with its tokens; None if there is none."""
        self._held += token.text
        self._waiting.append(token)
        certain = len(self._held) - held_back(self._held, self._stops)
        if not certain:
            return None
        return self._send(self._held[:certain], self._waiting)

    def finish(self, choice: Choice) -> tuple[str, list[TokenRead]]:
        """Return what of the finished answer was not sent."""
        return choice.text[self._n_sent :], choice.read[self._n_tokens :]

    def _send(self, text: str, tokens: list[TokenRead]) -> tuple[str, list[TokenRead]]:
        self._held, self._waiting = self._held[len(text) :], []
        self._n_sent += len(text)
        self._n_tokens += len(tokens)
        return text, tokens


async def stream(ticket: Ticket, reply: Reply, *, include_usage: bool) -> AsyncIterator[str]:
    """Yield a job's answers as server-sent events; the last of a choice carries `finish_reason` and its whole risk."""
    choices = [ChoiceStream(reply.job.stop) for _ in reply.job.texts]
    for index in range(len(choices) if reply.chat else 0):
        yield _event(reply.opening(index))
    async for token in ticket.events():
        sent = choices[token.choice].feed(token)
        if sent is not None:
            yield _event(_piece(reply, token.choice, *sent))
    try:
        done = ticket.result()
    except Refusal as refusal:
        # The status has been sent; clients look for this form in the stream.
        yield _event(refusal.body()) + DONE
        return
    for index, choice in enumerate(done):
        text, tokens = choices[index].finish(choice)
        if text:
            yield _event(_piece(reply, index, text, tokens))
            tokens = []
        yield _event(reply.chunk(index, "", risk=reply.risk(choice, tokens), finish=finish_reason(choice)))
    yield (_event(reply.usage_chunk(done)) if include_usage else "") + DONE


def _piece(reply: Reply, index: int, text: str, tokens: Sequence[TokenRead]) -> dict[str, Any]:
    return reply.chunk(index, text, risk={"tokens": [token.to_dict() for token in tokens]})


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, allow_nan=False)}\n\n"
