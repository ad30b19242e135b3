"""The study of one vector: fit, sweep, choose and judge, every pair held out once.

result = study(model, task, pairs, Settings(), other=vector_of_another_task, out=Path("runs/steer"))
print(result.estimates["recovered"])          # whole answers, decided by the oracle, nested choice
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.positions import Passage
from ellora_trust.prompts import Format, render
from ellora_trust.tasks.base import Example, Task
from steering.application import Steering
from steering.directions import Method, direction, random_like, shuffled
from steering.measuring.answering import after_two_examples, answered_rightly
from steering.measuring.folds import Fold, at_most, make_folds, right_questions
from steering.measuring.grid import Cell, Grid
from steering.measuring.needing import choose_threshold, fit_gate
from steering.measuring.result import FoldRows, Study, assemble
from steering.measuring.training import train_patch
from steering.measuring.trials import Trials, questions_of, run_trials
from steering.measuring.unrelated import divergence
from steering.sweep import Patch
from steering.vector import SteeringVector

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import PairSet

Directions = Mapping[str, Tensor]


@dataclass(frozen=True)
class Settings:
    """What is tried and on how much.

    Attributes:
        method: How directions are fitted, as in `steering.directions`; `trained` trains those of the chosen cell.
        grid: Cells of the sweep.
        n_folds: Every pair is held out in one of these.
        n_validation: Validation pairs of a fold, at most.
        n_random: Norm-matched random directions.
        n_right: Questions answered rightly that corruption is measured on, at most.
        n_shots: Pairs that the two-example control is asked about, at most; 0 leaves it out.
        n_unrelated: Prompts that the divergence is measured on.
        seed: Of folds and random directions.
        format: How the questions are put.
    """

    method: Method | Literal["trained"] = "mean_difference"
    grid: Grid = field(default_factory=Grid)
    n_folds: int = 3
    n_validation: int = 100
    n_random: int = 10
    n_right: int = 300
    n_shots: int = 200
    n_unrelated: int = 50
    seed: int = 0
    format: Format = "auto"

    def __post_init__(self) -> None:
        if self.n_random < 10:
            raise InputError(f"{self.n_random} random directions say too little of chance; use 10 or more")
        if self.n_folds < 2:
            raise InputError(f"{self.n_folds} folds hold nothing out; use 2 or more")


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
    work = _Work(model, task, pairs, settings, other, unrelated, out, progress)
    rows = [
        work.fold(number, fold) for number, fold in enumerate(make_folds(pairs, n=settings.n_folds, seed=settings.seed))
    ]
    return assemble(model, pairs, settings.method, work.cells, rows, work.two_examples(), work.vector(rows))


class _Work:
    def __init__(
        self,
        model: CodeModel,
        task: Task,
        pairs: PairSet,
        settings: Settings,
        other: Directions,
        unrelated: Sequence[str],
        out: Path | None,
        progress: bool,
    ):
        self.model, self.task, self.pairs, self.settings = model, task, pairs, settings
        self.other, self.unrelated, self.out, self.progress = other, unrelated, out, progress
        self.cells = settings.grid.cells(model.arch.n_layers)
        self.questions = questions_of(model, task, pairs.pairs, format=settings.format)
        every = right_questions(pairs)
        chosen = at_most(range(len(every)), settings.n_right)
        self.right = [every[i] for i in chosen]
        self._kept_right = {number: place for place, number in enumerate(chosen)}
        self._read()

    def _read(self) -> None:
        """Take the activations of every question at the prompt's end, once."""
        examples = {e.id: e for e in (*self.pairs.positives, *self.pairs.negatives, *self.right)}
        passages = [Passage(self._text(example)) for example in examples.values()]
        store = self.out / "activations" if self.out else None
        seen = capture(self.model, passages, "resid.*", "prompt_end", store=store, progress=self.progress)
        self.sites = [site for site, _ in seen]
        self.activations = {site: seen.vectors(site, "prompt_end") for site in self.sites}
        self._row = {name: i for i, name in enumerate(examples)}

    def _text(self, example: Example) -> str:
        return render(self.model, example, format=self.settings.format, header=self.task.header).text

    def rows(self, site: str, examples: Sequence[Example]) -> Tensor:
        """Return activations at the prompts' ends, (n, d_model)."""
        return self.activations[site][[self._row[example.id] for example in examples]]

    def directions(self, indices: Sequence[int], make: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """Return a direction at every site, made from these pairs."""
        chosen = [self.pairs.pairs[i] for i in indices]
        positive, negative = [p.positive for p in chosen], [p.negative for p in chosen]
        return {site: make(self.rows(site, positive), self.rows(site, negative)) for site in self.sites}

    def fitted(self, indices: Sequence[int]) -> Directions:
        """Return the directions that are swept; training starts from the mean difference."""
        method = "mean_difference" if self.settings.method == "trained" else self.settings.method
        return self.directions(indices, lambda pos, neg: direction(pos, neg, method))

    def refined(self, vector: Directions, cell: Cell, indices: Sequence[int]) -> Directions:
        """Return the directions with those of the chosen cell trained, where the method says so."""
        if self.settings.method != "trained":
            return vector
        questions = [self.questions[i] for i in indices]
        patch = train_patch(self.model, questions, cell.patch(vector), seed=self.settings.seed, progress=self.progress)
        return {**vector, **{s: d / cell.strength for s, d in zip(cell.sites, patch.deltas, strict=True)}}

    def fold(self, number: int, fold: Fold) -> FoldRows:
        """Fit on the training groups, choose on the validation groups, judge on the held-out ones."""
        vector = self.fitted(fold.train)
        patches = [cell.patch(vector) for cell in self.cells]
        validation = at_most(fold.validation, self.settings.n_validation)
        seen = self.trials(validation, patches, f"fold {number + 1}: choosing")
        cell = self.cells[best_cell(seen)]
        vector = self.refined(vector, cell, fold.train)
        test = self.trials(fold.test, patches, f"fold {number + 1}: every cell")
        controls = self.trials(fold.test, self._controls(number, fold, vector, cell), f"fold {number + 1}: controls")
        steering = Steering({site: vector[site] for site in cell.sites}, cell.strength)
        steered = self.answers([self.pairs.pairs[i].negative for i in fold.test], steering)
        right = self._right(fold.right_test)
        kept = self.answers(right, steering)
        opens = self._gate(fold, cell, steering, validation)
        negatives = [self.pairs.pairs[i].negative for i in fold.test]
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
        questions = [self.questions[i] for i in indices]
        return run_trials(self.model, questions, patches, store=store, progress=self.progress, label=label)

    def answers(self, examples: Sequence[Example], steering: Steering) -> NDArray[np.bool_]:
        return answered_rightly(
            self.model, self.task, examples, steering, format=self.settings.format, progress=self.progress
        )

    def _right(self, indices: Sequence[int]) -> list[Example]:
        return [self.right[self._kept_right[i]] for i in indices if i in self._kept_right]

    def _controls(self, number: int, fold: Fold, vector: Directions, cell: Cell) -> list[Patch]:
        """Nothing, the vector itself, one of shuffled labels, another task's, and random ones, all at one cell."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        swapped = self.directions(fold.train, lambda pos, neg: shuffled(pos, neg, generator))
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
        wrong = [self.pairs.pairs[i].negative for i in fold.train]
        right = self._right(fold.right_train) or [self.pairs.pairs[i].positive for i in fold.train]
        needs = fit_gate(self.rows(site, wrong), self.rows(site, right))
        asked = [self.pairs.pairs[i].negative for i in validation]
        kept = self._right(fold.right_validation)
        threshold = choose_threshold(
            needs(self.rows(site, asked)).numpy(),
            self.answers(asked, steering),
            needs(self.rows(site, kept)).numpy() if kept else np.zeros(0),
            ~self.answers(kept, steering),
        )
        return lambda examples: (
            (needs(self.rows(site, examples)) >= threshold).numpy() if examples else np.zeros(0, dtype=bool)
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
        found = self.refined(self.fitted(range(len(self.pairs))), cell, range(len(self.pairs)))
        return SteeringVector(found, self.settings.method, "prompt_end", cell.sites, cell.strength)


def best_cell(trials: Trials) -> int:
    """Return the cell that recovers most; of equal ones, the one with the highest mean log-probability."""
    share, mean = trials.matched.mean(0), trials.logprobs.mean(0)
    return max(range(len(share)), key=lambda i: (share[i], mean[i]))


def _shots(pairs: PairSet, n: int = 8) -> list:
    """Pairs of as many groups, spread over the set, that serve as worked examples."""
    by_group = {pair.positive.group: pair for pair in pairs.pairs}
    return [by_group[group] for group in at_most(sorted(by_group), n)]
