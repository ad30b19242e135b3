"""A program that is being edited, and what has been done to it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

# Stands for the masked annotation; no source that a task shows holds it.
GAP = "ELLORA_GAP_"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Draft:
    """A program with a gap, after some edits.

    Attributes:
        code: Its text, the gap as `GAP`.
        names: New name of each renamed variable or class, with the old one.
        aliases: New name of each type that an alias line defines, with the type's own.
        deleted: Whether annotations were deleted.
        sites: What was changed, in words, such as `x -> __tmp0`.
    """

    code: str
    names: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    deleted: bool = False
    sites: tuple[str, ...] = ()

    @property
    def former(self) -> dict[str, str]:
        """Every new name with the old one."""
        return {**self.names, **self.aliases}


def some_of(items: Sequence[Item], rng: random.Random) -> list[Item]:
    """Return a random non-empty subset in the order of `items`: first its size, then its members, as the paper does."""
    chosen = set(rng.sample(range(len(items)), rng.randint(1, len(items))))
    return [item for position, item in enumerate(items) if position in chosen]


def new_names(stem: str, count: int, code: str) -> list[str]:
    """Return names that the code does not use, such as `__tmp0`, `__tmp1`.

    Args:
        stem: With a place for the number.
        count: How many.
        code: What must not hold them.
    """
    taken = set(re.findall(r"[\w$]+", code))
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = stem.format(number)
        if name not in taken:
            found.append(name)
        number += 1
    return found
