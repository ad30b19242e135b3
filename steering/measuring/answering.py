"""Whole answers, decided by the task's oracle: steered, and after two worked examples instead.

right = answered_rightly(model, task, examples, vector.steering(...))
right = after_two_examples(model, task, pairs, shots)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ellora_trust.decoding import Decoding
from ellora_trust.intervention import Intervention, Nothing
from ellora_trust.positions import Passage
from ellora_trust.prompts import Format, render
from ellora_trust.runs import run
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import Pair


def answered_rightly(
    model: CodeModel,
    task: Task,
    examples: Sequence[Example],
    intervention: Intervention | None = None,
    *,
    format: Format = "auto",
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each example is answered rightly under an intervention, (n,), by the task's oracle."""
    prompts = [render(model, example, format=format, header=task.header).text for example in examples]
    return _rightly(model, task, examples, prompts, intervention or Nothing(), progress)


def after_two_examples(
    model: CodeModel, task: Task, pairs: Sequence[Pair], shots: Sequence[Pair], *, progress: bool = False
) -> NDArray[np.bool_]:
    """Return whether each pair's negative is answered rightly after two others with their right answers, (n,).

    This is the source's in-context control: two edited programs with the answer filled in, then the question, all as
    plain text. Every question gets two shots of its own, taken in turn.

    Args:
        model: The model.
        task: The questions' task.
        pairs: Whose negatives are asked.
        shots: Of other groups, at least two.
        progress: Show a progress bar.
    """
    examples = [pair.negative for pair in pairs]
    prompts = []
    for i, example in enumerate(examples):
        two = [shots[(2 * i + k) % len(shots)] for k in (0, 1)]
        shown = "".join(f"{shot.negative.prompt} {shot.negative.answer}\n\n" for shot in two)
        prompts.append(task.header + shown + example.prompt)
    return _rightly(model, task, examples, prompts, Nothing(), progress)


def _rightly(
    model: CodeModel,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[str],
    intervention: Intervention,
    progress: bool,
) -> NDArray[np.bool_]:
    if not examples:
        return np.zeros(0, dtype=bool)
    decoding = Decoding(task.max_new_tokens, task.stop)
    passages = [Passage(prompt) for prompt in prompts]
    with intervention.apply(model):
        done = run(model, passages, decoding=decoding, progress=progress, label="answering").generations
    outcomes = task.decide_all(examples, [answer.text for answer in done])
    return np.array([outcome is Outcome.CORRECT for outcome in outcomes], dtype=bool)
