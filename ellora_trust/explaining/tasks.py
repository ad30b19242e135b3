"""Which task the model takes a prompt for, by saved task vectors.

named = identify_task(model, said.prompt, "runs/tasks")
named.sentence()                                  # "testbed takes it for total (97 %); held out, ..."
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.report import Block, Table, Text

if TYPE_CHECKING:
    from attribution.function_vectors.vectors import TaskVectors
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class NamedTask:
    """The task of one prompt.

    Attributes:
        model: Name of the model.
        probabilities: Task to probability, the likeliest first.
        accuracies: How well this is known, in words: kind of held-out prompts to accuracy of ours and a bag of words.
    """

    model: str
    probabilities: Mapping[str, float]
    accuracies: Mapping[str, str]

    def sentence(self) -> str:
        """Say the likeliest task and how often such a reading is right."""
        task, value = next(iter(self.probabilities.items()))
        known = "; ".join(f"{held}: {rate}" for held, rate in self.accuracies.items())
        how = f" Right on held-out prompts: {known}." if known else ""
        n = len(self.probabilities)
        return f"{self.model} takes it for {task!r} ({value:.0%}), of {n} tasks; a prompt of none gets one too.{how}"

    def blocks(self, n: int = 5) -> list[Block]:
        """Return what the page shows."""
        rows = [[task, f"{value:.1%}"] for task, value in list(self.probabilities.items())[:n]]
        return [Text(self.sentence()), Table(("task", "probability"), rows)]

    def to_dict(self) -> dict[str, Any]:
        return {"probabilities": dict(self.probabilities), "accuracies": dict(self.accuracies)}


def identify_task(model: CodeModel, prompt: str, tasks: TaskVectors | str | Path, *, force: bool = False) -> NamedTask:
    """Read a prompt's task.

    Args:
        model: The model.
        prompt: As it is put to the model.
        tasks: Task vectors, or their folder.
        force: Use those of another model all the same.

    Raises:
        InputError: No task vectors there, or those of another model.
    """
    from attribution.function_vectors.vectors import TaskVectors

    read = tasks if isinstance(tasks, TaskVectors) else TaskVectors.load(tasks, model=model, force=force)
    rows = [one for one in read.metrics.get("identification", ()) if one["method"] == "chosen heads"]
    accuracies = {one["held"]: _rate(one["accuracy"]) for one in rows}
    return NamedTask(model.name, read.identify(model, [prompt])[0], accuracies)


def _rate(saved: Mapping[str, Any]) -> str:
    return f"{saved['value']:.0%} [{saved['low']:.0%}, {saved['high']:.0%}] of {saved['n']}"
