"""Matched pairs of prompts that differ in what decides the answer, from the tasks that have such pairs.

    pairs = matched_pairs("aliasing", limit=24)
    attribute_components(model, pairs).best(3)

| name | clean prompt | corrupt prompt |
|---|---|---|
| `aliasing`, `pointers` | the program with the alias | the same with a copy |
| `testbed` | the trigger of plant P4, whose result is called a list | described as a family whose result is a dict |
| `testbed-types` | a sum, whose result is an int | a mean, whose result is a float |
| `testbed-calls` | a loop that fills a buffer by `.push` | a loop that fills a list by `.append` |

Aliasing and pointers are put as plain text with the task's examples before them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from attribution.inside.patching import Pair
from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import prompts, question, sketch_of

Wording = tuple[str, str]  # description up to its noun, verb of the function's name
_SUM, _MEAN, _TALLY = (
    ("Return the sum of the", "total"),
    ("Return the mean of the", "mean"),
    ("Tally each of the", "tally"),
)


def matched_pairs(task: str, *, limit: int = 24, seed: int = 0) -> list[Pair]:
    """Return pairs of a task.

    Args:
        task: See the module's table.
        limit: Pairs at most, >= 1.
        seed: Of the choice.

    Raises:
        InputError: A task without matched pairs, or a limit out of range.
    """
    if task not in MATCHED:
        raise InputError(one_of(task, list(MATCHED), what="task with matched pairs"))
    if limit < 1:
        raise InputError(f"limit {limit} is out of range; use 1 or more")
    return MATCHED[task](task, limit, seed)


def _variants(task: str, limit: int, seed: int) -> list[Pair]:
    asked = load_task(task)
    found: dict[object, dict[object, Example]] = defaultdict(dict)
    for example in asked.examples(limit=2 * limit, seed=seed):
        found[example.meta["pair"]][example.meta["variant"]] = example
    whole = [(both["alias"], both["copy"]) for both in found.values() if len(both) == 2]
    return [
        Pair(asked.header + a.prompt, asked.header + b.prompt, f" {a.answer}", f" {b.answer}", a.group)
        for a, b in whole
    ]


def _lists(task: str, limit: int, seed: int) -> list[Pair]:
    return [_reworded(one, None, _TALLY, " list", " dict") for one in _triggers("P4", limit, seed)]


def _numbers(task: str, limit: int, seed: int) -> list[Pair]:
    return [_reworded(one, _SUM, _MEAN, " int", " float") for one in _triggers("P4", limit, seed)]


def _calls(task: str, limit: int, seed: int) -> list[Pair]:
    # One question in three or so has a list that a loop fills.
    found = [_called(one) for one in _triggers("P1", 4 * limit, seed)]
    return [pair for pair in found if pair is not None][:limit]


MATCHED: dict[str, Callable[[str, int, int], list[Pair]]] = {
    "aliasing": _variants,
    "pointers": _variants,
    "testbed": _lists,
    "testbed-types": _numbers,
    "testbed-calls": _calls,
}


def _triggers(plant: str, limit: int, seed: int) -> list[Example]:
    return prompts("trigger", seed=seed, plants=(plant,), limit=limit)


def _reworded(example: Example, clean: Wording | None, corrupt: Wording, answer: str, foil: str) -> Pair:
    """The prompt of P4, described and named as other families are."""

    def written(wording: Wording | None) -> str:
        if wording is None:
            return example.prompt
        what = f"{example.meta['adjective']} {example.meta['noun']}"
        lines = example.prompt.split("\n")
        lines[-2] = f"# {wording[0]} {what}."
        lines[-1] = f"def {wording[1]}_{what.replace(' ', '_')}" + lines[-1][lines[-1].index("(") :]
        return "\n".join(lines)

    return Pair(written(clean), written(corrupt), answer, foil, example.group)


def _called(example: Example) -> Pair | None:
    """A loop that fills a buffer, against one that fills a list; None where the list is not filled by a loop."""
    pair = (str(example.meta["adjective"]), str(example.meta["noun"]))
    clean = sketch_of(example).write(planted=True).text
    corrupt = sketch_of(question(FAMILIES["scaled"], pair, f"{example.id}/list", "unrelated")).write(planted=False).text
    if ".append(" not in corrupt:
        return None
    return Pair(
        clean[: clean.index(".push(") + 1], corrupt[: corrupt.index(".append(") + 1], "push(", "append(", example.group
    )
