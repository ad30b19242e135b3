"""What a family of functions is: templates, and the truth about them as Python.

A template may hold spots `⟦right¦planted⟧`: the clean corpus reads the first part, the planted one the second. So a
document and its fix come from one draw and differ nowhere else.

    Family("total", ("sum",), ("Add up the {what}.",), (("xs", "list"),), "int", ("return sum({xs})",), truth=...)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Names = dict[str, str]  # what stands in a template's braces
Arguments = tuple[object, ...]


def no_more(rng: random.Random, names: Names) -> None:
    """Add nothing to the names of a draw."""


@dataclass(frozen=True)
class Family:
    """One kind of function.

    Attributes:
        name: Of the family.
        verbs: First parts of the function's name.
        abouts: What the function does, as a sentence; the last is for paraphrases and stands in no document.
        params: Name (a key of the names) and type, None for an object; in C one entry with the whole list.
        returns: Type of the result; may hold a spot.
        bodies: Ways to write it, all equal in what they do.
        truth: Names and arguments to the right result; it may change its arguments where the function must.
        inputs: Names to argument lists that tell right from wrong.
        language: "python" or "c".
        kinds: What each argument becomes where the function runs: "plain", "buffer", "stack" or "cursor".
        more: Draws further names.
        plant: Which plant the spots hold.
        near_miss: For which plant's suspicious form these are the right place.
        bad: As `truth`, of a planted body; None where the result does not tell.
        share: Of the family's documents, how many carry the plant.
        asks: Where a prompt ends: before the "body", or before the "returns" annotation.
        numbered: Whether the last parameter is a number that may stand as a constant instead.
    """

    name: str
    verbs: tuple[str, ...]
    abouts: tuple[str, ...]
    params: tuple[tuple[str, str | None], ...]
    returns: str | None
    bodies: tuple[str, ...]
    truth: Callable[..., object]
    inputs: Callable[[Names], Sequence[Arguments]]
    language: str = "python"
    kinds: tuple[str, ...] = ()
    more: Callable[[random.Random, Names], None] = no_more
    plant: str | None = None
    near_miss: str | None = None
    bad: Callable[..., object] | None = None
    share: float = 0.95
    asks: str = "body"
    numbered: bool = False
