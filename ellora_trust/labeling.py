"""`label`: run a model over a task, decide each outcome, and take the activations in the same pass.

labelled = label(model, load_task("aliasing"), limit=200, sites="resid.*", positions=["prompt_end", "answer"])
labelled.outcomes, labelled.activations["resid.12", "answer"]
labelled.dataset()                       # a datasets.Dataset, one row an example
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ellora_trust.decoding import Decoding, Generation
from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder
from ellora_trust.positions import Passage
from ellora_trust.prompts import Format, Rendered, render
from ellora_trust.runs import run
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from ellora_trust.model import CodeModel

# Outside this range one class is so rare that intervals say little.
BASE_RATE_RANGE = (0.05, 0.95)


@dataclass(frozen=True)
class Labelled:
    """Examples with what the model answered and whether that was right.

    Attributes:
        name: The task, or the file the labels came from.
        examples: In order.
        generations: The model's answer to each.
        outcomes: The oracle's verdict on each.
        activations: At the sites and positions asked for; empty if none were.
        prompt_format: How the questions were put, such as `plain`.
        header: Shared text before every prompt.
    """

    name: str
    examples: list[Example]
    generations: list[Generation]
    outcomes: list[Outcome]
    activations: Activations = field(default_factory=lambda: Activations({}))
    prompt_format: str = "plain"
    header: str = ""

    @property
    def decided(self) -> np.ndarray:
        """Rows whose outcome counts, (n,) bool."""
        return np.array([outcome.decided for outcome in self.outcomes], dtype=bool)

    @property
    def wrong(self) -> np.ndarray:
        """Whether each answer is not correct, (n,) bool."""
        return np.array([outcome is not Outcome.CORRECT for outcome in self.outcomes], dtype=bool)

    @property
    def groups(self) -> np.ndarray:
        return np.array([example.group for example in self.examples])

    @property
    def base_rate(self) -> float:
        """Share of wrong answers among the decided, in [0, 1]."""
        return float(self.wrong[self.decided].mean()) if self.decided.any() else float("nan")

    def counts(self) -> dict[str, int]:
        """Return how often each outcome occurred."""
        return dict(Counter(str(outcome) for outcome in self.outcomes).most_common())

    def warning(self) -> str | None:
        """Return a sentence if one class is too rare for firm numbers."""
        low, high = BASE_RATE_RANGE
        if low <= self.base_rate <= high:
            return None
        return (
            f"{self.name}: {self.base_rate:.1%} of the answers are wrong, outside {low:.0%}..{high:.0%}; the rarer "
            "class has few examples, so expect wide intervals"
        )

    def content_hash(self) -> str:
        """sha256 over ids, answers and outcomes: what a fitted probe records of its data."""
        rows = [(e.id, g.text, str(o)) for e, g, o in zip(self.examples, self.generations, self.outcomes, strict=True)]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def dataset(self) -> Dataset:
        """Return one row an example: question, answer, outcome, log-probabilities."""
        from datasets import Dataset

        return Dataset.from_list([self._row(i) for i in range(len(self.examples))])

    def _row(self, i: int) -> dict[str, Any]:
        example, generation = self.examples[i], self.generations[i]
        return {
            "id": example.id,
            "group": example.group,
            "prompt": example.prompt,
            "reference": example.answer,
            "meta": json.dumps(dict(example.meta), sort_keys=True),
            "answer": generation.text,
            "outcome": str(self.outcomes[i]),
            "logprobs": generation.logprobs,
            "entropies": generation.entropies,
            "finish": generation.finish,
        }


def label(
    model: CodeModel,
    task: Task,
    *,
    limit: int | None = None,
    seed: int = 0,
    sites: str | Iterable[str] = (),
    positions: Iterable[str] = ("prompt_end", "answer"),
    format: Format = "auto",
    temperature: float = 0.0,
    store: Path | None = None,
    progress: bool = False,
) -> Labelled:
    """Run the model over a task's examples and decide each outcome.

    Args:
        model: The model.
        task: The questions and their oracle.
        limit: At most this many examples; None takes all.
        seed: Of the choice of examples and of sampling.
        sites: Where activations are taken while the answer is generated; none by default.
        positions: Over which tokens.
        format: How the question is put.
        temperature: 0 is greedy.
        store: Folder for shards, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: The task has no examples, or a question is longer than the model's context.
    """
    examples, rendered = questions(model, task, limit=limit, seed=seed, format=format)
    passages = [Passage(one.text) for one in rendered]
    decoding = Decoding(task.max_new_tokens, task.stop, temperature, seed)
    recorder = recorder_of(model, sites, positions)
    result = run(
        model,
        passages,
        decoding=decoding,
        recorder=recorder,
        store=store,
        progress=progress,
        label=f"answering {task.name}",
    )
    outcomes = task.decide_all(examples, [generation.text for generation in result.generations])
    formats = ", ".join(sorted({one.format for one in rendered}))
    return Labelled(task.name, examples, result.generations, outcomes, result.activations, formats, task.header)


def label_given(
    model: CodeModel,
    name: str,
    examples: Sequence[Example],
    answers: Sequence[str],
    wrong: Sequence[bool],
    *,
    sites: str | Iterable[str] = (),
    positions: Iterable[str] = ("prompt_end", "answer"),
    store: Path | None = None,
    progress: bool = False,
) -> Labelled:
    """Return given answers and verdicts with the model's own log-probabilities and activations on them.

    Args:
        model: The model.
        name: What to call the set.
        examples: The questions.
        answers: An answer to each.
        wrong: Whether each answer is wrong.
        sites: Where activations are taken.
        positions: Over which tokens.
        store: Folder for shards, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: The lists differ in length or are empty.
    """
    if not len(examples) == len(answers) == len(wrong):
        raise InputError(
            f"{len(examples)} prompts, {len(answers)} answers and {len(wrong)} verdicts were given; give one each"
        )
    passages = [Passage(e.prompt, answer) for e, answer in zip(examples, answers, strict=True)]
    result = run(
        model,
        passages,
        score=True,
        recorder=recorder_of(model, sites, positions),
        store=store,
        progress=progress,
        label=f"reading {name}",
    )
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    return Labelled(name, list(examples), result.generations, outcomes, result.activations)


def questions(
    model: CodeModel, task: Task, *, limit: int | None, seed: int, format: Format
) -> tuple[list[Example], list[Rendered]]:
    """Return a task's examples and how the model is asked each.

    Raises:
        InputError: The task has no examples.
    """
    examples = task.examples(limit=limit, seed=seed)
    if not examples:
        raise InputError(f"task {task.name!r} has no examples here; see: ellora-trust tasks {task.name}")
    return examples, [render(model, example, format=format, header=task.header) for example in examples]


def recorder_of(model: CodeModel, sites: str | Iterable[str], positions: Iterable[str]) -> Recorder | None:
    """Return a recorder of the sites; None where there are none."""
    sites = [sites] if isinstance(sites, str) else list(sites)
    return Recorder(model, sites, positions) if sites else None
