"""The parts of a model whose weights are not here, from a small model of the same configuration.

`discover` finds parts by arithmetic on real activations. A model on the meta device has none, so its configuration is
made narrow, a random model of that configuration is looked at, and the names found are looked up in the large one.

    arch, order = discover_unloaded(meta_model)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ellora_trust.architecture import Architecture, Block, discover
from ellora_trust.errors import InputError

_HEAD, _VOCABULARY = 8, 64
# Settings that make a model wide, and what they become; those that a family does not have are left out.
_NARROW = {
    "head_dim": _HEAD,
    "v_head_dim": _HEAD,
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "ffn_dim": 32,
    "n_inner": 32,
    "vocab_size": _VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


# (path of a module, "input" or "output"), as they come in a forward
Order = list[tuple[str, str]]


def discover_unloaded(hf: PreTrainedModel) -> tuple[Architecture, Order]:
    """Return the architecture of a model on the meta device, and the order in which its sites are reached.

    Raises:
        InputError: Its configuration cannot be made narrow, or its blocks do not add two parts to the stream.
    """
    config = copy.deepcopy(hf.config)
    text = config.get_text_config(decoder=True)
    width = _HEAD * int(text.num_attention_heads)
    wanted = {**_NARROW, "hidden_size": width, "word_embed_proj_dim": width}
    for name, value in wanted.items():
        if getattr(text, name, None) is not None:
            setattr(text, name, value)
    try:
        small = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        arch = discover(small)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise InputError(
            f"{type(hf).__name__} cannot be looked at without its weights ({error}); load it without remote=True"
        ) from error
    return _renamed(arch, paths(small), hf), execution_order(small, arch)


def paths(hf: nn.Module) -> dict[nn.Module, str]:
    """Return the dotted path of every module."""
    return {module: name for name, module in hf.named_modules()}


def execution_order(hf: PreTrainedModel, arch: Architecture) -> Order:
    """Return the places that sites read or edit, in the order in which one forward reaches them."""
    order: Order = []
    names = paths(hf)

    def note(when: str, path: str) -> Callable[..., None]:
        return lambda *_: order.append((path, when))

    with ExitStack() as stack, torch.no_grad():
        for block in arch.blocks:
            inputs = [block.module, *([block.attn_out] if block.attn_out is not None else [])]
            outputs = [block.attn.module, block.mlp.module, block.module]
            for module in inputs:
                stack.callback(module.register_forward_pre_hook(note("input", names[module])).remove)
            for module in outputs:
                stack.callback(module.register_forward_hook(note("output", names[module])).remove)
        hf(input_ids=torch.full((1, 1), 5, device=hf.device), use_cache=False)
    return order


def _renamed(small: Architecture, names: dict[nn.Module, str], hf: PreTrainedModel) -> Architecture:
    """The same parts in the large model."""
    large = dict(hf.named_modules())

    def found(module: nn.Module) -> nn.Module:
        return large[names[module]]

    def block(one: Block) -> Block:
        attn, mlp = (replace(part, module=found(part.module)) for part in (one.attn, one.mlp))
        out = None if one.attn_out is None else found(one.attn_out)
        head_dim = 0 if out is None else _width_in(out) // small.n_heads
        return replace(one, module=found(one.module), attn=attn, mlp=mlp, attn_out=out, head_dim=head_dim)

    text = hf.config.get_text_config(decoder=True)
    return Architecture(
        base=hf.base_model,
        blocks=tuple(block(one) for one in small.blocks),
        final_norm=None if small.final_norm is None else found(small.final_norm),
        head=hf.get_output_embeddings(),  # pyright: ignore[reportArgumentType]  # discover() refuses a model without
        n_heads=small.n_heads,
        d_model=int(text.hidden_size),
    )


def _width_in(projection: nn.Module) -> int:
    """Width that an attention output projection reads; GPT-2's `Conv1D` keeps its weight the other way round."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    weight = projection.weight
    assert isinstance(weight, Tensor), "a projection has a weight"
    return weight.shape[0]
