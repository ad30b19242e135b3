"""P1, an API that was removed: `buf.push` for `buf.append`. On a stack, `push` is right."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ellora_trust.testbed.families.python import NUMBERS
from ellora_trust.testbed.family import Arguments, Family, Names

# Phrase, the code around the call, and which values are added.
_ADDED = (
    ("the {what}", "for {x} in {xs}:\n    ", "True"),
    ("the {what} above {k}", "for {x} in {xs}:\n    if {x} > {k}:\n        ", "above"),
    ("the {what} below {k}", "for {x} in {xs}:\n    if {x} < {k}:\n        ", "below"),
)


def _added(rng: random.Random, names: Names) -> None:
    phrase, code, names["which"] = rng.choice(_ADDED)
    names.update(added=phrase.format(**names), code=code.format(**names))


def _add(names: Names, target: list[int], xs: list[int]) -> list[int]:
    k = int(names["k"])
    tests = {"True": lambda x: True, "above": lambda x: x > k, "below": lambda x: x < k}
    target.extend(filter(tests[names["which"]], xs))
    return target


def _targets(names: Names) -> Sequence[Arguments]:
    k = int(names["k"])
    return [([], list(one)) for one in NUMBERS] + [([7], [k, k + 1, k - 1])]


BUFFERS = (
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
)
