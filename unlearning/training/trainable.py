"""The weights of a model made trainable for a while, and given back bit for bit.

    with trainable(model, Where.parse("mlp.3", model), seed=0, scratch=folder) as weights:
        optimizer = AdamW(weights.parameters.values())
        ...
        delta = weights.delta()

The old values lie on disk meanwhile: in memory they would be a second model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sharded import is_divided, put, whole
from unlearning.checkpoint.delta import bits
from unlearning.where import Where

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_BEFORE = "before.safetensors"


@dataclass(frozen=True)
class Trainable:
    """What an optimizer may change.

    Attributes:
        parameters: By name.
        delta: Old xor new bits of the model's own parameters, by name; those that did not change are left out.
        before: The parameters' values before the edit, by name.
    """

    parameters: dict[str, nn.Parameter]
    delta: Callable[[], dict[str, Tensor]]
    before: Callable[[], dict[str, Tensor]]

    @torch.no_grad()
    def subtract(self, share: float) -> None:
        """Take a share of what the model changed by away from what it was, instead of adding it."""
        for name, before in self.before().items():
            now = whole(self.parameters[name].detach())
            old = before.to(now.device)
            # An adapter's change is B A, and B is 0 before: turning B alone round turns the change round.
            if ".lora_A." not in name:
                put(self.parameters[name], old - share * (now - old))

    @contextmanager
    def subtracted(self, share: float | None) -> Iterator[None]:
        """Hold the model as `subtract` would leave it; nothing happens where the share is None."""
        if share is None:
            yield
            return
        now = {name: whole(parameter.detach()).clone() for name, parameter in self.parameters.items()}
        self.subtract(share)
        try:
            yield
        finally:
            self.put(now)

    def put(self, values: dict[str, Tensor]) -> None:
        """Give the parameters other values, by name."""
        _copy(self.parameters, values)


@contextmanager
def trainable(model: CodeModel, where: Where, *, seed: int, scratch: Path) -> Iterator[Trainable]:
    """Let the weights that `where` names be trained; afterwards the model is what it was, also after an exception.

    Raises:
        InputError: Adapters or single heads of a model that is divided over processes.
        EnvironmentProblem: Adapters are asked for and PEFT is not installed.
    """
    _check_divided(model, where)
    flags = [(parameter, parameter.requires_grad) for parameter in model.hf.parameters()]
    with ExitStack() as stack:
        stack.callback(_restore_flags, flags)
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        enter = _adapters(model, where, seed) if where.rank else _weights(model, where, scratch)
        yield stack.enter_context(enter)


@contextmanager
def recomputing(model: CodeModel) -> Iterator[None]:
    """Keep no activations inside blocks for the backward pass, which runs each block once more instead.

    Raises:
        InputError: The model's family cannot do it.
    """
    if not model.hf.supports_gradient_checkpointing:
        raise InputError(f"blocks of {model.name} cannot be recomputed; leave recompute off")
    blocks = [block.module for block in model.arch.blocks]
    model.hf.activation_checkpointing_enable({"use_reentrant": False})
    # transformers recomputes blocks in training mode only. What lies within stays in evaluation mode: no dropout.
    for block in blocks:
        block.training = True
    try:
        yield
    finally:
        model.hf.activation_checkpointing_disable()
        for block in blocks:
            block.training = False


def _check_divided(model: CodeModel, where: Where) -> None:
    if any(is_divided(p) for p in model.hf.parameters()) and (
        where.rank or any(part is not None for _, part in where.parameters(model).values())
    ):
        raise InputError(
            f"{where.text!r} cannot be edited in a model that is divided over processes; edit whole matrices, such as "
            "'all' or 'layers 1-2 mlp', or load the model without sharded"
        )


def recomputing_if(recompute: bool, model: CodeModel) -> AbstractContextManager[None]:
    """Return `recomputing`, or a context that changes nothing."""
    return recomputing(model) if recompute else nullcontext()


def _restore_flags(flags: list[tuple[nn.Parameter, bool]]) -> None:
    for parameter, flag in flags:
        parameter.requires_grad_(flag)
        parameter.grad = None


@contextmanager
def _weights(model: CodeModel, where: Where, scratch: Path) -> Iterator[Trainable]:
    from safetensors.torch import load_file, save_file

    chosen = where.parameters(model)
    parameters = {name: parameter for name, (parameter, _) in chosen.items()}
    before = scratch / _BEFORE
    save_file({name: whole(p.detach()) for name, p in parameters.items()}, before)
    with ExitStack() as stack:
        stack.callback(lambda: _copy(parameters, load_file(before)))
        for parameter, part in chosen.values():
            parameter.requires_grad_(True)
            if part is not None:
                stack.callback(parameter.register_post_accumulate_grad_hook(_only(part)).remove)
        changed = lambda: _changed(load_file(before), lambda name: whole(parameters[name].detach()))  # noqa: E731
        yield Trainable(parameters, changed, lambda: load_file(before))


@torch.no_grad()
def _copy(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        put(parameter, values[name])


def _only(part: tuple[slice | list[int], ...]) -> Callable[[Tensor], None]:
    """Gradients outside of a slice become 0; AdamW without decay then leaves those weights as they are."""

    def clear(parameter: Tensor) -> None:
        assert parameter.grad is not None
        kept = parameter.grad[part].clone()
        parameter.grad.zero_()
        parameter.grad[part] = kept

    return clear


def _changed(before: dict[str, Tensor], now: Callable[[str], Tensor]) -> dict[str, Tensor]:
    # One tensor at a time, so that old and new values of all of them are never in memory together.
    found = {name: bits(now(name).cpu().contiguous()) ^ bits(old) for name, old in before.items()}
    return {name: change for name, change in found.items() if change.any()}


@contextmanager
def _adapters(model: CodeModel, where: Where, seed: int) -> Iterator[Trainable]:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise EnvironmentProblem(
            "adapters need PEFT, which is not installed; run: pip install 'ellora-trust[unlearn]', or edit the weights"
        ) from error
    names, rank = where.modules(model), where.rank
    assert rank is not None
    # The usual scale of 2; without dropout, so that a seed decides everything.
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
    parents = {name: (model.hf.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names}
    layers = {name: getattr(*parents[name]) for name in names}
    with ExitStack() as stack:
        stack.callback(_put_back, model, parents, layers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model.hf)
        wrapped: dict[str, Any] = {name: getattr(*parents[name]) for name in names}
        parameters = {name: p for name, p in model.hf.named_parameters() if p.requires_grad}

        def delta() -> dict[str, Tensor]:
            old = {f"{name}.weight": layer.weight.detach() for name, layer in layers.items()}
            return _changed(old, lambda name: _merged(wrapped[name.removesuffix(".weight")]))

        initial = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        yield Trainable(parameters, delta, lambda: initial)


def _put_back(model: CodeModel, parents: dict[str, tuple[nn.Module, str]], layers: dict[str, nn.Module]) -> None:
    for name, layer in layers.items():
        setattr(*parents[name], layer)
    # PEFT's note on the model, by which it would take the next adapter for a second one.
    if hasattr(model.hf, "peft_config"):
        del model.hf.peft_config


@torch.no_grad()
def _merged(layer: Any) -> Tensor:
    change = layer.get_delta_weight("default")
    weight = layer.base_layer.weight
    assert isinstance(layer.base_layer, (nn.Linear, Conv1D))
    return weight + change.to(weight.dtype)
