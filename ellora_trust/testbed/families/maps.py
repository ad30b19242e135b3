"""P4, an annotation that is not true: `-> list` for what returns a dict. Where a list is returned it is right."""

from __future__ import annotations

import random

from ellora_trust.testbed.families.python import words
from ellora_trust.testbed.family import Family, Names

# What each element is mapped to, as words and code.
_IMAGES = (
    ("length", "len({x})"),
    ("upper case", "{x}.upper()"),
    ("first letter", "{x}[0]"),
    ("last letter", "{x}[-1]"),
    ("double", "{x} * 2"),
)


def _image(rng: random.Random, names: Names) -> None:
    names["image"], code = rng.choice(_IMAGES)
    names["code"] = code.format(**names)


def _imaged(names: Names, x: str) -> object:
    images = (len(x), x.upper(), x[0], x[-1], x * 2)
    return dict(zip((phrase for phrase, _ in _IMAGES), images, strict=True))[names["image"]]


MAPS = (
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
        words,
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
        words,
        more=_image,
        near_miss="P4",
        asks="returns",
    ),
)
