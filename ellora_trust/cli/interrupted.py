"""Ctrl-C, in one sentence: what is kept, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from typer.core import TyperGroup

EXIT_CODE = 130  # 128 + SIGINT, as shells have it
_KEPT = "what was finished is kept; the same command goes on from there"
_LOST = "nothing of it is kept; the same command begins anew"
# Commands by the first words that name them. What is not here is begun anew.
_SENTENCES = {
    "attribute index": _KEPT,
    "compare": _KEPT,
    "explain": _LOST,
    "generate": "answers written with --out are kept, and the same command goes on after them; others are not",
    "probe": "answers and activations are kept; the same command goes on from there",
    "probe fit": _LOST,
    "probe eval": _LOST,
    "probe score": _LOST,
    "probe transfer": _LOST,
    "probe readouts": _LOST,
    "probe rate": _LOST,
    "probe recalibrate": _LOST,
    "serve": "the server has stopped",
    "steer": _KEPT,
    "testbed": _KEPT,
    "unlearn": "the edit is kept as of its last check; the same command goes on from there",
}


class Interrupted(BaseException):
    """The user pressed Ctrl-C; no subclass of what libraries catch, as KeyboardInterrupt is not."""


class Interruptible(TyperGroup):
    """Lets Ctrl-C through to `main`, where typer would end without a word."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def sentence(words: Sequence[str]) -> str:
    """Return what to say when the command of these words, as typed, is interrupted."""
    named = [word for word in words if not word.startswith("-")]
    for n in (2, 1):
        known = " ".join(named[:n])
        if known in _SENTENCES:
            return f"interrupted; {_SENTENCES[known]}"
    return f"interrupted; {_LOST}"
