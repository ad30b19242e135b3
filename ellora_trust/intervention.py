"""Anything that can be applied to a model and taken back.

with intervention.apply(model):
    model.generate(prompts)
# here every weight, buffer and hook is what it was, bit for bit, also after an exception
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.hooks import EditFunction, edit
from ellora_trust.sites import Site

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@runtime_checkable
class Intervention(Protocol):
    """A change of a model's behaviour, for the length of a `with`."""

    def apply(self, model: CodeModel) -> AbstractContextManager[None]:
        """Change the model; leaving the context restores it bit-exactly."""
        ...


@dataclass(frozen=True)
class Nothing:
    """The intervention that changes nothing: the A of an A/A comparison."""

    @contextmanager
    def apply(self, model: CodeModel) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class ActivationEdit:
    """Edits of activations; see `ellora_trust.hooks.edit`."""

    edits: Mapping[str | Site, EditFunction]

    def apply(self, model: CodeModel) -> AbstractContextManager[None]:
        return edit(model, self.edits)


@dataclass(frozen=True)
class WeightChange:
    """New values for some tensors of the state dict, by name; the old bytes come back afterwards."""

    tensors: Mapping[str, Tensor]

    @contextmanager
    def apply(self, model: CodeModel) -> Iterator[None]:
        """Write the tensors into the model.

        Raises:
            InputError: A name the model does not have, or another shape.
        """
        state = model.hf.state_dict()
        for name, tensor in self.tensors.items():
            if name not in state:
                raise InputError(f"{model.name} has no tensor {name!r}; use a name from its state dict")
            if state[name].shape != tensor.shape:
                raise InputError(
                    f"tensor {name!r} has shape {tuple(tensor.shape)}; {model.name} needs {tuple(state[name].shape)}"
                )
        with torch.no_grad(), ExitStack() as stack:
            for name, tensor in self.tensors.items():
                stack.callback(state[name].copy_, state[name].clone())
                state[name].copy_(tensor)
            yield


@dataclass(frozen=True)
class Chain:
    """Several interventions, applied in order and taken back in reverse."""

    parts: Sequence[Intervention]

    @contextmanager
    def apply(self, model: CodeModel) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.apply(model))
            yield
