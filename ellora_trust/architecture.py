"""Where a decoder's parts are, found by structure and arithmetic instead of a list of model names.

In every pre-norm decoder, sequential or parallel, a block adds two things to the residual stream:
`output = input + scale * (attention + mlp)`. `discover` runs a few tokens, records what each child of a block returns,
and keeps the pair of children for which that identity holds. So a post-norm (Gemma 2), a bare `fc2` (OPT), a parallel
block (GPT-NeoX) or a residual multiplier (Granite) need no table.

    arch = discover(hf_model)
    arch.n_layers, arch.d_model, arch.blocks[0].attn.name
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import InputError

# Relative error below which `input + a + m` counts as the block's output: far above fp32 and bf16 rounding of one sum,
# far below the size of either part.
_FIT_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}


@dataclass(frozen=True)
class Part:
    """A module whose output, times `scale`, is added to the residual stream."""

    name: str
    module: nn.Module
    scale: float = 1.0


@dataclass(frozen=True)
class Block:
    """One decoder block.

    Attributes:
        name: Dotted path in the model.
        module: The block; its (first) output is the residual stream after it.
        attn: What the token mixer adds to the stream.
        mlp: What the feed-forward part adds to the stream.
        attn_out: Projection whose input is the concatenation of the heads, or None where the mixer has none.
        head_dim: Width of one head in that input; 0 where `attn_out` is None.
        returns_tuple: Whether the block returns its output in a tuple.
    """

    name: str
    module: nn.Module
    attn: Part
    mlp: Part
    attn_out: nn.Module | None
    head_dim: int
    returns_tuple: bool


@dataclass(frozen=True)
class Architecture:
    """The parts of a decoder, by role.

    Attributes:
        base: The decoder without its language-model head.
        blocks: In the order of execution.
        final_norm: Norm between the last block and the head, or None.
        head: Output projection to the vocabulary.
        n_heads: Attention heads per block.
        d_model: Width of the residual stream.
    """

    base: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module | None
    head: nn.Module
    n_heads: int
    d_model: int

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def owner(self) -> nn.Module:
        """The module that calls the blocks, in every forward: OPT's head calls it without going through `base`."""
        first = self.blocks[0].module
        found = (m for m in self.base.modules() for stack in m.children() if any(b is first for b in stack.children()))
        return next(found, self.base)


def hidden_of(output: Any) -> Tensor:
    """Return the hidden states, (batch, tokens, d_model), of a module that returns a tensor or a tuple."""
    return output[0] if isinstance(output, tuple) else output


def discover(hf: PreTrainedModel) -> Architecture:
    """Find the blocks, their two parts, the final norm and the head of a causal language model.

    Args:
        hf: Any decoder-only transformers model with a language-model head.

    Raises:
        InputError: The model has no head, no uniform stack of blocks, or blocks that add something other than two
            parts to the stream.
    """
    head = hf.get_output_embeddings()
    if head is None:
        raise InputError(
            f"{type(hf).__name__} has no language-model head; load it with AutoModelForCausalLM (a decoder-only model)"
        )
    config = hf.config.get_text_config(decoder=True)
    stack_name, stack = _block_stack(hf, config.num_hidden_layers)
    with _record(hf, stack_name, stack) as calls, torch.no_grad():
        ids = torch.arange(3, 8, device=head.weight.device)[None] % config.vocab_size
        hf(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    n_heads = int(config.num_attention_heads)
    blocks = tuple(_block(f"{stack_name}.{layer}", block, calls, n_heads) for layer, block in enumerate(stack))
    return Architecture(
        base=hf.base_model,
        blocks=blocks,
        final_norm=_final_norm(hf, stack_name, calls),
        head=head,
        n_heads=n_heads,
        d_model=calls[f"{stack_name}.0"].input.shape[-1],
    )


@dataclass(frozen=True)
class _Call:
    order: int
    module: nn.Module
    input: Tensor
    output: Tensor
    returns_tuple: bool


def _block_stack(hf: nn.Module, n_layers: int) -> tuple[str, nn.ModuleList]:
    """The decoder's list of blocks: as long as the config says, and with the most parameters."""
    stacks = [
        (name, module)
        for name, module in hf.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    ]
    if not stacks:
        raise InputError(
            f"{type(hf).__name__} has no list of {n_layers} blocks; only decoder-only transformers are supported"
        )
    return max(stacks, key=lambda item: sum(p.numel() for p in item[1].parameters()))


@contextmanager
def _record(hf: nn.Module, stack_name: str, stack: nn.ModuleList) -> Iterator[dict[str, _Call]]:
    """Record input and output of every module, in order of completion, during one forward."""
    calls: dict[str, _Call] = {}

    def hook(name: str) -> Any:
        def record(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            given = args[0] if args else kwargs.get("hidden_states")
            result = hidden_of(output)
            if isinstance(given, Tensor) and isinstance(result, Tensor) and name not in calls:
                calls[name] = _Call(
                    len(calls), module, given.detach().clone(), result.detach().clone(), isinstance(output, tuple)
                )

        return record

    with ExitStack() as stack_of_hooks:
        for name, module in hf.named_modules():
            if name:
                handle = module.register_forward_hook(hook(name), with_kwargs=True)
                stack_of_hooks.callback(handle.remove)
        yield calls


def _block(name: str, module: nn.Module, calls: dict[str, _Call], n_heads: int) -> Block:
    whole = calls[name]
    children = [(child, calls[f"{name}.{child}"]) for child, _ in module.named_children() if f"{name}.{child}" in calls]
    children = sorted(
        ((n, c) for n, c in children if c.output.numel() == whole.output.numel()),
        key=lambda item: item[1].order,
    )
    pair = _residual_pair(whole, [call for _, call in children])
    if pair is None:
        raise InputError(
            f"block {name} ({type(module).__name__}) does not add attention + MLP to its input, so its sites cannot be "
            "named; only pre-norm decoder blocks are supported"
        )
    first, second, scale = pair
    names = {id(call): f"{name}.{child}" for child, call in children}
    parts = [Part(names[id(call)], call.module, scale) for call in (first, second)]
    if _is_mlp(children, first, second):
        parts.reverse()
    attn, mlp = parts
    mixer = _mixer(children, attn)
    projection = _last_projection(f"{name}.{mixer}", calls)
    width = projection.input.shape[-1] if projection is not None else 0
    if projection is None or width % n_heads:
        return Block(name, module, attn, mlp, None, 0, whole.returns_tuple)
    return Block(name, module, attn, mlp, projection.module, width // n_heads, whole.returns_tuple)


def _residual_pair(whole: _Call, children: list[_Call]) -> tuple[_Call, _Call, float] | None:
    """The two children, in order of execution, for which `output - input = scale * (a + m)` fits best, if it does."""
    width, dtype = whole.output.shape[-1], whole.output.dtype
    # Token by token in units of the stream: a block may add a hundredth of an attention sink, which in bfloat16 is
    # hardly more than rounding.
    unit = whole.output.double().reshape(-1, width).norm(dim=-1, keepdim=True).clamp_min(1e-30)
    delta = ((whole.output.double() - whole.input.double()).reshape(-1, width) / unit).flatten()
    coarse = dtype not in _FIT_TOLERANCE
    tolerance = _FIT_TOLERANCE.get(dtype, 3e-2)
    allowed = tolerance * float(delta.norm()) + (torch.finfo(dtype).eps * len(unit) ** 0.5 if coarse else 0.0)
    found: list[tuple[float, _Call, _Call, float]] = []
    for first, second in combinations(children, 2):
        both = first.output.double().reshape(-1, width) + second.output.double().reshape(-1, width)
        total = (both.to(unit) / unit).flatten()
        scale = float(total @ delta / (total @ total).clamp_min(1e-30))
        error = float((delta - scale * total).norm())
        if error <= allowed and scale > 0:
            # A multiplier of 1 is the rule; rounding must not turn it into 0.9999998, or 0.91 where it is coarse.
            near = 0.15 if coarse else tolerance
            found.append((error, first, second, 1.0 if abs(scale - 1) < near else scale))
    return min(found, key=lambda one: one[0])[1:] if found else None


def _names_attention(call: _Call) -> bool:
    return "attention" in type(call.module).__name__.lower() or "attn" in type(call.module).__name__.lower()


def _is_mlp(children: list[tuple[str, _Call]], first: _Call, second: _Call) -> bool:
    """Whether `first` is the feed-forward part: only where the second one, or what feeds it, is the attention."""

    def source(call: _Call) -> _Call:
        before = [c for _, c in children if c.order <= call.order and _has_projection(c.module)]
        return before[-1] if before else call

    return _names_attention(source(second)) and not _names_attention(source(first))


def _mixer(children: list[tuple[str, _Call]], attn: Part) -> str:
    """Name of the child that computes attention: the part itself, or what its post-norm reads."""
    order = next(call.order for _, call in children if call.module is attn.module)
    before = [(name, call) for name, call in children if call.order <= order and _has_projection(call.module)]
    return before[-1][0] if before else attn.name.rsplit(".", 1)[-1]


def _is_projection(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, Conv1D))


def _has_projection(module: nn.Module) -> bool:
    return any(_is_projection(part) for part in module.modules())


def _last_projection(prefix: str, calls: dict[str, _Call]) -> _Call | None:
    inside = [c for n, c in calls.items() if n.startswith(prefix + ".") and _is_projection(c.module)]
    return max(inside, key=lambda call: call.order, default=None)


def _final_norm(hf: PreTrainedModel, stack_name: str, calls: dict[str, _Call]) -> nn.Module | None:
    """The last module of the decoder that ran after the last block and kept the stream's shape."""
    parent = stack_name.rsplit(".", 1)[0]
    last = max(call.order for name, call in calls.items() if name.startswith(f"{stack_name}."))
    shape = calls[f"{stack_name}.0"].output.shape
    after = [
        call
        for name, call in calls.items()
        if name.startswith(parent + ".") and call.order > last and call.output.shape == shape and name != parent
    ]
    return min(after, key=lambda call: call.order).module if after else None
