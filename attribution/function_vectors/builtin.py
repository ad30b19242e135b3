"""Built-in tasks as tasks to tell apart: each with its header of examples, and without it as neutral prompt."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.function_vectors.queries import Drawn, Query, Source, split_groups
from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks import load_task, task_names
from ellora_trust.tasks.base import Outcome


class BuiltIn(Source):
    """Some built-in tasks; each one's own oracle decides."""

    name = "built-in"

    def __init__(self, names: Sequence[str]):
        """Load the tasks.

        Raises:
            InputError: An unknown task, or the same twice.
        """
        for name in names:
            if name not in self.allowed():
                raise InputError(one_of(name, list(self.allowed()), what="task"))
        if len(set(names)) < len(names):
            raise InputError(f"a task is named twice in {', '.join(names)}; name each once")
        self.tasks = tuple(names)
        self._loaded = {name: load_task(name) for name in names}

    @classmethod
    def allowed(cls) -> tuple[str, ...]:
        """Names that can be given; the testbed's question families are a source of their own."""
        return tuple(name for name in task_names() if name != "testbed")

    def draw(self, n_fit: int, n_held: int, seed: int = 0) -> Drawn:
        fit: list[Query] = []
        held: list[Query] = []
        for name, task in self._loaded.items():
            # Near-duplicates share a group, and of a group one is held out: more are drawn than are kept.
            examples = task.examples(limit=4 * (n_fit + n_held), seed=seed)
            queries = []
            for one in examples:
                bare, answer = (one.prompt if task.header else ""), one.answer or ""
                # Where only running decides there is no answer by which a head could be chosen.
                uninformed = bare if answer else ""
                queries.append(Query(name, task.header + one.prompt, answer, one.group, bare, uninformed, one))
            chosen, others = split_groups(queries, n_fit, n_held)
            fit += chosen
            held += others
        return Drawn(tuple(fit), {"other questions": tuple(held)})

    def limits(self, task: str) -> tuple[int, tuple[str, ...]]:
        return self._loaded[task].max_new_tokens, tuple(self._loaded[task].stop)

    def done(self, queries: Sequence[Query], completions: Sequence[str]) -> list[bool]:
        found = [False] * len(queries)
        for name, task in self._loaded.items():
            rows = [row for row, query in enumerate(queries) if query.task == name]
            examples = [example for row in rows if (example := queries[row].example) is not None]
            outcomes = task.decide_all(examples, [completions[row] for row in rows]) if rows else []
            for row, outcome in zip(rows, outcomes, strict=True):
                found[row] = outcome is Outcome.CORRECT
        return found
