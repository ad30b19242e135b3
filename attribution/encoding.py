"""Rows of a sketch as they are stored: one bit or one byte a bucket; and what a query makes of them.

    stored = encode(rows, "bits")            # or "int8": {"codes": ..., "norms": ...}
    products(stored, query, "bits")          # (n,) estimates of dot products with the query's floats

With one bit a bucket, two rows at an angle agree in a share 1 - angle / pi of their bits, so counting the bits that
differ gives the cosine: 4 kB a row are compared as fast as memory is read.

Source: Charikar 2002, "Similarity Estimation Techniques from Rounding Algorithms".
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


def hamming_cosines(codes: NDArray[np.uint8], query: NDArray[np.uint8]) -> FloatArray:
    """Return the cosines of rows with a query from the bits in which they differ, (n,).

    Args:
        codes: (n, n_bytes), n_bytes a multiple of 8.
        query: (n_bytes,).
    """
    words, asked = codes.view(np.uint64), query.view(np.uint64)
    step = max(1, _BLOCK_BYTES // codes.shape[1])
    different = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), step):
        counts = np.bitwise_count(words[start : start + step] ^ asked)
        different[start : start + step] = counts.sum(1, dtype=np.int32)
    return np.cos(np.pi * different / (8 * codes.shape[1]))


def products(stored: Mapping[str, NDArray], query: FloatArray, encoding: Encoding) -> FloatArray:
    """Return estimates of the dot products of rows with a query's floats, (n,), in the rows' own units."""
    if encoding == "int8":
        return (stored["codes"].astype(np.float32) @ query) * stored["units"]
    cosines = hamming_cosines(stored["codes"], np.packbits(query > 0))
    return cosines * stored["norms"] * np.float32(np.linalg.norm(query))
