"""Rows of a sketch as they are stored: one bit or one byte a bucket; and what a query makes of them.

    stored = encode(rows, "bits")            # or "int8": {"codes": ..., "norms": ...}
    products(stored, query, "bits")          # (n,) estimates of dot products with the query's floats

A stored row is signs; the query keeps two bits a bucket, levels of 3, 1, -1 and -3, since it is stored nowhere. Their
product is two counts of differing bits, so 4 kB a row are compared about as fast as memory is read.

Source: Charikar 2002, "Similarity Estimation Techniques from Rounding Algorithms", for rows of signs; Max 1960,
doi:10.1109/TIT.1960.1057548, for the threshold between the levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Encoding = Literal["bits", "int8"]
# Rows that are compared at a time: with 4 kB a row, 1 MB, which stays in a core's cache.
_BLOCK_BYTES = 1 << 20
# In standard deviations: where four levels of a normal variable are parted.
_THRESHOLD = 0.98


def width_of(encoding: Encoding, n_bytes: int) -> int:
    """Return how many buckets fit in so many bytes."""
    return 8 * n_bytes if encoding == "bits" else n_bytes


def encode(rows: FloatArray, encoding: Encoding) -> dict[str, NDArray]:
    """Return codes and norms of rows, (n, width).

    Returns:
        `codes`: (n, width / 8) uint8, or (n, width) int8 in units of a 127th of the row's largest entry; `norms`: the
        rows' lengths, (n,) float32; `units` of int8 rows, (n,) float32.
    """
    norms = np.linalg.norm(rows, axis=1).astype(np.float32)
    if encoding == "bits":
        return {"codes": np.packbits(rows > 0, axis=1), "norms": norms}
    units = np.maximum(np.abs(rows).max(1), np.finfo(np.float32).tiny).astype(np.float32) / 127
    return {"codes": np.rint(rows / units[:, None]).astype(np.int8), "norms": norms, "units": units}


def products(stored: Mapping[str, NDArray], query: FloatArray, encoding: Encoding) -> FloatArray:
    """Return estimates of the dot products of rows with a query's floats, (n,), in the rows' own units."""
    if encoding == "int8":
        return (stored["codes"].astype(np.float32) @ query) * stored["units"]
    width, positive = len(query), query > 0
    large = np.abs(query) > _THRESHOLD * np.sqrt(np.mean(query**2))
    levels = np.where(large, 3, 1).astype(np.float32)
    size = np.abs(query) @ levels / (levels @ levels)
    agreeing = [width - 2 * differing(stored["codes"], np.packbits(plane)) for plane in (positive, positive == large)]
    # A row of signs has length sqrt(width); for entries that are normal the sum is short by sqrt(2 / pi).
    unit = np.float32(size * np.sqrt(np.pi / 2) / np.sqrt(width))
    return (2 * agreeing[0] + agreeing[1]) * unit * stored["norms"]


def differing(codes: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return in how many bits each row differs from a query, (n,).

    Args:
        codes: (n, n_bytes); fastest where n_bytes is a multiple of 8.
        query: (n_bytes,).
    """
    words, asked = (one.view(np.uint64) if codes.shape[1] % 8 == 0 else one for one in (codes, query))
    step = max(1, _BLOCK_BYTES // codes.shape[1])
    found = np.empty(len(codes), np.int32)
    for start in range(0, len(codes), step):
        found[start : start + step] = np.bitwise_count(words[start : start + step] ^ asked).sum(1, dtype=np.int32)
    return found
