"""Prompts that tell a model which task to do, and the same prompts without what tells it.

    source = source_of("testbed")                     # families of the testbed; "demonstrations"; or built-in tasks
    drawn = source.draw(24, 12)
    drawn.fit[0].prompt, drawn.fit[0].neutral, drawn.held["other words"]

| source | a task is | neutral prompt | uninformed prompt |
|---|---|---|---|
| `testbed` | a family of functions | a name that says nothing, no description | the same |
| `demonstrations` | a Python expression, by five examples | the query alone | the examples' outputs shuffled |
| built-in tasks | one of `ellora-trust tasks` | the question without the task's header | the same |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example

NAMED = ("testbed", "demonstrations")


@dataclass(frozen=True)
class Query:
    """One prompt of a task.

    Attributes:
        task: Which.
        prompt: It tells what to do; its last token is where the task is read.
        answer: A right continuation.
        group: What shares it is held out together.
        neutral: The same question without what tells the task; empty where there is none.
        uninformed: As alike the prompt as can be, without what tells the task; empty where there is none.
        example: For the oracle, where one decides.
    """

    task: str
    prompt: str
    answer: str
    group: str
    neutral: str = ""
    uninformed: str = ""
    example: Example | None = None


@dataclass(frozen=True)
class Drawn:
    """Queries to fit on, and held-out ones by how they differ; no group is in both."""

    fit: tuple[Query, ...]
    held: Mapping[str, tuple[Query, ...]]


class Source(ABC):
    """Where queries come from, and what decides whether a task was done.

    Attributes:
        name: Of the source.
        tasks: Names of its tasks.
    """

    name: str
    tasks: tuple[str, ...]

    @abstractmethod
    def draw(self, n_fit: int, n_held: int, seed: int = 0) -> Drawn:
        """Return so many queries of each task at most, to fit on and of each kind that is held out."""

    @abstractmethod
    def limits(self, task: str) -> tuple[int, tuple[str, ...]]:
        """Return how long a task's answer may be, in tokens, and which strings end it."""

    @abstractmethod
    def done(self, queries: Sequence[Query], completions: Sequence[str]) -> list[bool]:
        """Whether each completion of a query, or of its neutral prompt, does its task."""


def source_of(names: str | Sequence[str]) -> Source:
    """Return a source by name, or that of some built-in tasks.

    Args:
        names: `testbed`, `demonstrations`, or the names of two or more built-in tasks.

    Raises:
        InputError: An unknown name, or fewer than two tasks.
    """
    from attribution.function_vectors.builtin import BuiltIn
    from attribution.function_vectors.demonstrations import Demonstrations
    from attribution.function_vectors.families import TestbedFamilies

    given = (names,) if isinstance(names, str) else tuple(names)
    if given == ("testbed",):
        return TestbedFamilies()
    if given == ("demonstrations",):
        return Demonstrations()
    if len(given) == 1:
        if given[0] not in BuiltIn.allowed():
            raise InputError(one_of(given[0], [*NAMED, *BuiltIn.allowed()], what="source of tasks"))
        raise InputError(f"{given[0]!r} alone is nothing to tell apart; give two or more tasks, joined with commas")
    return BuiltIn(given)


def split_groups(queries: Sequence[Query], n_fit: int, n_held: int) -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """Return the first `n_fit` queries and, of the groups after those, the first query each, `n_held` at most."""
    fit = tuple(queries[:n_fit])
    seen, held = {query.group for query in fit}, []
    for query in queries[n_fit:]:
        if query.group not in seen and len(held) < n_held:
            seen.add(query.group)
            held.append(query)
    return fit, tuple(held)
