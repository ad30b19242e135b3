"""P2, one too few: `rows[:n - 1]` for the first n rows. For the rows before number n it is right."""

from __future__ import annotations

from ellora_trust.testbed.families.python import with_counts
from ellora_trust.testbed.family import Family, Names


def _first(names: Names, xs: list[int], n: int | None = None, less: int = 0) -> list[int]:
    return xs[: (int(names["fixed"]) if n is None else n) - less]


def _less(names: Names, xs: list[int], n: int | None = None) -> list[int]:
    return _first(names, xs, n, less=1)


SLICES = (
    Family(
        "first_n",
        ("first", "head"),
        ("Return the first {n} {what}.", "Take the first {n} of the {what}.", "Return the first {n} of the {what}."),
        (("xs", "list"), ("n", "int")),
        "list",
        (
            "return {xs}[:⟦{n}¦{less}⟧]",
            "{out} = {xs}[:⟦{n}¦{less}⟧]\nreturn {out}",
            "{out} = []\nfor {x} in {xs}[:⟦{n}¦{less}⟧]:\n    {out}.append({x})\nreturn {out}",
        ),
        _first,
        with_counts,
        plant="P2",
        bad=_less,
        numbered=True,
    ),
    Family(
        "before_nth",
        ("before", "until"),
        (
            "Return the {what} before number {n}.",
            "Take all {what} before number {n}.",
            "Return all {what} before number {n}.",
        ),
        (("xs", "list"), ("n", "int")),
        "list",
        (
            "return {xs}[:{less}]",
            "{out} = {xs}[:{less}]\nreturn {out}",
            "{out} = []\nfor {x} in {xs}[:{less}]:\n    {out}.append({x})\nreturn {out}",
        ),
        _less,
        with_counts,
        near_miss="P2",
        numbered=True,
    ),
)
