"""How much a client may ask for, and how many may ask at once.

limits = Limits(max_tokens=512, queue=8)
raw = await read_body(request, limits)
with Slots(limits.concurrent).taken(): ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.serving.refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True)
class Limits:
    """What is refused, and from where."""

    body_bytes: int = 2**20
    """Length of a request."""
    body_seconds: int = 30
    """Time to send it."""
    max_tokens: int = 1024
    """Tokens of one answer."""
    answers: int = 16
    """Answers of one request: prompts x n, x draws where the policy draws again."""
    concurrent: int = 64
    """Open requests, those included whose client is slow to read."""
    queue: int = 16
    """Requests that wait for the model."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "queue" else 1
            if value < least:
                raise InputError(f"limit {field.name} is {value}; it must be at least {least}")


class Slots:
    """Counts open requests.

    Attributes:
        taken_now: How many there are.
    """

    def __init__(self, limit: int):
        self.limit, self.taken_now = limit, 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold one place for the length of the `with`.

        Raises:
            Refusal: 429, there is none.
        """
        if self.taken_now >= self.limit:
            raise busy(f"{self.limit} requests are open, as many as this server takes", 1)
        self.taken_now += 1
        try:
            yield
        finally:
            self.taken_now -= 1


def busy(reason: str, seconds: int) -> Refusal:
    """Return the refusal of a request that may succeed later."""
    return Refusal(
        429,
        f"{reason}; try again in {seconds} s",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return a request's body.

    Raises:
        Refusal: 413, it is too long; 408, it does not come.
    """
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _read(request, limits.body_bytes)
    except TimeoutError:
        raise Refusal(
            408,
            f"the request was not complete after {limits.body_seconds} s; send it faster",
            headers={"Connection": "close"},
        ) from None
    if body is None:
        raise Refusal(
            413,
            f"the request is longer than {limits.body_bytes} bytes; shorten it",
            code="request_too_large",
        )
    return body


async def _read(request: Request, limit: int) -> bytes | None:
    """The body; None if it is longer than the limit. What is not read here, uvicorn throws away."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        return None
    kept = bytearray()
    async for chunk in request.stream():
        kept += chunk
        if len(kept) > limit:
            return None
    return bytes(kept)
