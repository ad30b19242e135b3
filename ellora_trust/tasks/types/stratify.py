"""Put grouped items in an order in which every prefix is balanced.

Use it where a task's answers are skewed: no stratum (a type, say) takes more than a third of any prefix, as far as
whole groups allow, so a limit of 50 asks the same mixture as a limit of 1,000.

    order = stratified_order(["a", "a", "b", "c"], ["int", "str", "bool", "int"], seed=0)
    [items[index] for index in order[:limit]]
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from ellora_trust.errors import InputError

MIN_STRATA = 3  # below that, one of them must exceed a third
LOOK_AHEAD = 100  # groups tried before the least bad one is taken; bounds the work to 100 per group


def stratified_order(groups: Sequence[str], strata: Sequence[str], *, seed: int) -> list[int]:
    """Return indices of the items to use, in order: groups whole, no stratum above a third of all.

    What a common stratum has beyond a third is left out, chosen at random.

    Args:
        groups: Each item's group.
        strata: Each item's stratum, in the same order.
        seed: Of the order and of what is left out.

    Raises:
        InputError: Fewer than three strata.
    """
    if len(set(strata)) < MIN_STRATA:
        raise InputError(
            f"{len(strata)} examples have {len(set(strata))} different answers; {MIN_STRATA} are needed so that none "
            "exceeds a third; give more code"
        )
    rng = random.Random(seed)
    shuffled = list(range(len(strata)))
    rng.shuffle(shuffled)
    allowed = thinned(Counter(strata))
    members: dict[str, list[int]] = defaultdict(list)
    for index in shuffled:
        if allowed[strata[index]] > 0:
            allowed[strata[index]] -= 1
            members[groups[index]].append(index)
    waiting = list(members.values())
    rng.shuffle(waiting)  # else large groups would come first: one of their items is met early
    return _balanced(waiting, strata)


def thinned(counts: Counter[str]) -> Counter[str]:
    """Return how many items of each stratum may stay so that none exceeds a third of what stays."""
    kept = counts.copy()
    while True:
        (stratum, count), *_ = kept.most_common(1)
        others = kept.total() - count
        if count <= max(others // 2, 1):
            return kept
        kept[stratum] = max(others // 2, 1)


def _balanced(waiting: list[list[int]], strata: Sequence[str]) -> list[int]:
    counts: Counter[str] = Counter()
    order: list[int] = []
    while waiting:
        best, best_excess, best_position = waiting[0], float("inf"), 0
        for position, group in enumerate(waiting[:LOOK_AHEAD]):
            arranged, excess = _arranged(group, strata, counts)
            if excess < best_excess:
                best, best_excess, best_position = arranged, excess, position
            if excess <= 0:
                break
        waiting.pop(best_position)
        order += best
        counts.update(strata[index] for index in best)
    return order


def _arranged(group: list[int], strata: Sequence[str], counts: Counter[str]) -> tuple[list[int], int]:
    """Order a group, rarest stratum first, and say by how many items a prefix exceeds a third at worst."""
    counts, left = counts.copy(), list(group)
    n_placed, worst = counts.total(), 0
    arranged: list[int] = []
    while left:
        index = min(left, key=lambda index: counts[strata[index]])
        left.remove(index)
        arranged.append(index)
        counts[strata[index]] += 1
        n_placed += 1
        worst = max(worst, counts[strata[index]] - max(1, -(-n_placed // 3)))
    return arranged, worst
