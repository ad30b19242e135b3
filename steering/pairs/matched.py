"""Pairs from tasks whose examples come in matched pairs: aliasing and pointers, alias against copy.

`matched_pairs`: the two members of one matched pair, the model right on one and wrong on the other. The two programs
differ in one place, so a vector from the negatives to the positives holds the difference of the variants *and* that of
right and wrong, and cannot tell them apart; take both directions.

    pairs = matched_pairs(model, load_task("aliasing"), "alias->copy", limit=600, seed=0)    # alias wrong, copy right
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ellora_trust.errors import InputError, one_of
from ellora_trust.labeling import Labelled, label
from ellora_trust.prompts import Format
from ellora_trust.tasks.base import Example, Outcome, Task
from steering.pairs.pairset import Pair, PairSet

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Direction = Literal["alias->copy", "copy->alias"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
_VARIANTS = ("alias", "copy")


@dataclass(frozen=True)
class _Answered:
    example: Example
    answer: str
    right: bool

    @property
    def usable_wrong(self) -> bool:
        """Whether it was answered wrongly, and with something."""
        return not self.right and bool(self.answer.strip())


def matched_pairs(
    model: CodeModel,
    task: Task,
    direction: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    format: Format = "auto",
    max_per_program: int | None = None,
    store: Path | None = None,
    progress: bool = False,
) -> PairSet:
    """Return matched pairs with one member answered rightly and the other wrongly.

    Args:
        model: Who answers.
        task: `aliasing` or `pointers`.
        direction: From the variant answered wrongly to the one answered rightly: `alias->copy` or `copy->alias`. It is
            where a vector fitted on the pairs points.
        limit: At most so many examples, two a pair.
        seed: Of the examples.
        format: How they are put.
        max_per_program: At most so many pairs of one group.
        store: Folder for the answers, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: An unknown direction, or a task without matched pairs.
    """
    if direction not in DIRECTIONS:
        raise InputError(one_of(direction, DIRECTIONS, what="direction"))
    labelled = label(model, task, limit=limit, seed=seed, format=format, store=store, progress=progress)
    return matched_pairs_of(labelled, direction, model=model, seed=seed).capped(max_per_program=max_per_program)


def matched_pairs_of(labelled: Labelled, direction: str, *, model: CodeModel, seed: int = 0) -> PairSet:
    """Return the same as `matched_pairs` from examples that are labelled already, for both directions from one run."""
    wrong_variant, _, right_variant = direction.partition("->")
    members: dict[object, dict[object, _Answered]] = defaultdict(dict)
    for one in _answered(labelled):
        members[one.example.meta["pair"]][one.example.meta["variant"]] = one
    both = [found for found in members.values() if len(found) == len(_VARIANTS)]
    kinds = Counter(_kind(found[right_variant], found[wrong_variant]) for found in both)
    mixed = [found for found in both if _kind(found[right_variant], found[wrong_variant]) == "pairs"]
    pairs = [_pair(found[right_variant], found[wrong_variant], direction) for found in mixed]
    counts = {
        "examples": len(labelled.examples),
        "matched": len(both),
        **_rates(labelled),
        **kinds,
        "pairs": len(pairs),
    }
    # What stays right must be of the kind that the vector is put on: the variant of the negatives.
    stayed = [found[wrong_variant] for found in both if found[wrong_variant].right]
    return _pair_set(labelled, pairs, stayed, edit=direction, counts=counts, model=model, seed=seed)


def _answered(labelled: Labelled) -> list[_Answered]:
    rows = zip(labelled.examples, labelled.generations, labelled.outcomes, strict=True)
    found = [_Answered(e, said.text, outcome is Outcome.CORRECT) for e, said, outcome in rows if outcome.decided]
    if not all({"pair", "variant", "template"} <= one.example.meta.keys() for one in found):
        raise InputError(f"task {labelled.name!r} has no matched pairs; use aliasing or pointers")
    return found


def _kind(positive: _Answered, negative: _Answered) -> str:
    if positive.right and negative.usable_wrong:
        return "pairs"
    if positive.right:
        return "both right" if negative.right else "answered with nothing"
    return "only the other right" if negative.right else "both wrong"


def _rates(labelled: Labelled) -> dict[str, int]:
    right = Counter(str(one.example.meta["variant"]) for one in _answered(labelled) if one.right)
    return {f"{variant} right": right[variant] for variant in _VARIANTS}


def _pair(positive: _Answered, negative: _Answered, edit: str) -> Pair:
    return Pair(positive.example, negative.example, edit, positive.answer, negative.answer)


def _pair_set(
    labelled: Labelled,
    pairs: Sequence[Pair],
    stayed: Sequence[_Answered],
    *,
    edit: str,
    counts: dict[str, int],
    model: CodeModel,
    seed: int,
) -> PairSet:
    right = tuple(replace(one.example, meta={**one.example.meta, "edit": edit}) for one in stayed)
    who = {"name": model.name, "fingerprint": model.fingerprint}
    config = {"limit": len(labelled.examples), "prompt_format": labelled.prompt_format}
    return PairSet(labelled.name, who, tuple(pairs), right, {edit: counts}, seed, config)
