"""Which groups belong together, and which part each of them goes to.

of = components([{"a", "b"}, {"c"}])                                    # {"a": "a", "b": "a", "c": "c"}
assigned({"a": 30, "c": 10}, {"train": 0.75, "test": 0.25}, 0)          # {"a": "train", "c": "test"}
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping


def components(joined: Iterable[Iterable[str]]) -> dict[str, str]:
    """Return for each group the first group of those that it is joined with, directly or not."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for groups in joined:
        first, *others = sorted(groups)
        neighbours[first] |= set(others)
        for other in others:
            neighbours[other].add(first)
    of: dict[str, str] = {}
    for start in sorted(neighbours):
        waiting = [start] if start not in of else []
        while waiting:
            group = waiting.pop()
            if group not in of:
                of[group] = start
                waiting += neighbours[group]
    return of


def assigned(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Give each component to the part that lacks most of its share, large ones first, equal ones at random."""
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda component: -sizes[component])
    total, whole = max(sum(sizes.values()), 1), sum(shares.values())
    lacking = {name: share / whole * total for name, share in shares.items()}
    left = {name: share / whole * len(sizes) for name, share in shares.items()}
    part_of = {}
    for component in order:
        name = max(shares, key=lambda name: (lacking[name], left[name]) if sizes[component] else (left[name], 0.0))
        part_of[component] = name
        lacking[name] -= sizes[component]
        left[name] -= 1
    return part_of
