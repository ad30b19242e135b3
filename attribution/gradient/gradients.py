"""The gradient of each text on its own, layer by layer, without a gradient of any parameter.

A layer's gradient for one text is the sum over its tokens of g_t a_t^T: input a in the forward, gradient g of the loss
to its output in the backward. Parameters are frozen, so only the backward through activations is paid; a visitor gets
(a, g) of a layer as soon as the backward reaches it and makes of them what it needs.

    layers = find_layers(model)
    visit_gradients(model, layers, [whole(model, text)], lambda layer, a, g: ...)
    per_text_gradients(model, layers, texts)["lm_head"]        # (n_texts, d_out, d_in); for small models

Source: Goodfellow 2015, "Efficient Per-Example Gradient Computations", arXiv:1510.01799.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from attribution.gradient.layers import Layer
from attribution.gradient.losses import Counted, Target
from ellora_trust.batching import plan_batches
from ellora_trust.errors import InputError
from ellora_trust.inference import State, run_chunk

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# (layer, input (texts, tokens, d_in), gradient to the output (texts, tokens, d_out)), float32. In padding the gradient
# is 0, since nothing that counts depends on it, and the input is whatever the model made of it.
Visit = Callable[[Layer, Tensor, Tensor], None]
Labels = Literal["true", "sampled"]
Padding = Literal["left", "right"]
# Padded tokens in a batch: its logits and their gradient are the largest tensors.
TOKEN_BUDGET = 1024


def visit_gradients(
    model: CodeModel,
    layers: Sequence[Layer],
    texts: Sequence[Counted],
    visit: Visit,
    *,
    padding: Padding = "right",
    sample: torch.Generator | None = None,
    zero_padding: bool = False,
) -> Tensor:
    """Run one batch forward and backward and show each layer's inputs and gradients.

    Args:
        model: The model; its parameters' flags are restored afterwards.
        layers: From `find_layers`.
        texts: At most the model's context each; one text if a layer is routed.
        visit: Called once a layer, in the order of the backward.
        padding: Side; the result is the same.
        sample: Draws the labels from the model's own distribution instead of the text, for the true Fisher.
        zero_padding: Show inputs that are 0 in padding, for sums over tokens of inputs alone.

    Returns:
        Loss of each text: sum over its counted tokens of -log p, nats, (n_texts,).
    """
    ids, mask, weights = _padded(model, texts, padding)
    with ExitStack() as stack, torch.enable_grad():
        stack.enter_context(_frozen(model.hf))
        embedding: Any = model.hf.get_input_embeddings()
        first: list[Tensor] = []
        stack.callback(embedding.register_forward_hook(_rooted(first)).remove)
        for layer in layers:
            hook = _tap(layer, visit, mask, zero_padding)
            stack.callback(layer.module.register_forward_hook(hook, with_kwargs=True).remove)
        state = State(mask, None, None)
        run_chunk(model, ids, state, ids.shape[1], False)
        assert state.logits is not None
        losses = _losses(state.logits, ids, weights, sample)
        torch.autograd.grad(losses.sum(), first)
    return losses.detach()


def batches(layers: Sequence[Layer], texts: Sequence[Counted], token_budget: int) -> list[list[int]]:
    """Return the numbers of the texts of each batch: of about one length, or alone where a layer is routed."""
    if any(layer.routed for layer in layers):
        return [[number] for number in range(len(texts))]
    return plan_batches([len(text.ids) for text in texts], token_budget)


def per_text_gradients(
    model: CodeModel, layers: Sequence[Layer], texts: Sequence[Target], *, token_budget: int = TOKEN_BUDGET
) -> dict[str, Tensor]:
    """Return every layer's gradient of every text, (n_texts, d_out, d_in) float32: all in memory, for small models."""
    found = {layer.name: torch.zeros(len(texts), layer.d_out, layer.d_in) for layer in layers}
    owners, pieces = split(texts, model.max_length)
    for numbers in batches(layers, pieces, token_budget):
        owner = torch.tensor([owners[number] for number in numbers])

        def add(layer: Layer, a: Tensor, g: Tensor, owner: Tensor = owner) -> None:
            found[layer.name].index_add_(0, owner, torch.bmm(g.transpose(1, 2), a).cpu())

        visit_gradients(model, layers, [pieces[number] for number in numbers], add)
    return found


def split(texts: Sequence[Target], longest: int) -> tuple[list[int], list[Counted]]:
    """Return pieces that fit the model's context, and for each the number of the text that it is of."""
    pairs = [(number, piece) for number, text in enumerate(texts) for piece in text.pieces(longest)]
    return [number for number, _ in pairs], [piece for _, piece in pairs]


def _padded(model: CodeModel, texts: Sequence[Counted], padding: Padding) -> tuple[Tensor, Tensor, Tensor]:
    width = max(len(text.ids) for text in texts)
    ids = torch.full((len(texts), width), model.pad_id)
    mask, weights = torch.zeros(len(texts), width, dtype=torch.long), torch.zeros(len(texts), width)
    for row, text in enumerate(texts):
        n = len(text.ids)
        place = slice(0, n) if padding == "right" else slice(width - n, width)
        ids[row, place], mask[row, place] = torch.tensor(text.ids), 1
        # The first token has no prediction; left of it there may be padding.
        weights[row, place] = torch.tensor([0.0, *text.weights[1:]])
    return ids.to(model.device), mask.to(model.device), weights.to(model.device)


def _losses(logits: Tensor, ids: Tensor, weights: Tensor, sample: torch.Generator | None) -> Tensor:
    logprobs = torch.log_softmax(logits[:, :-1], -1)
    labels = ids[:, 1:]
    if sample is not None:
        flat = logprobs.detach().flatten(0, 1).exp().cpu()
        labels = torch.multinomial(flat, 1, generator=sample).view(labels.shape).to(labels.device)
    return -(logprobs.gather(-1, labels[..., None])[..., 0] * weights[:, 1:]).sum(1)


@contextmanager
def _frozen(hf: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside the `with`."""
    before = [(p, p.requires_grad) for p in hf.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def _rooted(first: list[Tensor]) -> Any:
    """A hook that lets the graph begin at the embedding's output."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        first[:] = [output.detach().requires_grad_(True)]
        return first[0]

    return hook


def _tap(layer: Layer, visit: Visit, mask: Tensor, zero_padding: bool) -> Any:
    padded = zero_padding and not bool(mask.all())

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        if not output.requires_grad or not output.numel():  # an expert that got no token
            return
        a = _shaped(layer.input_of(args, kwargs), mask)
        if padded and not layer.routed:
            a = a.masked_fill(mask[..., None] == 0, 0.0)

        def arrived(gradient: Tensor | None) -> None:
            if gradient is None:
                raise InputError(
                    f"no gradient reaches {layer.name}: the kernel of a later matrix has none to give; use another "
                    "quantisation, or floating-point weights"
                )
            visit(layer, a, _shaped(gradient.float(), mask))

        output.register_hook(arrived)

    return hook


def _shaped(values: Tensor, mask: Tensor) -> Tensor:
    """(texts, tokens, width); all that an expert got belongs to the batch's only text."""
    if values.numel() != mask.numel() * values.shape[-1]:
        return values.reshape(1, -1, values.shape[-1])
    return values.reshape(*mask.shape, values.shape[-1])
