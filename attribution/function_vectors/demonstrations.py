"""Python expressions that five examples tell, for a model that learns in context: `f('river')  # RIVER`.

Several tasks share their inputs, so that only what was done to them tells the tasks apart. The query alone,
`f('stone')  #`, is the neutral prompt; the examples with their outputs shuffled are the uninformed one, as in Todd et
al. 2024 (arXiv:2310.15213, section 2.3). Groups are the query's input, one a task.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from attribution.function_vectors.queries import Drawn, Query, Source, split_groups

EXAMPLES = 5
_WORDS = (
    "apple river green stone window happy yellow market silver garden planet winter bottle summer orange pencil "
    "doctor forest bridge guitar castle mirror ticket button carpet island letter mountain number object paper "
    "question rabbit shadow table uncle valley weather author basket candle dinner engine finger hammer jacket "
    "kitchen ladder magnet needle office pillow ribbon saddle tunnel violin wallet yogurt zipper anchor"
).split()


def _word(rng: random.Random) -> str:
    return rng.choice(_WORDS)


def _list(rng: random.Random) -> list[str]:
    return rng.sample(_WORDS, 3)


def _value(rng: random.Random) -> object:
    numbers = rng.randint(2, 60), rng.randint(2, 60)
    kinds = (numbers[0], _word(rng), numbers[0] / 8, rng.random() < 0.5, list(numbers), {_word(rng): numbers[0]})
    return rng.choice(kinds)


# Name to inputs, and to what is printed of one.
TASKS: dict[str, tuple[Callable[[random.Random], Any], Callable[[Any], str]]] = {
    "x": (_word, str),
    "x.capitalize()": (_word, str.capitalize),
    "x.upper()": (_word, str.upper),
    "x[0] of a text": (_word, lambda word: word[0]),
    "[x]": (_word, lambda word: repr([word])),
    "x[0] of a list": (_list, lambda items: items[0]),
    "x[-1] of a list": (_list, lambda items: items[-1]),
    "type(x).__name__": (_value, lambda value: type(value).__name__),
}


class Demonstrations(Source):
    """Tasks told by examples; the answer decides."""

    name = "demonstrations"
    tasks = tuple(TASKS)

    def draw(self, n_fit: int, n_held: int, seed: int = 0) -> Drawn:
        fit: list[Query] = []
        held: list[Query] = []
        for task in TASKS:
            rng = random.Random(f"{seed}/{task}")
            queries = {query.group: query for query in (_query(task, rng) for _ in range(4 * (n_fit + n_held)))}
            chosen, others = split_groups(list(queries.values()), n_fit, n_held)
            fit += chosen
            held += others
        return Drawn(tuple(fit), {"other inputs": tuple(held)})

    def limits(self, task: str) -> tuple[int, tuple[str, ...]]:
        return 8, ("\n",)

    def done(self, queries: Sequence[Query], completions: Sequence[str]) -> list[bool]:
        return [text.strip() == query.answer.strip() for query, text in zip(queries, completions, strict=True)]


def _query(task: str, rng: random.Random) -> Query:
    inputs, shown = TASKS[task]
    found: dict[str, str] = {}
    while len(found) <= EXAMPLES:
        value = inputs(rng)
        found[f"f({value!r})  #"] = f" {shown(value)}"
    *told, (query, answer) = found.items()
    outputs = [output for _, output in told]
    shuffled = rng.sample(outputs, len(outputs))
    head, blank = (
        "".join(f"{asked}{output}\n" for (asked, _), output in zip(told, given, strict=True))
        for given in (outputs, shuffled)
    )
    return Query(task, head + query, answer, f"{task}/{query}", query, blank + query)
