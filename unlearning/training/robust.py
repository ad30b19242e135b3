"""Modes that shall make an edit outlive what happens to weights later: training and rounding.

    unlearn(model, forget=..., retain=..., robust="sam")
    unlearn(model, forget=..., retain=..., robust=Robust("distil", steps=200))

Whether they do is measured, not promised: see the study in docs/unlearning.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ellora_trust.errors import InputError, one_of
from ellora_trust.sharded import is_divided
from unlearning.where import Part, Where

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Mode = Literal["sam", "quantised", "distil"]
# Weights by name, each with the part of it that may change; as `Where.parameters` returns them.
Parts = Mapping[str, tuple[nn.Parameter, Part]]


@dataclass(frozen=True)
class Robust:
    """A mode and its settings; only those of the mode are used."""

    mode: Mode
    """`sam`: the forget gradient is taken where the forget loss is worst nearby. `quantised`: gradients are taken at
    rounded weights and applied to the full-precision ones. `distil`: the edited model teaches a damaged copy."""
    rho: float = 0.1
    """Norm of the step of `sam` to the worst weights nearby."""
    bits: int = 4
    """Of the rounding of `quantised`, 2 to 8."""
    alpha: float = 0.1
    """Of `distil`: share of the weights that is lost, [0, 1]."""
    beta: float = 0.1
    """Of `distil`: size of the noise that takes its place, as a share of a fresh initialisation, [0, 1]."""
    steps: int = 96
    """Of `distil`: optimizer steps in which the damaged copy learns from its teacher."""
    learning_rate: float = 1e-3
    """Of those steps, apart from the edit's: the copy must learn again what it lost."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(one_of(self.mode, get_args(Mode), what="robust mode"))
        if not (self.rho > 0 and self.learning_rate > 0 and self.steps >= 1 and 2 <= self.bits <= 8):
            raise InputError(
                f"rho={self.rho}, learning_rate={self.learning_rate}, steps={self.steps}, bits={self.bits} are out of "
                "range; use rho and learning_rate above 0, 1 step or more, bits 2..8"
            )
        if not (0 <= self.alpha <= 1 and 0 <= self.beta <= 1):
            raise InputError(f"alpha={self.alpha}, beta={self.beta} are out of range; use 0..1 for both")

    @classmethod
    def of(cls, robust: str | Robust | None, where: Where, model: CodeModel) -> Robust | None:
        """Return the settings that a caller means.

        Raises:
            InputError: An unknown mode, one that needs whole weights with a place that is adapters, or a model that is
                divided over processes.
        """
        found = cls(robust) if isinstance(robust, str) else robust  # pyright: ignore[reportArgumentType]
        if found is not None and any(is_divided(p) for p in model.hf.parameters()):
            raise InputError(
                f"robust mode {found.mode!r} cannot be used with a model that is divided over processes; load it "
                "without sharded, or leave robust off"
            )
        if found is not None and found.mode != "sam" and where.rank:
            raise InputError(
                f"robust mode {found.mode!r} changes whole weights, but {where.text!r} trains adapters; use sam, or a "
                "place without lora"
            )
        return found


@contextmanager
def worst_nearby(parameters: Mapping[str, nn.Parameter], rho: float) -> Iterator[None]:
    """Take the gradients that lie on the weights off them, and go the length `rho` along them, until the end.

    A loss that is computed within is the sharpness-aware one; its gradients stay.

    Source: Foret et al. 2021, arXiv:2010.01412, equation 2; for the forget loss alone: Fan et al. 2025,
        arXiv:2502.05374, section 4, as in `sam_iterative.py` of github.com/OPTML-Group/Unlearn-Smooth.
    """
    graded = [p for p in parameters.values() if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in graded if p.grad is not None]).norm().clamp_min(1e-12)
    # Adding and subtracting is not exact in floating point, so the old values are kept.
    before = [p.detach().clone() for p in graded]
    try:
        with torch.no_grad():
            for parameter in graded:
                assert parameter.grad is not None
                parameter.add_(parameter.grad * (rho / norm))
                parameter.grad = None
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(graded, before, strict=True):
                parameter.copy_(values)


@contextmanager
def rounded(model: CodeModel, robust: Robust | None) -> Iterator[None]:
    """Hold the weights rounded, in mode `quantised`: gradients pass straight through the rounding.

    Source: the straight-through estimator, Bengio et al. 2013, arXiv:1308.3432; rounded as the evaluation does.
    """
    from ellora_trust.evaluation.robustness import quantised

    if robust is None or robust.mode != "quantised":
        yield
        return
    # An intervention is held without gradients; here they are what it is for.
    with quantised(model, robust.bits).apply(model), torch.enable_grad():
        yield


@torch.no_grad()
def damage(parts: Parts, robust: Robust, seed: int) -> None:
    """Replace weights w by (1 - alpha) w + alpha beta n; n is a fresh initialisation of matrices, and 0 of vectors.

    Source: Lee et al. 2025, arXiv:2506.06278 (UNDO); n is Xavier's uniform, as in `do_corruption` of
        github.com/AddieFoote/distillation-robustify-unlearning.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter, part in parts.values():
        fresh = torch.zeros(parameter.shape)
        if parameter.dim() == 2:
            nn.init.xavier_uniform_(fresh, generator=generator)
        new = (1 - robust.alpha) * parameter + robust.alpha * robust.beta * _like(fresh, parameter)
        chosen = part if part is not None else ...
        parameter[chosen] = new[chosen]


def _like(values: Tensor, parameter: Tensor) -> Tensor:
    return values.to(parameter.device, parameter.dtype)
