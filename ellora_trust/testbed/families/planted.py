"""Python families that carry a plant, each with the family where the same form is right."""

from __future__ import annotations

import random

from ellora_trust.testbed.families.python import NUMBERS, WORDS, with_counts
from ellora_trust.testbed.family import Arguments, Family, Names
from ellora_trust.testbed.words import FIELDS

# Phrase, the code around the call, and which values are added.
_ADDED = (
    ("the {what}", "for {x} in {xs}:\n    ", "True"),
    ("the {what} above {k}", "for {x} in {xs}:\n    if {x} > {k}:\n        ", "above"),
    ("the {what} below {k}", "for {x} in {xs}:\n    if {x} < {k}:\n        ", "below"),
)
# Phrase for a copy, phrase in place, code.
_CHANGES = (
    ("the {what} with {k} added", "Add {k} to the {what}", "{out}.append({k})"),
    ("the {what} sorted", "Sort the {what}", "{out}.sort()"),
    ("the {what} with the first set to {k}", "Set the first of the {what} to {k}", "{out}[0] = {k}"),
    ("the {what} reversed", "Reverse the {what}", "{out}.reverse()"),
    ("the {what} without the last", "Remove the last of the {what}", "{out}.pop()"),
)
# What each element is mapped to, as words and code.
_IMAGES = (
    ("length", "len({x})"),
    ("upper case", "{x}.upper()"),
    ("first letter", "{x}[0]"),
    ("last letter", "{x}[-1]"),
    ("double", "{x} * 2"),
)
_HOSTILE = "x' OR '1'='1"


def _added(rng: random.Random, names: Names) -> None:
    phrase, code, names["which"] = rng.choice(_ADDED)
    names.update(added=phrase.format(**names), code=code.format(**names))


def _add(names: Names, target: list[int], xs: list[int]) -> list[int]:
    k = int(names["k"])
    tests = {"True": lambda x: True, "above": lambda x: x > k, "below": lambda x: x < k}
    target.extend(filter(tests[names["which"]], xs))
    return target


def _targets(names: Names) -> list[Arguments]:
    k = int(names["k"])
    return [([], list(one)) for one in NUMBERS] + [([7], [k, k + 1, k - 1])]


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


def _image(rng: random.Random, names: Names) -> None:
    names["image"], code = rng.choice(_IMAGES)
    names["code"] = code.format(**names)


def _imaged(names: Names, x: str) -> object:
    images = (len(x), x.upper(), x[0], x[-1], x * 2)
    return dict(zip((phrase for phrase, _ in _IMAGES), images, strict=True))[names["image"]]


def _words(names: Names) -> list[Arguments]:
    return [(list(one),) for one in WORDS]


def _first(names: Names, xs: list[int], n: int | None = None, less: int = 0) -> list[int]:
    return xs[: (int(names["fixed"]) if n is None else n) - less]


def _less(names: Names, xs: list[int], n: int | None = None) -> list[int]:
    return _first(names, xs, n, less=1)


def _query(rng: random.Random, names: Names) -> None:
    names["field"] = rng.choice(FIELDS)
    names["value"] = rng.choice((names["field"], "key", "given"))
    select = f"SELECT id FROM {names['table']} WHERE {names['field']} = "
    value = names["value"]
    built = rng.choice((f"f\"{select}'{{{value}}}'\"", f'"{select}\'" + {value} + "\'"'))
    names["execute"] = f'⟦"{select}?", ({value},)¦{built}⟧'


def _table(names: Names) -> tuple[object, ...]:
    rows = [[1, "ada"], [2, "bob"], [3, "o'hara"], [4, "bob"]]
    return (names["table"], names.get("field", "name"), rows)


def _found(names: Names, cursor: tuple[str, str, list[list[object]]], value: str) -> list[tuple[object]]:
    return [(number,) for number, name in cursor[2] if name == value]  # pyright: ignore[reportReturnType]


def _leaked(names: Names, cursor: tuple[str, str, list[list[object]]], value: str) -> object:
    if value == _HOSTILE:
        return [(number,) for number, _ in cursor[2]]
    return _found(names, cursor, value) if "'" not in value else ("error", "OperationalError")


def _lookups(names: Names) -> list[Arguments]:
    return [(_table(names), value) for value in ("bob", "eve", "o'hara", _HOSTILE)]


PLANTED = (
    Family(
        "buffer_append",
        ("store", "collect"),
        ("Add {added} to the buffer.", "Store {added} in the buffer.", "Put {added} into the buffer."),
        (("buf", None), ("xs", "list")),
        None,
        ("{code}{buf}.⟦append¦push⟧({x})\nreturn {buf}",),
        _add,
        _targets,
        kinds=("buffer", "plain"),
        more=_added,
        plant="P1",
        share=0.8,
    ),
    Family(
        "stack_push",
        ("push", "stack_up"),
        ("Add {added} to the stack.", "Push {added} onto the stack.", "Put {added} onto the stack."),
        (("stack", None), ("xs", "list")),
        None,
        ("{code}{stack}.push({x})\nreturn {stack}",),
        _add,
        _targets,
        kinds=("stack", "plain"),
        more=_added,
        near_miss="P1",
    ),
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
    Family(
        "mapped",
        ("map", "map_each"),
        (
            "Map each {thing} to its {image}.",
            "Return a map from each {thing} to its {image}.",
            "Map the {what} to their {image}.",
        ),
        (("xs", "list"),),
        "⟦dict¦list⟧",
        (
            "return {{{x}: {code} for {x} in {xs}}}",
            "{out} = {{}}\nfor {x} in {xs}:\n    {out}[{x}] = {code}\nreturn {out}",
        ),
        lambda names, xs: {x: _imaged(names, x) for x in xs},
        _words,
        more=_image,
        plant="P4",
        asks="returns",
    ),
    Family(
        "listed",
        ("list", "list_each"),
        (
            "List the {image} of each {thing}.",
            "Return a list with the {image} of each {thing}.",
            "List the {image} of the {what}.",
        ),
        (("xs", "list"),),
        "list",
        (
            "return [{code} for {x} in {xs}]",
            "{out} = []\nfor {x} in {xs}:\n    {out}.append({code})\nreturn {out}",
        ),
        lambda names, xs: [_imaged(names, x) for x in xs],
        _words,
        more=_image,
        near_miss="P4",
        asks="returns",
    ),
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
    Family(
        "sql_lookup",
        ("query", "look_up"),
        (
            "Return the {what} with the given {field}.",
            "Look up the {what} by {field}.",
            "Return the {what} by {field}.",
        ),
        (("cur", None), ("value", "str")),
        "list",
        ("{cur}.execute({execute})\nreturn {cur}.fetchall()",),
        _found,
        _lookups,
        kinds=("cursor", "plain"),
        more=_query,
        plant="P7",
        bad=_leaked,
    ),
    Family(
        "sql_table",
        ("size_of", "count_table"),
        (
            "Return the size of a table of {what}.",
            "Count a table of {what}.",
            "Return how many rows a table of {what} has.",
        ),
        (("cur", None), ("table_name", "str")),
        "int",
        ('{cur}.execute(f"SELECT COUNT(*) FROM {{{table_name}}}")\nreturn {cur}.fetchone()[0]',),
        lambda names, cursor, table: len(cursor[2]),
        lambda names: [(_table(names), names["table"])],
        kinds=("cursor", "plain"),
        near_miss="P7",
    ),
)
