"""Which items an edit trains on and which it only watches: whole groups, by seed.

items = split(forget, retain, share=0.2, seed=0)
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearning.data import Item

_WATCHED = 64  # held-out items of a side that are looked at


@dataclass(frozen=True)
class Watched:
    """Items to train on and items to watch; the same where nothing is held out."""

    forget: list[Item]
    retain: list[Item]
    forget_held: list[Item]
    retain_held: list[Item]

    @staticmethod
    def plain(value: Any) -> Any:
        """Return a value as JSON gives it back."""
        return json.loads(json.dumps(value))


def split(forget: Sequence[Item], retain: Sequence[Item], *, share: float, seed: int) -> Watched:
    """Hold out a share of the groups of each set; no group is on both sides.

    Raises:
        InputError: A set has too few groups for it.
    """
    parts = [divide(items, share, f"{seed}/{side}") for items, side in ((forget, "forget"), (retain, "retain"))]
    (forget_used, forget_held), (retain_used, retain_held) = parts
    return Watched(forget_used, retain_used, forget_held[:_WATCHED], retain_held[:_WATCHED])


def divide(items: Sequence[Item], share: float, key: str) -> tuple[list[Item], list[Item]]:
    """Return all but a share of the groups, and that share; all items twice where it is less than half a group."""
    groups = sorted({item.group for item in items})
    n_held = round(share * len(groups))
    if not items or n_held == 0:
        return list(items), list(items)
    random.Random(key).shuffle(groups)
    held = set(groups[:n_held])
    return [i for i in items if i.group not in held], [i for i in items if i.group in held]
