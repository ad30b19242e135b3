"""`compile_pairs`: what the model answers rightly before an edit and wrongly after it.

pairs = compile_pairs(model, load_task("types"), ["rename_vars", "rename_types"], limit=300, seed=0)
pairs.counts["rename_vars"]            # {'originals': 300, 'originals right': 61, 'edited': 57, ..., 'pairs': 12}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled, label
from ellora_trust.progress import Progress
from ellora_trust.prompts import Format
from ellora_trust.tasks.base import Example, Outcome, Task
from steering.pairs.edits import edit_names
from steering.pairs.pairset import Pair, PairSet
from steering.pairs.verified_edits import Rejections, edited

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


class Asked(Task):
    """A task that asks given questions, and is another task in everything else.

    Args:
        task: Whose header, stop strings and oracle are used.
        questions: What to ask.
    """

    def __init__(self, task: Task, questions: Sequence[Example]) -> None:
        self.name, self.header, self.stop = task.name, task.header, task.stop
        self.max_new_tokens = task.max_new_tokens
        self._task = task
        self._questions = list(questions)

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first questions; they have an order of their own, so the seed changes nothing."""
        return self._questions[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        return self._task.decide(example, completion)

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        return self._task.decide_all(examples, completions)

    def oracle(self) -> dict[str, str]:
        return self._task.oracle()

    def datasheet(self) -> str:
        return self._task.datasheet()


def compile_pairs(
    model: CodeModel,
    task: Task,
    edits: Sequence[str],
    *,
    limit: int | None = None,
    seed: int = 0,
    draws: int = 1,
    format: Format = "auto",
    max_per_program: int | None = None,
    max_per_type: int | None = None,
    store: Path | None = None,
    progress: bool = False,
) -> PairSet:
    """Return pairs of a question answered rightly and its edited form answered wrongly.

    Only questions that the model answers rightly are edited; an edited one is kept if it passes every check. One that
    is answered with nothing makes no pair.

    Args:
        model: Who answers.
        task: The task `types`, built-in or of a user's code.
        edits: Each an edit or a combination joined with `+`; pairs of all of them are in the one set.
        limit: At most so many originals.
        seed: Of the originals, the sites and the caps.
        draws: Times each original is edited, each with other sites; equal results count once.
        format: How the questions are put.
        max_per_program: At most so many pairs of one file and edit; the paper's cap is 25.
        max_per_type: At most so many pairs of one type and edit; the paper's is 4.
        store: Folder for the answers, to resume from.
        progress: Show progress bars.

    Raises:
        InputError: An unknown edit, fewer than one draw, or a task whose questions have no gap.
        EnvironmentProblem: mypy cannot be run.
    """
    labels = list(dict.fromkeys("+".join(edit_names(edit)) for edit in edits))
    if not labels:
        raise InputError("no edit was given; use for example rename_vars")
    if draws < 1:
        raise InputError(f"draws is {draws}; edit each original at least once")
    originals = label(model, task, limit=limit, seed=seed, format=format, store=store, progress=progress)
    if not any(example.prefix or example.suffix for example in originals.examples):
        raise InputError(f"task {task.name!r} asks about no gap, so nothing around it can be edited; use types")
    right = _right(originals)

    def ask(examples: Sequence[Example]) -> Labelled:
        return label(model, Asked(task, examples), format=format, store=store, progress=progress)

    found = {name: _Found.of(right, name, ask, seed=seed, draws=draws, progress=progress) for name in labels}
    known = {"originals": len(originals.examples), "originals right": len(right)}
    every = PairSet(
        task.name,
        {"name": model.name, "fingerprint": model.fingerprint},
        tuple(pair for one in found.values() for pair in one.pairs),
        tuple(example for one in found.values() for example in one.stayed_right),
        {name: {**known, **one.counts} for name, one in found.items()},
        seed,
        {"limit": limit, "prompt_format": originals.prompt_format},
    )
    return every.capped(max_per_program=max_per_program, max_per_type=max_per_type)


@dataclass(frozen=True)
class _Found:
    """What one edit gives.

    Attributes:
        pairs: Answered rightly before, wrongly after.
        stayed_right: Edited questions answered rightly.
        counts: What became of the originals.
    """

    pairs: list[Pair]
    stayed_right: list[Example]
    counts: dict[str, int]

    @classmethod
    def of(
        cls,
        right: dict[str, tuple[Example, str]],
        edit: str,
        ask: Callable[[Sequence[Example]], Labelled],
        *,
        seed: int,
        draws: int,
        progress: bool,
    ) -> _Found:
        originals = [example for example, _ in right.values()]
        examples, lost = _drawn(originals, edit, seed=seed, draws=draws, progress=progress)
        after = ask(examples) if examples else None
        pairs = _pairs(right, after, edit) if after else []
        still = [example for example, _ in _right(after).values()] if after else []
        counts = {
            "edited": len(examples),
            **{f"rejected: {reason}": count for reason, count in lost.counts().items()},
            "stayed right": len(still),
            "answered with nothing": len(examples) - len(still) - len(pairs),
            "pairs": len(pairs),
        }
        return cls(pairs, still, counts)


def _drawn(
    originals: Sequence[Example], edit: str, *, seed: int, draws: int, progress: bool
) -> tuple[list[Example], Rejections]:
    """Return what so many draws of an edit give, each program once, and what the first draw lost."""
    found: dict[str, Example] = {}
    first: Rejections | None = None
    # The type checker takes whole batches, so a draw is the smallest step there is to tell of.
    with Progress(draws, f"editing and checking {len(originals)} programs ({edit})", enabled=progress) as bar:
        for draw in range(draws):
            examples, lost = edited(originals, edit, seed=seed + draw)
            first = first or lost
            for example in examples:
                named = replace(example, id=f"{example.id}#{draw}") if draw else example
                found.setdefault(example.prompt, named)
            bar.advance(1)
    return list(found.values()), first or Rejections()


def _right(labelled: Labelled) -> dict[str, tuple[Example, str]]:
    """Return the questions answered rightly by id, with the answers."""
    rows = zip(labelled.examples, labelled.generations, labelled.outcomes, strict=True)
    return {example.id: (example, said.text) for example, said, outcome in rows if outcome is Outcome.CORRECT}


def _pairs(right: dict[str, tuple[Example, str]], after: Labelled, edit: str) -> list[Pair]:
    found = []
    for example, said, outcome in zip(after.examples, after.generations, after.outcomes, strict=True):
        if outcome.decided and outcome is not Outcome.CORRECT and said.text.strip():
            original, answer = right[str(example.meta["edit_of"])]
            found.append(Pair(original, example, edit, answer, said.text))
    return found
