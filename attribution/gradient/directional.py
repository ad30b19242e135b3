"""How much each token's gradient has in common with one row: a single forward with dual numbers, without a backward.

    shared = token_products(making, row, ids)        # (n_tokens,): <gradient of -log p of each token, row>

The dot product of a gradient and a direction is the change of the loss along that direction, and one forward that
carries the derivative with it has those of all tokens. A row, pulled back through the projections, is a direction in
the weights: each layer's output gets what the moved weights would add.

Source: forward-mode differentiation, Baydin et al. 2018, arXiv:1502.05767, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.gradient.layers import Layer
from attribution.gradient.projection import Projection
from ellora_trust.inference import State, run_chunk

if TYPE_CHECKING:
    from attribution.gradient.rows import Projector


def token_products(making: Projector, row: Tensor, ids: Sequence[int]) -> Tensor:
    """Return the dot product of a row with the gradient of each token's -log p, (n_tokens,) float32; 0 for the first.

    A text longer than the model's context is read in pieces, as for an index.

    Args:
        making: What made the row.
        row: From `making.numbers`, (size,).
        ids: Tokens of a text, >= 1.

    Raises:
        NotImplementedError: A module has no forward derivative, such as bitsandbytes' matrices of 8 bits.
    """
    found = torch.zeros(len(ids))
    # A piece begins with the last token of the one before, so that every token but the first is predicted once.
    step = making.model.max_length - 1
    for start in range(0, max(len(ids) - 1, 1), step):
        piece = ids[start : start + step + 1]
        if len(piece) > 1:
            found[start + 1 : start + len(piece)] = _of_piece(making, row, piece)
    return found


@torch.no_grad()
def _of_piece(making: Projector, row: Tensor, ids: Sequence[int]) -> Tensor:
    """(n_tokens - 1,)."""
    model = making.model
    given = torch.tensor([list(ids)], device=model.device)
    parts = row.to(model.device).split([making.projections[layer.name].size for layer in making.layers])
    with ExitStack() as stack:
        stack.enter_context(forward_ad.dual_level())
        # Fused kernels have no forward derivative.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_plain_experts(model.hf))
        for layer, part in zip(making.layers, parts, strict=True):
            hook = _moved(layer, making.projections[layer.name], part)
            stack.callback(layer.module.register_forward_hook(hook, with_kwargs=True).remove)
        state = State(torch.ones_like(given), None, None)
        run_chunk(model, given, state, len(ids), False)
        assert state.logits is not None
        losses = torch.nn.functional.cross_entropy(state.logits[0, :-1], given[0, 1:], reduction="none")
        tangent = forward_ad.unpack_dual(losses).tangent
        assert tangent is not None, "a row has a part for every layer, and some layer comes before the losses"
        return tangent.float().cpu()


@contextmanager
def _plain_experts(hf: Any) -> Iterator[None]:
    before = hf.get_experts_implementation()
    if before[""] in (None, "eager"):
        yield
        return
    hf.set_experts_implementation("eager")
    try:
        yield
    finally:
        hf.set_experts_implementation(before)


def _moved(layer: Layer, projection: Projection, part: Tensor) -> Any:
    """A hook that adds what a layer's weights, moved along its part of the row, would add to its output."""
    middle = part.view(projection.shape).T

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        # The input comes without its own derivative: what that adds is carried by the output already.
        tangent = projection.outer.adjoint(projection.inner(layer.input_of(args, kwargs)) @ middle)
        tangent = tangent.to(output.dtype).reshape(output.shape)
        return output + forward_ad.make_dual(torch.zeros_like(tangent), tangent)

    return hook
