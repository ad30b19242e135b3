"""Who may ask: anybody on this machine, or whoever has the key.

access = Access(read_key(Path("key.txt")), local=True)
access.check(request)
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.serving.refusals import Refusal, shown

if TYPE_CHECKING:
    from starlette.requests import Request

VARIABLE = "ELLORA_TRUST_API_KEY"


def read_key(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the API key from a file, else from the environment; None if there is neither.

    Raises:
        InputError: No such file, or one without exactly one line of printable ASCII.
    """
    if file is None:
        key, source = environment.get(VARIABLE), f"${VARIABLE}"
        if key is None:
            return None
    else:
        try:
            key, source = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the API key file {file} cannot be read ({error}); give a text file") from error
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise InputError(f"{source} holds no API key; put one line of printable ASCII there")
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        key: What clients must send; None lets everybody in.
        local: Whether the server listens on loopback only.
    """

    key: str | None = None
    local: bool = True

    def check(self, request: Request) -> None:
        """Let a request in.

        Raises:
            Refusal: 401, no or another key; 403, a web page that reaches this machine under a name of its own.
        """
        if self.key is None:
            self._check_host(request)
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # compare_digest takes as long for a key that is nearly right.
        right = hmac.compare_digest(given.strip().encode(), self.key.encode())
        if scheme.lower() != "bearer" or not right:
            raise Refusal(
                401,
                "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_host(self, request: Request) -> None:
        """Refuse DNS rebinding: without a key, a page in the user's browser could reach a loopback server by it."""
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.local and not is_loopback(name):
            raise Refusal(403, f"host {shown(host)} is not this machine; use 127.0.0.1, or give the server an API key")


def check_json(request: Request) -> None:
    """Refuse what a web page may post across origins without asking first.

    Raises:
        Refusal: 415, another content type than JSON.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, f"the content type is {shown(given)}; send application/json")
