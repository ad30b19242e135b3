"""Count-sketches: the numbers of all layers in one row of a few thousand, whose dot products are right on average.

What a projection leaves of a layer is cut into runs as long as the sketch; each run is turned by a random shift and
added: so neighbours never meet, two numbers of different runs share a bucket with chance 1 / width, and no table of
buckets is needed. The signs of a count-sketch are those of the random projection.

    sketch = Sketch(width=32_768, seed=0)
    sketch.add(rows, owners, layer, numbers)     # rows[owners] += sketch of (n, numbers of the layer)

The same seed gives the same sketch on every machine.

Source: Charikar, Chen, Farach-Colton 2002, "Finding Frequent Items in Data Streams". Departure: buckets by
shifted runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from attribution.layers import Layer
from attribution.projection import draws
from ellora_trust.errors import InputError


@dataclass(frozen=True)
class Sketch:
    """A random linear map from what is left of all layers to one row.

    Attributes:
        width: Buckets.
        seed: Of the shifts.
    """

    width: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"a sketch of width {self.width} holds nothing; use at least 1")

    def shifts(self, layer: Layer, size: int) -> list[int]:
        """Return the bucket at which each run of a layer's `size` numbers begins, (n_runs,)."""
        n_runs = -(-size // self.width)
        return [int(one) % self.width for one in draws(f"{self.seed}/shifts/{layer.part}/{layer.name}", n_runs)]

    def add(self, rows: Tensor, owners: Tensor, layer: Layer, values: Tensor) -> None:
        """Add the sketch of a layer's numbers, (n, size), to the rows, (n_rows, width), that own them, (n,)."""
        for number, shift in enumerate(self.shifts(layer, values.shape[1])):
            run = values[:, number * self.width : (number + 1) * self.width]
            before = min(run.shape[1], self.width - shift)
            rows[:, shift : shift + before].index_add_(0, owners, run[:, :before])
            rows[:, : run.shape[1] - before].index_add_(0, owners, run[:, before:])
