"""Several answers to each question, at one temperature or more: what the success rate and its shift are measured on.

labelled = label_samples(model, task, Sampling(samples=5, temperatures=(0.8,)), limit=100, sites="resid.*")
[example.meta["problem"] for example in labelled.examples]      # which question each row is an answer to
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled, label
from ellora_trust.prompts import Format
from ellora_trust.stats.discrimination import check_range
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

PROBLEM, TEMPERATURE = "question", "temperature"


@dataclass(frozen=True)
class Sampling:
    """How often and how warmly each question is answered.

    Attributes:
        samples: Answers to each question at each temperature.
        temperatures: 0 is greedy.
    """

    samples: int = 1
    temperatures: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        check_range("samples", self.samples, 1, float("inf"))
        if not self.temperatures or len(set(self.temperatures)) < len(self.temperatures):
            raise InputError(f"temperatures {list(self.temperatures)} were given; give one or more different ones")
        for temperature in self.temperatures:
            check_range("temperature", temperature, 0, float("inf"))
            if self.samples > 1 and temperature == 0:
                raise InputError(f"temperature 0 gives {self.samples} equal answers; use one above 0, or one sample")

    @property
    def plain(self) -> bool:
        """Whether each question gets one answer at one temperature."""
        return self.samples == 1 and len(self.temperatures) == 1


class Repeated(Task):
    """A task whose questions are asked several times; rows of one question share its group.

    Each row of a run has its own random stream, so equal prompts get different answers.
    """

    def __init__(self, task: Task, samples: int, temperature: float):
        self.task, self.samples, self.temperature = task, samples, temperature
        self.name, self.header, self.stop = task.name, task.header, task.stop
        self.max_new_tokens = task.max_new_tokens

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        asked = self.task.examples(limit=limit, seed=seed)
        return [self._numbered(example, i) for example in asked for i in range(self.samples)]

    def _numbered(self, example: Example, sample: int) -> Example:
        meta = {**example.meta, PROBLEM: example.id, TEMPERATURE: self.temperature, "sample": sample}
        return replace(example, id=f"{example.id}@{self.temperature:g}#{sample}", meta=meta)

    def decide(self, example: Example, completion: str) -> Outcome:
        return self.task.decide(_asked(example), completion)

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        return self.task.decide_all([_asked(example) for example in examples], completions)

    def oracle(self) -> dict[str, str]:
        return self.task.oracle()

    def datasheet(self) -> str:
        return self.task.datasheet()


def _asked(example: Example) -> Example:
    """The example that the task made: its oracle may know it by its id."""
    return replace(example, id=str(example.meta[PROBLEM]))


def label_samples(
    model: CodeModel,
    task: Task,
    sampling: Sampling,
    *,
    limit: int | None = None,
    seed: int = 0,
    sites: str | Iterable[str] = (),
    positions: Iterable[str] = ("prompt_end", "answer"),
    format: Format = "auto",
    store: Path | None = None,
    progress: bool = False,
) -> Labelled:
    """As `label`, with several answers to each question; one row an answer.

    Args:
        model: The model.
        task: The questions and their oracle.
        sampling: How often and how warmly.
        limit: At most this many questions.
        seed: Of the choice of questions and of sampling.
        sites: Where activations are taken.
        positions: Over which tokens.
        format: How the question is put.
        store: Folder for shards, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: As `label`.
    """
    shared = {"limit": limit, "seed": seed, "sites": sites, "format": format, "store": store, "progress": progress}
    parts = [
        label(model, Repeated(task, sampling.samples, one), positions=positions, temperature=one, **shared)
        for one in sampling.temperatures
    ]
    return parts[0] if len(parts) == 1 else joined(parts)


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Return labelled sets of one task and one model after each other."""
    first = parts[0]
    taken = {key: torch.cat([part.activations.vectors(*key) for part in parts]) for key in first.activations}
    return Labelled(
        first.name,
        [example for part in parts for example in part.examples],
        [generation for part in parts for generation in part.generations],
        [outcome for part in parts for outcome in part.outcomes],
        Activations(taken),
        first.prompt_format,
        first.header,
    )


def questions(labelled: Labelled) -> np.ndarray:
    """Return which question each decided row is an answer to, (n,).

    Raises:
        InputError: Each question was answered once.
    """
    if any(PROBLEM not in example.meta for example in labelled.examples):
        raise InputError(
            f"{labelled.name} has one answer to each question; label it with --samples 5 --temperature 0.8, for example"
        )
    names = [f"{example.meta[PROBLEM]}@{example.meta[TEMPERATURE]}" for example in labelled.examples]
    return np.array(names)[labelled.decided]
