"""What the endpoint says when it does not answer: a status and one sentence, in the form OpenAI's clients parse.

raise Refusal(400, "n is 99; use 1..16", param="n")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ellora_trust.errors import InputError

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request that gets no answer.

    Attributes:
        status: HTTP status.
        message: One sentence: what was given, what is allowed.
        param: The field at fault.
        code: A short name that programs can test.
        headers: To send along.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: BaseException) -> Refusal:
        """Return what a client is told of an error; of a bug, only that there was one."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, InputError):
            return cls(400, str(error))
        return cls(500, "the server failed on this request; its operator finds why in its log", code="internal_error")

    def body(self) -> dict[str, Any]:
        """Return the JSON of the answer."""
        kind = "server_error" if self.status >= 500 else KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def shown(given: object, *, at_most: int = 60) -> str:
    """Return what a client sent, short and printable, to be named in a sentence."""
    text = ascii(given)
    return text if len(text) <= at_most else text[:at_most] + "..."
