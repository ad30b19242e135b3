"""`TaskVectors`: what tells tasks apart inside of a model, and what makes it do one; an artifact.

vectors = TaskVectors.load("runs/tasks", model=model)
vectors.identify(model, [prompt])[0]                  # {"total": 0.97, "mean": 0.01, ...}
with vectors.apply(model, "total"):                   # a neutral prompt is now continued by a sum
    model.generate(["def handle_red_rows(rows):"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from attribution.function_vectors.adding import adding
from attribution.function_vectors.heads import head_outputs
from attribution.function_vectors.readout import Readout
from ellora_trust import artifacts
from ellora_trust.artifacts import Artifact
from ellora_trust.errors import InputError, one_of
from ellora_trust.sites import resolve

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

KIND = "task vectors"


@dataclass(frozen=True)
class TaskVectors:
    """What tells tasks apart inside of a model, and what makes it do one.

    Attributes:
        source: Name of where the tasks come from.
        tasks: Their names.
        heads: Sites of the chosen heads, those that do most first.
        effects: What each head does for the answers, mean over tasks, in nats, (n_layers, n_heads); nan
            where it was not measured: no head, or ruled out by the first order.
        means: Mean outputs of the chosen heads, (n_tasks, n_chosen, head_dim).
        vectors: Of each task, in units of the stream, (n_tasks, d_model).
        readout: Classifier of the chosen heads' outputs.
        site: Where a vector is added.
        strength: How many times.
        settings: Of the fit.
        metrics: Held-out results, each with interval, n and baselines.
        artifact: What was recorded when it was saved.
    """

    source: str
    tasks: tuple[str, ...]
    heads: tuple[str, ...]
    effects: Tensor
    means: Tensor
    vectors: Tensor
    readout: Readout
    site: str
    strength: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    artifact: Artifact | None = field(default=None, compare=False, repr=False)

    def read(self, model: CodeModel, prompts: Sequence[str]) -> Tensor:
        """Return the chosen heads' outputs at each prompt's last token, (n_prompts, n_chosen * head_dim)."""
        return head_outputs(model, prompts, resolve(model, self.heads)).flatten(1)

    def identify(self, model: CodeModel, prompts: Sequence[str]) -> list[dict[str, float]]:
        """Return for each prompt the probability of each task, the likeliest first.

        They compare the fitted tasks alone: a prompt of none of them gets one of them too.
        """
        rows = self.readout.probabilities(self.read(model, prompts))
        named = (dict(zip(self.readout.tasks, row.tolist(), strict=True)) for row in rows)
        return [dict(sorted(one.items(), key=lambda item: -item[1])) for one in named]

    def vector(self, task: str) -> Tensor:
        """Return a task's vector, (d_model,).

        Raises:
            InputError: An unknown task.
        """
        if task not in self.tasks:
            raise InputError(one_of(task, list(self.tasks), what="task"))
        return self.vectors[self.tasks.index(task)]

    @contextmanager
    def apply(self, model: CodeModel, task: str) -> Iterator[None]:
        """Add a task's vector from the end of every prompt on, inside the `with`; raises as `vector`."""
        with adding(model, self.site, self.strength * self.vector(task)[None]):
            yield

    def save(self, folder: str | Path, *, model: CodeModel) -> None:
        """Write an artifact.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        config = {
            "source": self.source,
            "tasks": list(self.tasks),
            "heads": list(self.heads),
            "classes": list(self.readout.tasks),
            "strength": self.strength,
            "settings": dict(self.settings),
        }
        described = Artifact(
            KIND, artifacts.describe_model(model), self.site, {"source": self.source}, config, dict(self.metrics)
        )
        tensors = {
            "effects": self.effects,
            "means": self.means,
            "vectors": self.vectors,
            "weight": self.readout.weight,
            "bias": self.readout.bias,
        }
        artifacts.write(Path(folder), described, tensors)

    @classmethod
    def load(cls, folder: str | Path, *, model: CodeModel | None = None, force: bool = False) -> TaskVectors:
        """Read what `save` wrote.

        Raises:
            InputError: No task vectors there, or those of another model unless forced.
        """
        artifact, tensors = artifacts.read(Path(folder), kind=KIND, model=model, force=force)
        config = artifact.config
        readout = Readout(tuple(config["classes"]), tensors["weight"], tensors["bias"])
        return cls(
            config["source"],
            tuple(config["tasks"]),
            tuple(config["heads"]),
            tensors["effects"],
            tensors["means"],
            tensors["vectors"],
            readout,
            artifact.site,
            config["strength"],
            config["settings"],
            artifact.metrics,
            artifact,
        )
