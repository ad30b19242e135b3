"""A task's questions as what shall go and stay: a model's own wrong answers with the right ones in their place.

    forget, retain = own_errors(model, "aliasing", limit=64)      # wrong answers with fixes; right answers
    share_right(model, "aliasing", limit=64)                      # on the other half of the groups, which no edit sees

Half of a task's groups are for edits, the other half for asking afterwards. Only tasks with reference answers will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.prompts import render
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.tasks.base import Outcome
from unlearning.data import Item

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.tasks.base import Example, Task

PREFIX = "task:"
Half = Literal["edits", "asking"]
# Examples drawn for each that is used: half are of the other half of the groups, and of the rest not all are wrong.
_DRAWN = 4


def own_errors(
    model: CodeModel, name: str, *, limit: int = 256, seed: int = 0, progress: bool = False
) -> tuple[list[Item], list[Item]]:
    """Answer a task and return the wrong answers with their fixes, and the right ones.

    Args:
        model: The model, greedy.
        name: Of a task, as for `load_task`.
        limit: Wrong answers at most; twice as many right ones.
        seed: Of the choice of questions.
        progress: Show a progress bar.

    Raises:
        InputError: An unknown task, one without reference answers, or a model that errs nowhere on it.
        EnvironmentProblem: The task's answers have to be run, and this machine cannot isolate programs.
    """
    task = _task(name)
    chosen = half(task, "edits", limit=2 * limit, seed=seed)
    done = _answered(model, task, chosen, progress=progress)
    # An answer ends where the task stops it; that it ends is part of what is learnt.
    end = task.stop[0] if task.stop else ""
    forget, retain = [], []
    for example, prompt, said, outcome in done:
        right = example.answer or ""
        if not outcome.decided or not said.strip():
            continue
        if outcome is Outcome.CORRECT:
            retain.append(Item(example.id, example.group, prompt, said + end))
        elif right.strip() != said.strip():
            # Fault and fix begin with the same space, which is no fault.
            space = said[: len(said) - len(said.lstrip())]
            forget.append(Item(example.id, example.group, prompt, said + end, space + right.strip() + end))
    if not forget:
        raise InputError(f"{model.name} is right on all {len(chosen)} questions of {name}; there is nothing to mend")
    return forget[:limit], retain[: 2 * limit]


def share_right(model: CodeModel, name: str, *, limit: int = 256, seed: int = 0) -> Estimate:
    """Share of right answers to questions of the groups that are not for edits, with an interval over groups."""
    task = _task(name)
    done = _answered(model, task, half(task, "asking", limit=limit, seed=seed))
    rows = [(float(outcome is Outcome.CORRECT), example.group) for example, _, _, outcome in done if outcome.decided]
    right, groups = np.array([value for value, _ in rows]), [group for _, group in rows]
    return group_bootstrap(lambda values: float(values.mean()), [right], groups)


def _answered(
    model: CodeModel, task: Task, examples: Sequence[Example], *, progress: bool = False
) -> list[tuple[Example, str, str, Outcome]]:
    """Example, prompt as the model read it, answer, verdict."""
    prompts = [render(model, one, header=task.header).text for one in examples]
    made = model.generate(prompts, max_new_tokens=task.max_new_tokens, stop=task.stop, progress=progress)
    texts = [one.text for one in made]
    return list(zip(examples, prompts, texts, task.decide_all(examples, texts), strict=True))


def half(task: Task, which: Half, *, limit: int, seed: int) -> list[Example]:
    """Return questions of the groups that are for edits, or for asking; a group's half never changes."""
    drawn = task.examples(limit=_DRAWN * limit, seed=seed)
    chosen = [one for one in drawn if (_number(one.group) % 2 == 0) == (which == "edits")][:limit]
    if not chosen:
        raise InputError(f"task {task.name!r} has no question for {which} among {len(drawn)}; raise --limit")
    return chosen


def _number(group: str) -> int:
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16)


def _task(name: str) -> Task:
    from ellora_trust.tasks import load_task

    task = load_task(name)
    if any(one.answer is None for one in task.examples(limit=1)):
        raise InputError(f"task {name!r} has no reference answers to put in the place of wrong ones; use another task")
    return task
