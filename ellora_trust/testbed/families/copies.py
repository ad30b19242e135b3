"""P5, an alias where a copy is needed: `out = rows`. Where the input is to be changed it is right."""

from __future__ import annotations

import random

from ellora_trust.testbed.families.python import NUMBERS
from ellora_trust.testbed.family import Family, Names

# Phrase for a copy, phrase in place, code.
_CHANGES = (
    ("the {what} with {k} added", "Add {k} to the {what}", "{out}.append({k})"),
    ("the {what} sorted", "Sort the {what}", "{out}.sort()"),
    ("the {what} with the first set to {k}", "Set the first of the {what} to {k}", "{out}[0] = {k}"),
    ("the {what} reversed", "Reverse the {what}", "{out}.reverse()"),
    ("the {what} without the last", "Remove the last of the {what}", "{out}.pop()"),
)


def _change(rng: random.Random, names: Names) -> None:
    copied, placed, code = rng.choice(_CHANGES)
    names.update(copied=copied.format(**names), placed=placed.format(**names), change=code.format(**names))
    names["copy"] = rng.choice(("list({xs})", "{xs}.copy()", "{xs}[:]")).format(**names)


def _changed(names: Names, xs: list[int]) -> list[int]:
    change, k = names["change"].removeprefix(names["out"]), int(names["k"])
    if change.startswith("["):
        xs[0] = k
    elif change.startswith(".append"):
        xs.append(k)
    else:
        {".sort()": xs.sort, ".reverse()": xs.reverse, ".pop()": xs.pop}[change]()
    return xs


COPIES = (
    Family(
        "changed_copy",
        ("changed", "copy_of"),
        (
            "Return {copied}, without changing the input.",
            "Return {copied}. The input must not change.",
            "Without changing the input, return {copied}.",
        ),
        (("xs", "list"),),
        "list",
        ("{out} = ⟦{copy}¦{xs}⟧\n{change}\nreturn {out}",),
        lambda names, xs: _changed(names, list(xs)),
        lambda names: [(list(one),) for one in NUMBERS],
        more=_change,
        plant="P5",
        bad=_changed,
    ),
    Family(
        "in_place",
        ("change", "update"),
        ("{placed} in place.", "{placed}, changing the input.", "In place: {placed}."),
        (("xs", "list"),),
        "list",
        ("{out} = {xs}\n{change}\nreturn {out}",),
        _changed,
        lambda names: [(list(one),) for one in NUMBERS],
        more=_change,
        near_miss="P5",
    ),
)
