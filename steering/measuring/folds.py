"""Cross-fitting: every pair is held out once, and what is chosen for it is chosen without its group.

for fold in make_folds(pairs, n=3, seed=0):
    fold.train, fold.validation, fold.test        # indices of pairs
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ellora_trust.tasks.base import Example
from steering.pairs import PairSet

Item = TypeVar("Item")


@dataclass(frozen=True)
class Fold:
    """Indices of pairs, and of questions that the model answers rightly without steering.

    Attributes:
        train: Pairs that vectors are fitted on.
        validation: Pairs that layer and strength are chosen on.
        test: Pairs held out.
        right_train: Right questions of the training groups.
        right_validation: Of the validation groups.
        right_test: Of the held-out groups.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    right_train: tuple[int, ...]
    right_validation: tuple[int, ...]
    right_test: tuple[int, ...]


def right_questions(pairs: PairSet) -> list[Example]:
    """Return the questions that are answered rightly: the pairs' positives and the edited ones that stayed right."""
    every = {example.id: example for example in (*pairs.positives, *pairs.stayed_right)}
    return [every[name] for name in sorted(every)]


def make_folds(pairs: PairSet, *, n: int = 3, seed: int = 0, validation: float = 0.3) -> list[Fold]:
    """Return folds whose tests together are all pairs once.

    Args:
        pairs: What is split; groups stay whole.
        n: Folds, >= 2.
        seed: Of the split.
        validation: Share of each fold's remaining pairs on which choices are made, (0, 1).

    Raises:
        InputError: Fewer groups than parts.
    """
    outer = pairs.split(seed, {str(k): 1.0 for k in range(n)})
    folds = []
    for k in range(n):
        rest = _without(pairs, outer[str(k)])
        inner = rest.split(seed + 1 + k, {"train": 1 - validation, "validation": validation})
        parts = [inner["train"], inner["validation"], outer[str(k)]]
        folds.append(Fold(*(_of_pairs(pairs, part) for part in parts), *(_of_right(pairs, part) for part in parts)))
    return folds


def _without(pairs: PairSet, left_out: PairSet) -> PairSet:
    gone = _groups(left_out)
    return replace(
        pairs,
        pairs=tuple(pair for pair in pairs.pairs if pair.positive.group not in gone),
        stayed_right=tuple(one for one in pairs.stayed_right if one.group not in gone),
    )


def _groups(pairs: PairSet) -> set[str]:
    return {group for pair in pairs.pairs for group in pair.groups} | {one.group for one in pairs.stayed_right}


def _of_pairs(pairs: PairSet, part: PairSet) -> tuple[int, ...]:
    groups = _groups(part)
    return _where(pair.positive.group in groups for pair in pairs.pairs)


def _of_right(pairs: PairSet, part: PairSet) -> tuple[int, ...]:
    groups = _groups(part)
    return _where(one.group in groups for one in right_questions(pairs))


def _where(flags: Iterable[bool]) -> tuple[int, ...]:
    return tuple(i for i, flag in enumerate(flags) if flag)


def at_most(indices: Sequence[Item], n: int | None) -> list[Item]:
    """Return at most `n` of the items, evenly spread; all of them where `n` is None."""
    if n is None or len(indices) <= n:
        return list(indices)
    return [indices[i * len(indices) // n] for i in range(n)]
