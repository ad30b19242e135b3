"""Steering only where it is needed: a score of the activation at the prompt's end opens or closes a row's gate.

The score is any function of activations: an error predictor, a direction's dot product. Each row is decided by its own
activation, once, and stays so for its whole answer.

    with vector.apply(model, sites="resid.14", when=probe.predict, threshold=0.5, when_site="resid.12"): ...
    Gate(LinearScore(direction), threshold=3.0, site="resid.12").save("runs/gate", model=model)

A score that is a plain function works and cannot be saved; a `LinearScore` can.

Conditional activation steering is by Lee et al. 2024, arXiv:2409.05907; there the first row decides for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ellora_trust import artifacts
from ellora_trust.artifacts import Artifact
from ellora_trust.errors import InputError
from ellora_trust.sites import Site, resolve

if TYPE_CHECKING:
    from ellora_trust.layout import Layout
    from ellora_trust.model import CodeModel

# Activations at the prompts' ends, (n, d_model), to one number each, (n,); higher means "steer".
Score = Callable[[Tensor], Tensor | np.ndarray]
# In the order in which a block reaches them.
_DEPTH = {"embed": 0, "head": 1, "attn": 2, "mlp": 3, "resid": 4}


KIND = "gate"


@dataclass(frozen=True)
class LinearScore:
    """An activation's product with a direction, such as a steering vector's own or a probe's.

    Attributes:
        weight: Direction, (d_model,).
        bias: Added.
    """

    weight: Tensor
    bias: float = 0.0

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the score of each activation, (n,), in the unit of weight times activation.

        Args:
            hidden: Activations, (n, d_model).

        Raises:
            InputError: Another width.
        """
        if hidden.shape[-1] != len(self.weight):
            raise InputError(
                f"activations have width {hidden.shape[-1]}, this gate reads {len(self.weight)}; use the model it was "
                "made for"
            )
        return hidden.float() @ self.weight.to(hidden.device, torch.float32) + self.bias


@dataclass(frozen=True)
class Gate:
    """Opens for rows whose score reaches a threshold.

    Attributes:
        score: Of the activation at a row's prompt end.
        threshold: From which score on a row is steered.
        site: Where the activation is read; not behind the first steered site.
    """

    score: Score
    threshold: float
    site: str
    _open: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)

    def save(self, folder: str | Path, *, model: CodeModel) -> None:
        """Write the gate as an artifact.

        Args:
            folder: Where; replaced whole.
            model: The model whose activations it reads.

        Raises:
            InputError: Its score is a function, which has no form on disk.
            EnvironmentProblem: The folder cannot be written.
        """
        if not isinstance(self.score, LinearScore):
            raise InputError(
                f"a gate can be saved where its score is a LinearScore, this one is a {type(self.score).__name__}; an "
                "error predictor is saved by its own save(), and its folder serves as a gate"
            )
        config = {"threshold": self.threshold, "bias": self.score.bias}
        described = Artifact(KIND, artifacts.describe_model(model), self.site, {}, config)
        artifacts.write(Path(folder), described, {"weight": self.score.weight.detach().cpu().float()})

    @classmethod
    def load(cls, folder: str | Path, *, model: CodeModel | None = None, force: bool = False) -> Gate:
        """Return a saved gate.

        Args:
            folder: Where it was saved.
            model: The model that it will read; checked if given.
            force: Accept another model.

        Raises:
            InputError: No gate there, a damaged one, or one of another model.
        """
        artifact, tensors = artifacts.read(Path(folder), kind=KIND, model=model, force=force)
        score = LinearScore(tensors["weight"], artifact.config["bias"])
        return cls(score, artifact.config["threshold"], artifact.site)

    def check(self, model: CodeModel, steered: Sequence[Site]) -> None:
        """Refuse a gate that would be read after what it decides.

        Raises:
            InputError: The gate's site lies behind a steered one.
        """
        (site,) = resolve(model, self.site)
        first = min(steered, key=depth)
        if depth(site) > depth(first):
            raise InputError(f"the gate reads {site}, which lies behind {first}; read it at {first} or before")
        self._open.clear()

    def read(self, hidden: Tensor, at: Tensor, layout: Layout) -> Tensor:
        """Return which rows of the running forward are steered, (batch,) bool; a row not yet decided is not."""
        rows, columns = (at == layout.ends - 1).nonzero(as_tuple=True)
        if len(rows):
            scores = torch.as_tensor(self.score(hidden[rows, columns])).reshape(-1)
            if len(scores) != len(rows):
                raise InputError(f"the gate's score gave {len(scores)} numbers for {len(rows)} rows; give one a row")
            verdicts = (scores >= self.threshold).tolist()
            self._open.update(zip((layout.numbers[r] for r in rows.tolist()), verdicts, strict=True))
        return torch.tensor([self._open.get(n, False) for n in layout.numbers], device=hidden.device)


def depth(site: Site | str) -> tuple[int, int]:
    """Return a key that sorts sites by when a forward reaches them."""
    kind, *numbers = str(site).split(".")
    return (int(numbers[0]) if numbers else -1, _DEPTH[kind])
