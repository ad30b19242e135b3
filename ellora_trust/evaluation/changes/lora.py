"""A saved LoRA adapter as the weights it stands for: W + scale * B A, without the package that trained it.

    with read_lora(Path("runs/adapter"), model).apply(model):
        model.generate(prompts)

Plain LoRA of linear layers is read (also rank-stabilised). What would mean something else (DoRA, trained embeddings,
biases, other ranks by pattern) is refused rather than half applied.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ellora_trust.errors import InputError
from ellora_trust.evaluation.changes.candidates import adapter_config
from ellora_trust.intervention import WeightChange

if TYPE_CHECKING:
    from torch import Tensor

    from ellora_trust.model import CodeModel

_REFUSED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "use_bdlora",
    "alora_invocation_tokens",
)
_PREFIX = "base_model.model."


def read_lora(folder: Path, model: CodeModel) -> WeightChange:
    """Return the change of weights that an adapter in PEFT's format makes.

    Raises:
        InputError: Not a plain LoRA adapter, damaged, or one that does not fit the model.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1; rank-stabilised: Kalajdzievski 2023, arXiv:2312.03732.
    """
    config = adapter_config(folder)
    _check(folder, config)
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    parts = _parts(folder)
    state = model.hf.state_dict()
    changed = {}
    for name in sorted({one.rpartition(".lora_")[0] for one in parts}):
        weight = f"{name.removeprefix(_PREFIX)}.weight"
        if weight not in state:
            raise InputError(f"the adapter {folder} changes {weight!r}, which {model.name} lacks; give its own base")
        a, b = parts[f"{name}.lora_A.weight"], parts[f"{name}.lora_B.weight"]
        old = state[weight]
        if (b.shape[0], a.shape[1]) != tuple(old.shape):
            raise InputError(f"the adapter's {weight!r} has another shape than in {model.name}; give its own base")
        changed[weight] = old + (scale * (b.float() @ a.float())).to(old.device, old.dtype)
    return WeightChange(changed)


def _check(folder: Path, config: dict[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise InputError(f"{folder} is a {kind} adapter; LoRA adapters can be compared, or merge it into a checkpoint")
    set_ = [name for name in _REFUSED if config.get(name)]
    if config.get("bias", "none") != "none":
        set_.append("bias")
    if set_:
        raise InputError(f"the adapter {folder} uses {', '.join(set_)}; merge it into a checkpoint and compare that")


def _parts(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        parts = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or missing ({error}); save the adapter as safetensors") from error
    strange = [n for n in parts if not n.endswith((".lora_A.weight", ".lora_B.weight"))]
    if strange or not parts:
        raise InputError(
            f"{path} holds {strange[:1] or 'nothing'}; only lora_A and lora_B of linear layers can be read"
        )
    return {name: tensor.to(torch.float32) for name, tensor in parts.items()}
