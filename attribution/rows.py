"""From texts to rows: gradient, whitening and sketch of every layer, summed as the backward goes along.

    projector = Projector(model, layers, curvature, widths=(32_768, 4_096))
    bits, small = projector.rows(texts)                  # (n_texts, 32768), (n_texts, 4096)
    Projector(model, layers, curvature, widths=()).exact(texts)     # (n_texts, all numbers); for small models

At no time is more than one layer's gradient of a few texts in memory. A row is a sum over the text's pieces, so it is
the same whatever the batch or the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attribution.gradients import TOKEN_BUDGET, batches, split, visit_gradients
from attribution.kfac import Curvature
from attribution.layers import Layer
from attribution.losses import Counted
from attribution.sketch import Sketch

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Numbers of a layer's gradients that are formed at a time: 16 MB, about what stays in a core's cache or near it.
_AT_A_TIME = 4_000_000


class Projector:
    """Makes the rows of texts.

    Args:
        model: The model.
        layers: From `find_layers`.
        curvature: How gradients are whitened.
        widths: Of the sketches; all have the same seed.
        seed: Of the sketches.
        token_budget: Padded tokens in a batch.
    """

    def __init__(
        self,
        model: CodeModel,
        layers: Sequence[Layer],
        curvature: Curvature,
        *,
        widths: Sequence[int],
        seed: int = 0,
        token_budget: int = TOKEN_BUDGET,
    ):
        self.model, self.layers, self.curvature, self.token_budget = model, layers, curvature, token_budget
        self.sketches = [Sketch(width, seed) for width in widths]
        signs = Sketch(1, seed)
        self._signs = {layer.name: [side.to(model.device) for side in signs.signs(layer)] for layer in layers}

    def rows(self, texts: Sequence[Counted], advance: Callable[[int], None] = lambda n: None) -> list[Tensor]:
        """Return each sketch of each text, (n_texts, width) float32.

        Args:
            texts: What is read.
            advance: Called with the number of pieces done after each batch.
        """
        device = self.model.device
        found = [torch.zeros(len(texts), sketch.width, device=device) for sketch in self.sketches]
        owners, pieces = split(texts, self.model.max_length)
        for numbers in batches(self.layers, pieces, self.token_budget):
            parts = [torch.zeros(len(numbers), sketch.width, device=device) for sketch in self.sketches]

            def add(layer: Layer, a: Tensor, g: Tensor, parts: list[Tensor] = parts) -> None:
                inner, outer = self._signs[layer.name]
                a, g = self.curvature.rotate(layer, a, g)
                for chosen, gradients in self._formed(layer, a * inner, g * outer):
                    for part, sketch in zip(parts, self.sketches, strict=True):
                        sketch.add(part[chosen], layer, gradients)

            visit_gradients(self.model, self.layers, [pieces[number] for number in numbers], add)
            owner = torch.tensor([owners[number] for number in numbers], device=device)
            for rows, part in zip(found, parts, strict=True):
                rows.index_add_(0, owner, part)
            advance(len(numbers))
        return [rows.cpu() for rows in found]

    def exact(self, texts: Sequence[Counted]) -> Tensor:
        """Return the whitened gradients themselves, (n_texts, sum of the layers' sizes) float32: for small models."""
        starts, total = {}, 0
        for layer in self.layers:
            starts[layer.name], total = total, total + layer.size
        found = torch.zeros(len(texts), total)
        owners, pieces = split(texts, self.model.max_length)
        for numbers in batches(self.layers, pieces, self.token_budget):

            def add(layer: Layer, a: Tensor, g: Tensor, numbers: list[int] = numbers) -> None:
                place = slice(starts[layer.name], starts[layer.name] + layer.size)
                for chosen, gradients in self._formed(layer, *self.curvature.rotate(layer, a, g)):
                    for number, gradient in zip(numbers[chosen], gradients, strict=True):
                        found[owners[number], place] += gradient.cpu()

            visit_gradients(self.model, self.layers, [pieces[number] for number in numbers], add)
        return found

    def _formed(self, layer: Layer, a: Tensor, g: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield which texts of the batch, and their whitened gradients, (n, d_out * d_in)."""
        scale = self.curvature.scale(layer)
        step = max(1, _AT_A_TIME // layer.size)
        for start in range(0, len(a), step):
            chosen = slice(start, start + step)
            gradients = torch.bmm(g[chosen].transpose(1, 2), a[chosen])
            if scale is not None:
                gradients *= scale
            yield chosen, gradients.flatten(1)
