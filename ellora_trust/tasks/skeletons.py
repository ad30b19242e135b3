"""What is left of a generated program when what was drawn for it is forgotten; of one skeleton means one problem.

canonical("b = a + 3", {"a", "b"})                       # "v0 = v1 + 0"
canonical("long a;", {"a"}, alike={"long": "int"})       # "int v0;"
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

_NONE: Mapping[str, str] = {}


def canonical(program: str, names: Container[str], *, alike: Mapping[str, str] = _NONE) -> str:
    """Return a program with every number 0 and drawn names numbered as they come; which names are equal stays.

    Args:
        program: Source text.
        names: Those that may be drawn; other words stay.
        alike: Words that count as another one.
    """
    seen: dict[str, str] = {}

    def spelled(match: re.Match[str]) -> str:
        word = match[0]
        if word.isdigit():
            return "0"
        return seen.setdefault(word, f"v{len(seen)}") if word in names else alike.get(word, word)

    return re.sub(r"\w+", spelled, program)


def without_lengths(program: str) -> str:
    """Return a canonical program in which number lists of every length are one."""
    return re.sub(r"\b0(, 0)+\b", "0", program)
