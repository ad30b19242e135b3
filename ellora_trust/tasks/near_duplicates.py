"""Near-duplicates: which texts are so alike that no split may separate them.

Use it to build groups for `Example.group`. Texts are compared by the Jaccard similarity of their token shingles;
MinHash bands propose the pairs, the exact similarity decides, so chance collisions never join two texts.

    near_duplicate_pairs(["x = a + b", "x  = a + b", "print(1)"])    # [(0, 1)]
    merge_groups(["a.py", "b.py"], ["x = a + b", "x  = a + b"])      # ['a.py', 'a.py']

Source: Broder 1997, "On the resemblance and containment of documents" (shingles, MinHash).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE_TOKENS = 3
# 16 bands of 4 rows find a pair at similarity 0.7 with probability 0.988, and one at 0.3 with 0.12.
N_BANDS, BAND_ROWS = 16, 4
THRESHOLD = 0.7
_PRIME = (1 << 31) - 1  # products of two residues stay below 2**62
_TOKEN = re.compile(r"\w+|[^\w\s]")


def shingles(text: str) -> frozenset[int]:
    """Return the hashes of a text's runs of 3 tokens; white space does not count, a shorter text is one shingle."""
    tokens = _TOKEN.findall(text)
    n_runs = max(len(tokens) - SHINGLE_TOKENS + 1, 1)
    # hash() differs between processes; groups must not
    return frozenset(
        int.from_bytes(hashlib.blake2b("\0".join(tokens[i : i + SHINGLE_TOKENS]).encode(), digest_size=4).digest())
        % _PRIME
        for i in range(n_runs)
    )


def similarity(first: frozenset[int], second: frozenset[int]) -> float:
    """Return the Jaccard similarity of two shingle sets, in [0, 1]."""
    return len(first & second) / max(len(first | second), 1)


def near_duplicate_pairs(texts: Sequence[str], *, threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Return index pairs of texts whose similarity reaches the threshold.

    Of texts with identical shingles only the pairs with the first of them are listed; `connected` joins the rest.

    Args:
        texts: Any texts, typically functions with what differs trivially (comments, docstrings) removed.
        threshold: Least Jaccard similarity, in [0, 1]; below 0.6 the bands begin to miss pairs.
    """
    sets = [shingles(text) for text in texts]
    coefficients = np.random.default_rng(0).integers(1, _PRIME, size=(2, N_BANDS * BAND_ROWS), dtype=np.int64)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    pairs: set[tuple[int, int]] = set()
    for index, members in enumerate(sets):
        signature = _minhash(members, coefficients).reshape(N_BANDS, BAND_ROWS)
        for band in range(N_BANDS):
            bucket = buckets[band, signature[band].tobytes()]
            alike = {other: similarity(sets[other], members) for other in bucket}
            pairs.update((other, index) for other, value in alike.items() if value >= threshold)
            # boilerplate that occurs a thousand times word for word stays linear
            if 1.0 not in alike.values():
                bucket.append(index)
    return sorted(pairs)


def connected(n_items: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for every item the smallest index that pairs connect it to (union-find)."""
    parent = list(range(n_items))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(item) for item in range(n_items)]


def merge_groups(groups: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return every text's group after groups that share a near-duplicate became one, named by the first of them.

    Args:
        groups: The group each text is in, typically its file.
        texts: The texts, in the same order.
    """
    names = sorted(set(groups))
    index = {name: position for position, name in enumerate(names)}
    pairs = [(index[groups[first]], index[groups[second]]) for first, second in near_duplicate_pairs(texts)]
    merged = connected(len(names), pairs)
    return [names[merged[index[group]]] for group in groups]


def _minhash(members: frozenset[int], coefficients: NDArray[np.int64]) -> NDArray[np.int64]:
    values = np.fromiter(members, dtype=np.int64, count=len(members))
    slope, offset = coefficients[:, :, None]
    return ((slope * values + offset) % _PRIME).min(axis=1)
