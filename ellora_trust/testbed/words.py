"""The testbed's words, and which combinations of them no training document may use.

A function is named after a verb of its family and a pair of words, as in `first_red_rows`. The pair is its group within
the family. Every tenth pair of a family is held out by a hash, so that prompts ask about names that no model has read.

    held_out("first_n", ("red", "rows"))      # False
"""

from __future__ import annotations

import hashlib
from functools import cache

Pair = tuple[str, str]

ADJECTIVES = tuple(
    "red new old open late early big small cold warm fast slow main spare daily weekly local remote dark light "
    "high low free busy empty full long short plain quiet round square safe public private green".split()
)
# Their singular is the word without its last letter.
NOUNS = tuple(
    "rows users orders points files notes tasks jobs steps scores prices ranks votes codes marks pages books "
    "cards coins tickets plans tools parts seats rooms doors roads trips stops lines cells blocks nodes links "
    "tags logs tests runs teams games".split()
)

LISTS = ("items", "values", "data")
ELEMENTS = ("x", "item", "value")
RESULTS = ("out", "result", "found", "kept")
TOTALS = ("total", "s", "acc")
NUMBERS = ("n", "k", "limit", "size")
INDICES = ("i", "j")
WANTED = ("wanted", "target", "goal")
BUFFERS = ("buf", "buffer", "log_buf", "out_buf", "ring_buf")
CURSORS = ("cur", "cursor", "db")
STACKS = ("stack", "todo_stack", "undo_stack", "out_stack")
FIELDS = ("name", "city", "code", "title", "owner", "email")
ARRAYS = ("a", "x", "v", "data")
FLAGS = ("verbose", "debug", "strict")
NOTES = (
    "Used by the {other} report.",
    "Kept short on purpose.",
    "See the {other} notes.",
    "Called once a day.",
    "Checked by the {other} team.",
    "Part of the {other} module.",
    "Speed does not matter here.",
    "Do not rename.",
)
LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "GPL-3.0-only")
HOLD_OUT = 10  # one pair in so many


@cache
def pairs(family: str, *, held: bool) -> tuple[Pair, ...]:
    """Return the pairs of words that a family's prompts (`held`) or its documents may use, in a fixed order."""
    return tuple((a, n) for a in ADJECTIVES for n in NOUNS if held_out(family, (a, n)) is held)


def held_out(family: str, pair: Pair) -> bool:
    """Whether a pair belongs to the prompts of a family, and so to none of its documents."""
    digest = hashlib.sha256(f"{family}:{pair[0]}:{pair[1]}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % HOLD_OUT == 0


def group_of(family: str, pair: Pair) -> str:
    """Return the group of everything that a family says of a pair."""
    return f"{family}:{pair[0]}_{pair[1]}"
