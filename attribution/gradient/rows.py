"""Makes the row of each text: gradients, whitened, projected and sketched, batch by batch.

    making = Projector(model, layers, curvature, widths=[32_768])
    (rows,) = making.rows(texts)                # (n_texts, 32_768)
    making.numbers(texts)                       # (n_texts, all numbers), before they are sketched: small models

A row does not depend on which texts share a batch or on their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attribution.gradient.gradients import TOKEN_BUDGET, batches, split, visit_gradients
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import Layer
from attribution.gradient.losses import Target
from attribution.gradient.projection import Projection
from attribution.gradient.sketch import Sketch

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Of a side that is kept: on the testbed 32 scores less, 64 hardly less (`benchmarks.attribution`).
PROJECTION = 96


class Projector:
    """Makes the rows of texts.

    Args:
        model: The model.
        layers: From `find_layers`.
        curvature: How gradients are whitened.
        widths: Of the sketches, at most; all have the same seed.
        projection: Numbers that are kept of each side of a layer; None keeps all.
        seed: Of projection and sketches.
        token_budget: Padded tokens in a batch.
    """

    def __init__(
        self,
        model: CodeModel,
        layers: Sequence[Layer],
        curvature: Curvature,
        *,
        widths: Sequence[int] = (),
        projection: int | None = PROJECTION,
        seed: int = 0,
        token_budget: int = TOKEN_BUDGET,
    ):
        self.model, self.layers, self.token_budget = model, layers, token_budget
        self.projections = {
            layer.name: Projection.of(layer, curvature, width=projection, seed=seed, device=model.device)
            for layer in layers
        }
        sizes = {name: making.size for name, making in self.projections.items()}
        self.sketches = [Sketch(sizes, width, seed) for width in widths]

    def rows(self, texts: Sequence[Target], advance: Callable[[int], None] = lambda n: None) -> list[Tensor]:
        """Return each sketch of each text, (n_texts, width) float32.

        Args:
            texts: What is read.
            advance: Called with the number of pieces done after each batch.
        """
        found = [torch.zeros(len(texts), sketch.width, device=self.model.device) for sketch in self.sketches]

        def add(owners: Tensor, layer: Layer, values: Tensor) -> None:
            for rows, sketch in zip(found, self.sketches, strict=True):
                sketch.add(rows, owners, layer.name, values)

        self._visit(texts, add, advance)
        return [rows.cpu() for rows in found]

    def numbers(self, texts: Sequence[Target]) -> Tensor:
        """Return all that is left after projection, (n_texts, sum of the layers' sizes) float32: for small models."""
        starts, total = {}, 0
        for layer in self.layers:
            starts[layer.name], total = total, total + self.projections[layer.name].size
        found = torch.zeros(len(texts), total)

        def add(owners: Tensor, layer: Layer, values: Tensor) -> None:
            place = slice(starts[layer.name], starts[layer.name] + values.shape[1])
            found[:, place].index_add_(0, owners.cpu(), values.cpu())

        self._visit(texts, add)
        return found

    def _visit(
        self,
        texts: Sequence[Target],
        add: Callable[[Tensor, Layer, Tensor], None],
        advance: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Show, batch by batch and layer by layer, whose gradients they are and their numbers, (n, p_out * p_in)."""
        owners, pieces = split(texts, self.model.max_length)
        for numbers in batches(self.layers, pieces, self.token_budget):
            owner = torch.tensor([owners[number] for number in numbers], device=self.model.device)

            def arrived(layer: Layer, a: Tensor, g: Tensor, owner: Tensor = owner) -> None:
                making = self.projections[layer.name]
                add(owner, layer, torch.bmm(making.outer(g).transpose(1, 2), making.inner(a)).flatten(1))

            visit_gradients(self.model, self.layers, [pieces[number] for number in numbers], arrived)
            advance(len(numbers))
