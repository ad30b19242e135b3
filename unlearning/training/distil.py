"""Noise and distillation after an edit: the edited model teaches a damaged copy of itself what it says.

    found = distil(loop, weights, where, state, recompute=False, progress=False)

What lay in the weights and is no longer said is not taught. Nor is what the retain set does not show: give it much.

Source: Lee et al. 2025, arXiv:2506.06278 (UNDO). Departures: a given number of steps instead of stopping at 95 % of the
    teacher's retain performance, and on the forget side the teacher's own answers instead of the forget corpus.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearning.data import Item
from unlearning.recipes import FOLLOW
from unlearning.sources.held_out import Watched
from unlearning.training.loop import Loop
from unlearning.training.progress_state import Check, ProgressState
from unlearning.training.receipt import Cost, cost
from unlearning.training.robust import damage
from unlearning.training.trainable import Trainable, recomputing_if
from unlearning.where import Where

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_ANSWERS = 64  # prompts of the forget side that the teacher answers


@dataclass(frozen=True)
class Distilled:
    """What came of it.

    Attributes:
        history: Checks of the copy, counted from the end of the edit.
        why: `budget`; `collapse` or `nan` where the copy did not recover and the weights are its teacher's again.
        cost: Of a step, where it was asked for.
    """

    history: list[Check]
    why: str
    cost: Cost | None


def distil(
    taught: Loop, weights: Trainable, where: Where, state: ProgressState, *, recompute: bool, progress: bool
) -> Distilled:
    """Damage the weights, which are those of the edit, and let them learn again what the edited model says."""
    model, robust = taught.model, taught.robust
    assert robust is not None
    teacher = {name: parameter.detach().clone() for name, parameter in weights.parameters.items()}
    student = _student(taught)
    folder = state.folder / "distil"
    folder.mkdir(exist_ok=True)
    with recomputing_if(recompute, model):
        found = cost(lambda: student.dry_step(weights.parameters)) if taught.measure_cost else None
        damage(where.parameters(model), robust, taught.seed)
        history, why = student.run(weights, ProgressState(folder, state.identity), None, progress)
    if why in ("collapse", "nan"):
        weights.put(teacher)
        return Distilled([], why, found)
    return Distilled(history[1:], why, found)


def _student(taught: Loop) -> Loop:
    model, robust, items = taught.model, taught.robust, taught.items
    assert robust is not None
    budget = replace(taught.budget, steps=robust.steps, learning_rate=robust.learning_rate)
    texts = [*items.retain, *_answers(model, items.forget[:_ANSWERS])]
    # Nothing is kept apart from what is followed; what is watched stays the same.
    watched = Watched(texts, [], items.forget_held, items.retain_held)
    student = Loop(model, FOLLOW, budget, taught.seed, watched, damaged=True)
    student.base_loss = taught.base_loss
    return student


def _answers(model: CodeModel, items: list[Item]) -> list[Item]:
    """What the model itself says after the prompts, as long as the longest completion; empty answers teach nothing."""
    longest = max(len(model.tokenizer(item.completion, add_special_tokens=False).input_ids) for item in items)
    said = model.generate([item.prompt for item in items], max_new_tokens=longest)
    pairs = zip(items, said, strict=True)
    return [Item(f"{item.id}/answer", item.group, item.prompt, one.text) for item, one in pairs if one.text]


def together(edit: Cost, distilled: Cost | None, *, steps: int, after: int) -> Cost:
    """Return what a step of the edit costs with its share of `after` steps of distillation."""
    if distilled is None:
        return edit
    share = after / steps
    return Cost(
        int(edit.flops + share * distilled.flops),
        max(edit.peak_bytes, distilled.peak_bytes),
        edit.seconds + share * distilled.seconds,
    )
