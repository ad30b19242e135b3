"""Count-sketches: a gradient of millions of numbers in a few thousand, whose dot products are right on average.

Every coordinate is added, with a random sign, to one of `width` buckets. The gradient of a layer is cut into runs as
long as the sketch, each run is turned by a random shift and added: so neighbours never meet, two coordinates of
different runs share a bucket with chance 1 / width, and no table of buckets is needed. A coordinate (i, j) of a matrix
has sign s_i s_j, which is applied to the two sides before the matrix is formed.

    sketch = Sketch(width=32_768, seed=0)
    inner, outer = sketch.signs(layer)
    sketch.add(rows, layer, gradients)       # rows (n, width) += sketch of (n, d_out * d_in)

The same seed gives the same sketch on every machine.

Source: Charikar, Chen, Farach-Colton 2002, "Finding Frequent Items in Data Streams"; Weinberger et al. 2009,
arXiv:0902.2206, for dot products. Departure: buckets by shifted runs, signs as products.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attribution.layers import Layer
from ellora_trust.errors import InputError


@dataclass(frozen=True)
class Sketch:
    """A random linear map from the gradients of all layers to one row.

    Attributes:
        width: Buckets.
        seed: Of signs and shifts.
    """

    width: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"a sketch of width {self.width} holds nothing; use at least 1")

    def signs(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Return the signs of a layer's inputs, (d_in,), and outputs, (d_out,): 1 or -1, float32."""
        drawn = _draws(f"{self.seed}/signs/{layer.part}/{layer.name}", layer.d_in + layer.d_out)
        signs = torch.from_numpy((drawn >> np.uint64(63)).astype(np.float32) * 2 - 1)
        return signs[: layer.d_in], signs[layer.d_in :]

    def shifts(self, layer: Layer) -> list[int]:
        """Return the bucket at which each run of a layer begins, (n_runs,)."""
        n_runs = -(-layer.size // self.width)
        drawn = _draws(f"{self.seed}/shifts/{layer.part}/{layer.name}", n_runs)
        return [int(one) % self.width for one in drawn]

    def add(self, rows: Tensor, layer: Layer, gradients: Tensor) -> None:
        """Add the sketch of a layer's gradients, (n, d_out * d_in) with signs already applied, to rows, (n, width)."""
        for number, shift in enumerate(self.shifts(layer)):
            run = gradients[:, number * self.width : (number + 1) * self.width]
            before = min(run.shape[1], self.width - shift)
            rows[:, shift : shift + before] += run[:, :before]
            rows[:, : run.shape[1] - before] += run[:, before:]


def _draws(key: str, n: int) -> np.ndarray:
    # Raw output of a counter-based generator: numpy promises that it never changes, unlike its distributions.
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)).random_raw(n)
