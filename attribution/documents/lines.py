"""Which lines of a training document taught an answer: the loss of each line alone against the question.

    line_scores(making, target, text)        # one number a line; they add up to the document's whole score

A line's loss is that of its own tokens given all before them. Nothing is stored for it: the few documents that matter
are read again, once for each of their lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attribution.gradient.losses import Counted, Target
from ellora_trust.spans.token_map import token_map

if TYPE_CHECKING:
    from attribution.gradient.rows import Projector


def line_scores(making: Projector, target: Target, text: str) -> NDArray[np.float32]:
    """Return the influence of each line of a text on a target, (n_lines,); zero for a line without a counted token.

    Args:
        making: What made the rows of the index.
        target: What is asked about.
        text: A training document.
    """
    lines = text.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    tokens = token_map(making.model.tokenizer, text)
    # A token belongs to the line of its first character: a line's end may be what was learnt, and its break may be one
    # token with the indent that follows.
    owners = [int(np.searchsorted(ends, start, side="right")) if end > start else -1 for start, end in tokens.offsets]
    parts = {n: Counted(tokens.ids, tuple(float(owner == n) for owner in owners)) for n in range(len(lines))}
    counted = {n: part for n, part in parts.items() if part.n_counted}
    found = np.zeros(len(lines), np.float32)
    if counted:
        rows = making.numbers(list(counted.values()))
        found[list(counted)] = (rows @ making.numbers([target])[0]).numpy()
    return found
