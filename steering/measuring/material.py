"""What a study works on: questions, their activations at the prompts' ends, and directions made from some of the pairs.

material = Material(model, task, pairs, Settings())
material.rows("resid.3", pairs.negatives)             # (n, d_model)
material.fitted(fold.train)                           # a direction at every layer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ellora_trust.hooks import capture
from ellora_trust.positions import Passage
from ellora_trust.prompts import render
from ellora_trust.tasks.base import Example, Task
from steering.directions import direction
from steering.measuring.folds import at_most, right_questions
from steering.measuring.grid import Cell
from steering.measuring.settings import Settings
from steering.measuring.training import train_patch
from steering.measuring.trials import questions_of

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import PairSet

Directions = Mapping[str, Tensor]


class Material:
    """Pairs as a study uses them.

    Attributes:
        questions: What each pair's negative asks, with the answer it should get.
        right: Questions that are answered rightly without steering.
    """

    def __init__(
        self,
        model: CodeModel,
        task: Task,
        pairs: PairSet,
        settings: Settings,
        *,
        out: Path | None = None,
        progress: bool = False,
    ):
        self.pairs, self.questions = pairs, questions_of(model, task, pairs.pairs, format=settings.format)
        self._model, self._settings, self._progress = model, settings, progress
        every = right_questions(pairs)
        chosen = at_most(range(len(every)), settings.n_right)
        self.right = [every[i] for i in chosen]
        self._kept_right = {number: place for place, number in enumerate(chosen)}
        examples = {e.id: e for e in (*pairs.positives, *pairs.negatives, *self.right)}
        texts = [render(model, e, format=settings.format, header=task.header).text for e in examples.values()]
        store = out / "activations" if out else None
        seen = capture(
            model, [Passage(text) for text in texts], "resid.*", "prompt_end", store=store, progress=progress
        )
        self._activations = {site: seen.vectors(site, "prompt_end") for site, _ in seen}
        self._row = {name: i for i, name in enumerate(examples)}

    def rows(self, site: str, examples: Sequence[Example]) -> Tensor:
        """Return activations at the prompts' ends, (n, d_model)."""
        return self._activations[site][[self._row[example.id] for example in examples]]

    def right_of(self, indices: Sequence[int]) -> list[Example]:
        """Return those of the right questions, by their number in `right_questions`, that are looked at."""
        return [self.right[self._kept_right[i]] for i in indices if i in self._kept_right]

    def negatives(self, indices: Sequence[int]) -> list[Example]:
        """Return the questions of these pairs that are answered wrongly."""
        return [self.pairs.pairs[i].negative for i in indices]

    def directions(self, indices: Sequence[int], make: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """Return a direction at every site, made from these pairs."""
        positive, negative = [self.pairs.pairs[i].positive for i in indices], self.negatives(indices)
        return {site: make(self.rows(site, positive), self.rows(site, negative)) for site in self._activations}

    def fitted(self, indices: Sequence[int]) -> Directions:
        """Return the directions that are swept; training starts from the mean difference."""
        method = "mean_difference" if self._settings.method == "trained" else self._settings.method
        return self.directions(indices, lambda pos, neg: direction(pos, neg, method))

    def refined(self, vector: Directions, cell: Cell, indices: Sequence[int]) -> Directions:
        """Return the directions with those of the chosen cell trained, where the method says so."""
        if self._settings.method != "trained":
            return vector
        questions = [self.questions[i] for i in indices]
        start, seed = cell.patch(vector), self._settings.seed
        patch = train_patch(self._model, questions, start, seed=seed, progress=self._progress)
        return {**vector, **{s: d / cell.strength for s, d in zip(cell.sites, patch.deltas, strict=True)}}
