"""The model's linear layers as torchao stores them in 8 and 4 bits: what a gate sees beside our simulated rounding.

    if available():
        with stored(model, 4).apply(model): ...

Weight-only: int8 with a scale a row, int4 with one for each group of weights. The change holds what torchao gives back
for its own tensors, so nothing of its kernels is run. Its kernel for int4 needs a package that PyPI has not for CPUs;
the int4 here is its plain one, of the same numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.intervention import WeightChange

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# A group must divide the row; the first that does is taken.
_GROUPS = (64, 32, 16)


def available() -> bool:
    """Return whether torchao is installed and goes with this torch; one that does not is warned of."""
    if not _installed():
        return False
    try:
        _check()
    except EnvironmentProblem as error:
        warnings.warn(f"rounding by torchao is left out: {error}", stacklevel=2)
        return False
    return True


def _installed() -> bool:
    return importlib.util.find_spec("torchao") is not None


def stored(model: CodeModel, bits: int) -> WeightChange:
    """Return the model's linear layers, but for a head that is tied to the embedding, as torchao stores them.

    Args:
        model: In the state that is to be rounded.
        bits: 8 or 4.

    Raises:
        EnvironmentProblem: torchao is not installed, or does not go with this torch.
        InputError: Other bits.
    """
    if bits not in (4, 8):
        raise InputError(f"bits={bits} are out of range for torchao; use 8 or 4")
    _check()
    tied = {id(p) for module in model.hf.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    weights: dict[str, Tensor] = {}
    for name, module in model.hf.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and id(module.weight) not in tied:
            # Conv1D keeps its matrix the other way round; torchao knows nn.Linear only.
            turned = isinstance(module, Conv1D)
            weight = module.weight.detach()
            rounded = _stored(weight.T if turned else weight, bits)
            weights[f"{name}.weight"] = (rounded.T if turned else rounded).contiguous()
    return WeightChange(weights)


def _check() -> None:
    if not _installed():
        raise EnvironmentProblem("torchao is not installed; run: pip install 'ellora-trust[torchao]'")
    try:
        with _calm():
            importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise EnvironmentProblem(
            f"torchao is installed but cannot be used ({error}); install the version in constraints.txt, or remove it"
        ) from error


def _stored(weight: Tensor, bits: int) -> Tensor:
    """One matrix, (out, in), through torchao and back; one too narrow for a group stays."""
    with _calm():
        # By name: it is an extra, and its types are not there to be checked where it is not installed.
        torchao: Any = importlib.import_module("torchao.quantization")
        group = next((size for size in _GROUPS if weight.shape[1] % size == 0), None)
        if bits == 4 and group is None:
            return weight
        config = (
            torchao.Int8WeightOnlyConfig()
            if bits == 8
            else torchao.IntxWeightOnlyConfig(
                weight_dtype=torch.int4,  # pyright: ignore[reportAttributeAccessIssue]  # torch's stubs leave it out
                granularity=torchao.PerGroup(group),
            )
        )
        alone = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        alone.weight = nn.Parameter(weight.clone(), requires_grad=False)
        torchao.quantize_(alone, config)
        held: Any = alone.weight
        return held.dequantize().to(weight.dtype)


@contextmanager
def _calm() -> Iterator[None]:
    """torchao reports at import every kernel that this machine cannot load; none of them is used."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
