"""Low-rank adapters for an attacker's training: beside every linear layer of the blocks, the weights left alone.

    with adapters(model, rank=8, seed=0) as found:
        optimizer = torch.optim.AdamW(found.parameters(), lr=1e-3)      # ... train ...
        change = found.change()                                         # the weights they stand for

No other package is needed, nothing is replaced in the model, and after the `with` no hook is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import InputError
from ellora_trust.intervention import WeightChange

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# alpha / rank; the usual choice.
_SCALE = 2.0
Linear = nn.Linear | Conv1D


@dataclass(frozen=True)
class Adapter:
    """What is added to one layer: 2 B A.

    Attributes:
        layer: The layer.
        a: First factor, (rank, inputs), random at first.
        b: Second factor, (outputs, rank), 0 at first.
    """

    layer: Linear
    a: nn.Parameter
    b: nn.Parameter

    def add(self, given: Tensor, output: Tensor) -> Tensor:
        """Return the layer's output with the adapter's own added."""
        return output + (_SCALE * (given.float() @ self.a.T @ self.b.T)).to(output.dtype)

    def merged(self) -> Tensor:
        """Return the layer's weight with the adapter in it, in the weight's dtype and layout."""
        weight, delta = self.layer.weight.detach(), _SCALE * (self.b @ self.a).detach()
        # GPT-2's layers keep their weights as (inputs, outputs).
        delta = delta.T if isinstance(self.layer, Conv1D) else delta
        return (weight.float() + delta).to(weight.dtype)


@dataclass(frozen=True)
class Adapters:
    """Adapters by the name of their layer."""

    by_name: dict[str, Adapter]

    def parameters(self) -> list[nn.Parameter]:
        return [one for adapter in self.by_name.values() for one in (adapter.a, adapter.b)]

    def change(self) -> WeightChange:
        """Return the change of weights that they stand for now."""
        return WeightChange({f"{name}.weight": adapter.merged() for name, adapter in self.by_name.items()})


@contextmanager
def adapters(model: CodeModel, *, rank: int, seed: int = 0) -> Iterator[Adapters]:
    """Put an adapter beside every linear layer of the blocks; leaving the `with` removes them.

    Args:
        model: Afterwards it is what it was.
        rank: Of the factors, >= 1.
        seed: Of the first factors.

    Raises:
        InputError: A rank below 1, or no linear layer.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; A as in PEFT: Kaiming-uniform, B zero.
    """
    if rank < 1:
        raise InputError(f"rank is {rank}; use 1 or more, such as 8")
    inside = {id(module) for block in model.arch.blocks for module in block.module.modules()}
    layers = {n: m for n, m in model.hf.named_modules() if isinstance(m, (nn.Linear, Conv1D)) and id(m) in inside}
    if not layers:
        raise InputError(f"{model.name} has no linear layer in its blocks that an adapter could stand beside")
    generator = torch.Generator().manual_seed(seed)
    found = Adapters({name: _made(layer, rank, generator) for name, layer in layers.items()})
    with ExitStack() as stack:
        for adapter in found.by_name.values():
            stack.callback(adapter.layer.register_forward_hook(_hook(adapter)).remove)
        yield found


def _made(layer: Linear, rank: int, generator: torch.Generator) -> Adapter:
    shape = tuple(layer.weight.shape)
    outputs, inputs = shape[::-1] if isinstance(layer, Conv1D) else shape
    bound = inputs**-0.5
    a = (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound
    device = layer.weight.device
    return Adapter(layer, nn.Parameter(a.to(device)), nn.Parameter(torch.zeros(outputs, rank, device=device)))


def _hook(adapter: Adapter) -> Callable[..., Tensor]:
    def added(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        return adapter.add(given[0], output)

    return added
