"""Quantised weights: kept otherwise than as plain floating-point numbers, as bitsandbytes, torchao and others do it.

A model of such weights answers, is scored, read and steered like any other. What writes weights needs floats:

need_float(model, "unlearn")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ellora_trust.errors import InputError
from ellora_trust.sharded import is_divided

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def is_packed(tensor: Tensor) -> bool:
    """Whether a weight is kept in another form than plain floating-point numbers."""
    # torchao's say that they are floats; what they are made of is inside.
    return tensor.dtype not in PLAIN or (hasattr(tensor.data, "__tensor_flatten__") and not is_divided(tensor))


def packed_weights(module: nn.Module, *, recurse: bool = True) -> list[str]:
    """Return the names of a module's packed weights, by default of its parts too; other buffers do not count."""
    kept = [*module.named_parameters(recurse=recurse), *module.named_buffers(recurse=recurse)]
    return [name for name, tensor in kept if "weight" in name.rpartition(".")[2] and is_packed(tensor)]


def need_float(model: CodeModel, what: str) -> None:
    """Refuse a model of packed weights.

    Args:
        model: Any.
        what: Wants to write weights; begins the sentence.

    Raises:
        InputError: A weight is packed.
    """
    packed = packed_weights(model.hf)
    if packed:
        raise InputError(
            f"{what} needs floating-point weights, and {len(packed)} of {model.name} are quantised, {packed[0]} among "
            "them; use the checkpoint that it was made of, in float32 or bfloat16"
        )


def with_gradients(hf: nn.Module) -> None:
    """Keep bitsandbytes' 4-bit matrices on a CPU from its kernel for answers alone, through which no gradient comes.

    It is chosen at the first forward on some processors, and what lies behind it would miss from a gradient silently.
    """
    for module in hf.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            theirs: Any = module
            theirs.support_avx512bf16_for_cpu = False
