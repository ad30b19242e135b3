"""All patterns of data races by name.

sketch = draw_sketch("histogram", "any seed")
print(sketch.code("race"))
"""

from __future__ import annotations

import random

from ellora_trust.tasks.races.dependence import DEPENDENCE
from ellora_trust.tasks.races.draw import Draw, Sketch
from ellora_trust.tasks.races.sharing import SHARING
from ellora_trust.tasks.races.sync import SYNC

PATTERNS = {**DEPENDENCE, **SHARING, **SYNC}


def draw_sketch(pattern: str, seed: str, *, noisy: bool = True) -> Sketch:
    """Return the pair that a seed gives, with clauses and statements that change no verdict or without them."""
    return PATTERNS[pattern](Draw(random.Random(seed), noisy=noisy))
