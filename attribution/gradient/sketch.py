"""Count-sketches: the numbers of all layers in one row of a few thousand, whose dot products are right on average.

What projections leave of all layers, one after the other, is cut into runs as long as the sketch; each run is turned by
a random shift and added. So every bucket holds as many numbers as any other, neighbours never meet, two numbers of
different runs share a bucket with chance 1 / width, and no table of buckets is needed. The signs of a count-sketch are
those of the random projection.

    sketch = Sketch({"first": 4096, "second": 8192}, width=4096, seed=0)
    sketch.add(rows, owners, "second", numbers)      # rows[owners] += sketch of (n, 8192)

The same seed gives the same sketch on every machine.

Source: Charikar, Chen, Farach-Colton 2002, "Finding Frequent Items in Data Streams". Departure: buckets by
shifted runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from torch import Tensor

from attribution.gradient.projection import draws
from ellora_trust.errors import InputError

_WORD = 64


class Sketch:
    """A random linear map from what is left of all layers to one row.

    Args:
        sizes: Numbers by layer, in order.
        width: Buckets wanted.
        seed: Of the shifts.

    Attributes:
        width: Buckets: no more than there are numbers, since an empty one says the same of every text.
    """

    def __init__(self, sizes: Mapping[str, int], width: int, seed: int = 0):
        if width < 1:
            raise InputError(f"a sketch of width {width} holds nothing; use at least 1")
        total = sum(sizes.values())
        # Whole words of 64 bits, which are compared at once.
        self.width = min(width, total if total < _WORD else total // _WORD * _WORD)
        self._starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        self.shifts = [int(one) % self.width for one in draws(f"{seed}/shifts", -(-total // self.width))]

    def add(self, rows: Tensor, owners: Tensor, layer: str, values: Tensor) -> None:
        """Add the sketch of a layer's numbers, (n, size), to the rows, (n_rows, width), that own them, (n,)."""
        for first, bucket, n in self._slices(layer, values.shape[1]):
            rows[:, bucket : bucket + n].index_add_(0, owners, values[:, first : first + n])

    def _slices(self, layer: str, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield where a piece of a layer begins, its first bucket, and its length."""
        done, start = 0, self._starts[layer]
        while done < size:
            run, within = divmod(start + done, self.width)
            bucket = (within + self.shifts[run]) % self.width
            n = min(size - done, self.width - within, self.width - bucket)
            yield done, bucket, n
            done += n
