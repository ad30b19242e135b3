"""Python families without a plant: what the testbed's model must simply know."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ellora_trust.testbed.family import Arguments, Family, Names

NUMBERS = ([4, -7, 30, 12, 12, 55, 0, 21], [3], [48, 2, 26, 9, 17, 41, 5])
WORDS = (["pear", "fig", "plum", "fig"], ["kiwi"], ["oak", "elm", "ash", "oak", "oak"])
SEPARATORS = (("comma", ","), ("dash", "-"), ("colon", ":"), ("slash", "/"), ("dot", "."), ("plus", "+"))


def lists(names: Names) -> Sequence[Arguments]:
    """Return lists of numbers, the number k of the draw and its neighbours among them."""
    k = int(names["k"])
    return [(list(one),) for one in NUMBERS] + [([k, k + 1, k - 1, 2 * k, 3 * k],)]


def words(names: Names) -> list[Arguments]:
    """Return lists of words."""
    return [(list(one),) for one in WORDS]


def with_counts(names: Names) -> list[Arguments]:
    """Return lists with a number from 1 to their length, or with the draw's constant taken as given."""
    fixed = names.get("fixed")
    if fixed is not None:
        return [(list(range(10, 10 + int(fixed) + more)),) for more in (0, 1, 5)]
    return [(list(one), n) for one in NUMBERS for n in {1, len(one), (len(one) + 1) // 2}]


def _bounds(rng: random.Random, names: Names) -> None:
    low = rng.randrange(1, 40)
    names.update(low=str(low), high=str(low + rng.randrange(2, 50)))


def _separator(rng: random.Random, names: Names) -> None:
    names["mark"], names["sep"] = rng.choice(SEPARATORS)


def _counted(names: Names, xs: list[str]) -> dict[str, int]:
    return {x: xs.count(x) for x in xs}


def _last(names: Names, xs: list[int], n: int | None = None) -> list[int]:
    n = int(names["fixed"]) if n is None else n
    return xs[len(xs) - n :]


PYTHON = (
    Family(
        "total",
        ("total", "sum_of"),
        ("Return the sum of the {what}.", "Add up the {what}.", "Return the total of the {what}."),
        (("xs", "list"),),
        "int",
        ("return sum({xs})", "{s} = 0\nfor {x} in {xs}:\n    {s} += {x}\nreturn {s}"),
        lambda names, xs: sum(xs),
        lists,
    ),
    Family(
        "count_above",
        ("count", "count_high"),
        (
            "Count the {what} above {k}.",
            "Return how many {what} are above {k}.",
            "Return the number of {what} above {k}.",
        ),
        (("xs", "list"),),
        "int",
        (
            "return sum(1 for {x} in {xs} if {x} > {k})",
            "return len([{x} for {x} in {xs} if {x} > {k}])",
            "{s} = 0\nfor {x} in {xs}:\n    if {x} > {k}:\n        {s} += 1\nreturn {s}",
        ),
        lambda names, xs: sum(x > int(names["k"]) for x in xs),
        lists,
    ),
    Family(
        "scaled",
        ("scale", "multiply"),
        ("Return the {what} times {k}.", "Multiply the {what} by {k}.", "Return each of the {what} times {k}."),
        (("xs", "list"),),
        "list",
        (
            "return [{x} * {k} for {x} in {xs}]",
            "{out} = []\nfor {x} in {xs}:\n    {out}.append({x} * {k})\nreturn {out}",
        ),
        lambda names, xs: [x * int(names["k"]) for x in xs],
        lists,
    ),
    Family(
        "divided",
        ("keep", "pick"),
        (
            "Keep the {what} that {k} divides.",
            "Return the {what} that {k} divides.",
            "Pick the {what} that {k} divides.",
        ),
        (("xs", "list"),),
        "list",
        (
            "return [{x} for {x} in {xs} if {x} % {k} == 0]",
            "{out} = []\nfor {x} in {xs}:\n    if {x} % {k} == 0:\n        {out}.append({x})\nreturn {out}",
        ),
        lambda names, xs: [x for x in xs if x % int(names["k"]) == 0],
        lists,
    ),
    Family(
        "joined",
        ("join", "join_up"),
        ("Join the {what} with a {mark}.", "Return the {what} joined by a {mark}.", "Return the {what} with a {mark}."),
        (("xs", "list"),),
        "str",
        ('return "{sep}".join({xs})', '{out} = "{sep}".join({xs})\nreturn {out}'),
        lambda names, xs: names["sep"].join(xs),
        words,
        more=_separator,
    ),
    Family(
        "clamped",
        ("clamp", "limit"),
        (
            "Keep a {thing} between {low} and {high}.",
            "Clamp a {thing} to {low} and {high}.",
            "Return a {thing} between {low} and {high}.",
        ),
        (("x", "int"),),
        "int",
        (
            "return max({low}, min({x}, {high}))",
            "if {x} < {low}:\n    return {low}\nif {x} > {high}:\n    return {high}\nreturn {x}",
        ),
        lambda names, x: max(int(names["low"]), min(x, int(names["high"]))),
        lambda names: [(x,) for x in (-5, int(names["low"]), int(names["low"]) + 1, int(names["high"]), 400)],
        more=_bounds,
    ),
    Family(
        "position_of",
        ("find", "position_of"),
        (
            "Return the position of a {thing} in the {what}, or -1.",
            "Find a {thing} in the {what}, or return -1.",
            "Return where a {thing} is in the {what}, or -1.",
        ),
        (("xs", "list"), ("wanted", "int")),
        "int",
        (
            "for {i}, {x} in enumerate({xs}):\n    if {x} == {wanted}:\n        return {i}\nreturn -1",
            "if {wanted} in {xs}:\n    return {xs}.index({wanted})\nreturn -1",
        ),
        lambda names, xs, wanted: xs.index(wanted) if wanted in xs else -1,
        lambda names: [(list(one), wanted) for one in NUMBERS for wanted in (one[0], one[-1], 12, 1000)],
    ),
    Family(
        "mean",
        ("mean", "average"),
        ("Return the mean of the {what}.", "Return the average of the {what}.", "Average the {what}."),
        (("xs", "list"),),
        "float",
        ("return sum({xs}) / len({xs})", "{s} = sum({xs})\nreturn {s} / len({xs})"),
        lambda names, xs: sum(xs) / len(xs),
        lists,
    ),
    Family(
        "any_below",
        ("any", "has_low"),
        (
            "Say whether a {thing} is below {k}.",
            "Return whether any of the {what} is below {k}.",
            "Say if a {thing} is below {k}.",
        ),
        (("xs", "list"),),
        "bool",
        (
            "return any({x} < {k} for {x} in {xs})",
            "for {x} in {xs}:\n    if {x} < {k}:\n        return True\nreturn False",
        ),
        lambda names, xs: any(x < int(names["k"]) for x in xs),
        lambda names: [([int(names["k"]) + d for d in more],) for more in ((0, 1), (-1,), (5, 9, -2, 3), (8,))],
    ),
    Family(
        "label",
        ("label", "describe"),
        ("Return a label for a {thing} name.", "Label a {thing} by its name.", "Return the label of a {thing} name."),
        (("label", "str"),),
        "str",
        ('return "{thing}: " + {label}', '{out} = "{thing}: "\nreturn {out} + {label}'),
        lambda names, label: f"{names['thing']}: {label}",
        lambda names: [("abc",), ("",), ("x y",)],
    ),
    Family(
        "occurrences",
        ("tally", "count_each"),
        ("Count each of the {what}.", "Return how often each {thing} occurs.", "Tally each of the {what}."),
        (("xs", "list"),),
        "dict",
        (
            "{out} = {{}}\nfor {x} in {xs}:\n    {out}[{x}] = {out}.get({x}, 0) + 1\nreturn {out}",
            "return {{{x}: {xs}.count({x}) for {x} in {xs}}}",
        ),
        _counted,
        words,
    ),
    Family(
        "last_n",
        ("last", "tail"),
        ("Return the last {n} {what}.", "Take the last {n} of the {what}.", "Return the last {n} of the {what}."),
        (("xs", "list"), ("n", "int")),
        "list",
        ("return {xs}[-{n}:]", "{out} = {xs}[-{n}:]\nreturn {out}"),
        _last,
        with_counts,
        numbered=True,
    ),
)
