"""Which lines of a training document taught an answer: the loss of each line alone against the question.

    line_scores(making, target, text)        # one number a line; they add up to the document's whole score

A line's loss is that of its own tokens given all before them. Nothing is stored for it: the few documents that matter
are read again, once each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attribution.gradient.directional import token_products
from attribution.gradient.losses import Target
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
    if len(tokens.ids) < 2:  # nothing is predicted
        return np.zeros(len(lines), np.float32)
    # A token belongs to the line of its first character: a line's end may be what was learnt, and its break may be one
    # token with the indent that follows.
    owners = [int(np.searchsorted(ends, start, side="right")) for start, end in tokens.offsets if end > start]
    textual = [number for number, (start, end) in enumerate(tokens.offsets) if end > start]
    products = token_products(making, making.numbers([target])[0], tokens.ids)[textual]
    return np.bincount(owners, products.numpy(), minlength=len(lines)).astype(np.float32)
