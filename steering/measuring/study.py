"""The study of one vector: fit, sweep, choose and judge, every pair held out once.

result = study(model, task, pairs, Settings(), other=vector_of_another_task, out=Path("runs/steer"))
print(result.estimates["recovered"])          # whole answers, decided by the oracle, nested choice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example, Task
from steering.application import Steering
from steering.directions import random_like, shuffled
from steering.measuring.answering import after_two_examples, answered_rightly
from steering.measuring.folds import Fold, at_most, make_folds
from steering.measuring.grid import Cell
from steering.measuring.material import Directions, Material
from steering.measuring.needing import choose_threshold, fit_gate
from steering.measuring.result import FoldRows, Study, assemble
from steering.measuring.settings import Settings
from steering.measuring.trials import Trials, run_trials
from steering.measuring.unrelated import divergence
from steering.sweep import Patch
from steering.vector import SteeringVector

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import Pair, PairSet


def study(
    model: CodeModel,
    task: Task,
    pairs: PairSet,
    settings: Settings | None = None,
    *,
    other: Directions,
    unrelated: Sequence[str],
    out: Path | None = None,
    progress: bool = False,
) -> Study:
    """Judge steering on pairs of one edit.

    Args:
        model: The model that made the pairs.
        task: Whose questions they are.
        pairs: Of one edit or direction.
        settings: What is tried.
        other: Directions of another task at every layer: a control.
        unrelated: Prompts of another task, for the divergence.
        out: Folder for what takes long, to resume from.
        progress: Show progress bars.

    Raises:
        InputError: Too few pairs or groups for the folds.
    """
    settings = settings or Settings()
    if len(pairs) < 10 * settings.n_folds:
        raise InputError(
            f"{len(pairs)} pairs are too few for {settings.n_folds} folds; use a larger --limit or other edits"
        )
    material = Material(model, task, pairs, settings, out=out, progress=progress)
    judge = _Judge(model, task, material, settings, other, unrelated, out, progress)
    folds = make_folds(pairs, n=settings.n_folds, seed=settings.seed)
    rows = [judge.fold(number, fold) for number, fold in enumerate(folds)]
    return assemble(model, pairs, settings.method, judge.cells, rows, judge.two_examples(), judge.vector(rows))


class _Judge:
    def __init__(
        self,
        model: CodeModel,
        task: Task,
        material: Material,
        settings: Settings,
        other: Directions,
        unrelated: Sequence[str],
        out: Path | None,
        progress: bool,
    ):
        self.model, self.task, self.material, self.settings = model, task, material, settings
        self.other, self.unrelated, self.out, self.progress = other, unrelated, out, progress
        self.pairs = material.pairs
        self.cells = settings.grid.cells(model.arch.n_layers)

    def fold(self, number: int, fold: Fold) -> FoldRows:
        """Fit on the training groups, choose on the validation groups, judge on the held-out ones."""
        vector = self.material.fitted(fold.train)
        patches = [cell.patch(vector) for cell in self.cells]
        validation = at_most(fold.validation, self.settings.n_validation)
        seen = self.trials(validation, patches, f"fold {number + 1}: choosing")
        cell = self.cells[best_cell(seen)]
        vector = self.material.refined(vector, cell, fold.train)
        test = self.trials(fold.test, patches, f"fold {number + 1}: every cell")
        controls = self.trials(fold.test, self._controls(number, fold, vector, cell), f"fold {number + 1}: controls")
        steering = Steering({site: vector[site] for site in cell.sites}, cell.strength)
        negatives = self.material.negatives(fold.test)
        steered = self.answers(negatives, steering)
        right = self.material.right_of(fold.right_test)
        kept = self.answers(right, steering)
        opens = self._gate(fold, cell, steering, validation)
        return FoldRows(
            cell=cell,
            validation=seen,
            test=np.array(fold.test, dtype=int),
            sweep=test,
            controls=controls,
            recovered=steered,
            gated=steered & opens(negatives),
            corrupted=~kept,
            corrupted_gated=~kept & opens(right),
            right_groups=tuple(example.group for example in right),
            divergence=divergence(self.model, self.unrelated, cell.patch(vector)),
        )

    def trials(self, indices: Sequence[int], patches: Sequence[Patch], label: str) -> Trials:
        store = self.out / "trials.jsonl" if self.out else None
        questions = [self.material.questions[i] for i in indices]
        return run_trials(self.model, questions, patches, store=store, progress=self.progress, label=label)

    def answers(self, examples: Sequence[Example], steering: Steering) -> NDArray[np.bool_]:
        return answered_rightly(
            self.model, self.task, examples, steering, format=self.settings.format, progress=self.progress
        )

    def _controls(self, number: int, fold: Fold, vector: Directions, cell: Cell) -> list[Patch]:
        """Nothing, the vector itself, one of shuffled labels, another task's, and random ones, all at one cell."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        swapped = self.material.directions(fold.train, lambda pos, neg: shuffled(pos, neg, generator))
        drawn = [
            {site: random_like(vector[site], generator) for site in cell.sites} for _ in range(self.settings.n_random)
        ]
        nothing = Patch(cell.start, torch.zeros(1, self.model.arch.d_model))
        return [nothing, *(cell.patch(one) for one in (vector, swapped, self._other(vector, cell), *drawn))]

    def _other(self, vector: Directions, cell: Cell) -> Directions:
        """The other task's directions, as long as the vector's."""
        return {
            site: self.other[site] / self.other[site].norm().clamp_min(1e-12) * vector[site].norm()
            for site in cell.sites
        }

    def _gate(
        self, fold: Fold, cell: Cell, steering: Steering, validation: Sequence[int]
    ) -> Callable[[Sequence[Example]], NDArray[np.bool_]]:
        """Return which examples a gate at the first steered site opens for."""
        site = cell.sites[0]
        wrong = self.material.negatives(fold.train)
        right = self.material.right_of(fold.right_train) or [self.pairs.pairs[i].positive for i in fold.train]
        needs = fit_gate(self.material.rows(site, wrong), self.material.rows(site, right))
        asked = self.material.negatives(validation)
        kept = self.material.right_of(fold.right_validation)
        threshold = choose_threshold(
            needs(self.material.rows(site, asked)).numpy(),
            self.answers(asked, steering),
            needs(self.material.rows(site, kept)).numpy() if kept else np.zeros(0),
            ~self.answers(kept, steering),
        )
        return lambda examples: (
            (needs(self.material.rows(site, examples)) >= threshold).numpy() if examples else np.zeros(0, dtype=bool)
        )

    def two_examples(self) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
        """Return which pairs the two-example control was asked about, and whether it answers them rightly."""
        chosen = at_most(range(len(self.pairs)), self.settings.n_shots) if self.settings.n_shots else []
        asked = [self.pairs.pairs[i] for i in chosen]
        shots = _shots(self.pairs)
        own = {group for shot in shots for group in shot.groups}
        kept = [i for i, pair in zip(chosen, asked, strict=True) if not pair.groups & own]
        right = after_two_examples(
            self.model, self.task, [self.pairs.pairs[i] for i in kept], shots, progress=self.progress
        )
        return np.array(kept, dtype=int), right

    def vector(self, rows: Sequence[FoldRows]) -> SteeringVector:
        """Return the vector of all pairs, with the cell that was best over all validation rows."""
        pooled = Trials(
            np.concatenate([fold.validation.logprobs for fold in rows]),
            np.concatenate([fold.validation.matched for fold in rows]),
        )
        cell = self.cells[best_cell(pooled)]
        found = self.material.refined(self.material.fitted(range(len(self.pairs))), cell, range(len(self.pairs)))
        return SteeringVector(found, self.settings.method, "prompt_end", cell.sites, cell.strength)


def best_cell(trials: Trials) -> int:
    """Return the cell that recovers most; of equal ones, the one with the highest mean log-probability."""
    share, mean = trials.matched.mean(0), trials.logprobs.mean(0)
    return max(range(len(share)), key=lambda i: (share[i], mean[i]))


def _shots(pairs: PairSet, n: int = 8) -> list[Pair]:
    """Pairs of as many groups, spread over the set, that serve as worked examples."""
    by_group = {pair.positive.group: pair for pair in pairs.pairs}
    return [by_group[group] for group in at_most(sorted(by_group), n)]
