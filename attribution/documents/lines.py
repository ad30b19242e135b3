"""Which lines of a training document taught an answer: the loss of each line alone against the question.

    (row,) = making.numbers([target])
    line_scores(making, row, text)           # one number a line; they add up to the document's whole score

A line's loss is that of its own tokens given all before them. Nothing is stored for it: the few documents that matter
are read again, once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attribution.gradient.directional import token_products
from attribution.gradient.losses import Counted
from ellora_trust.spans.token_map import token_map

if TYPE_CHECKING:
    from attribution.gradient.rows import Projector


def line_scores(making: Projector, row: Tensor, text: str) -> NDArray[np.float32]:
    """Return the influence of each line of a text on a question, (n_lines,); 0 for one without counted tokens.

    Args:
        making: What made the rows of the index.
        row: Of what is asked about, from `making.numbers`.
        text: A training document.
    """
    lines = text.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    tokens = token_map(making.model.tokenizer, text)
    if len(tokens.ids) < 2:  # nothing is predicted
        return np.zeros(len(lines), np.float32)
    # A token belongs to the line of its first character: a line's end may be what was learnt, and its break may be one
    # token with the indent that follows.
    starts, stops = np.array(tokens.offsets).T
    owners = np.where(stops > starts, np.searchsorted(ends, starts, side="right"), -1)
    try:
        products = token_products(making, row, tokens.ids)
    except NotImplementedError:  # a kernel that can be followed backwards only
        return _by_backward(making, row, tokens.ids, owners, len(lines))
    textual = owners >= 0
    return np.bincount(owners[textual], products.numpy()[textual], minlength=len(lines)).astype(np.float32)


def _by_backward(
    making: Projector, row: Tensor, ids: Sequence[int], owners: NDArray[np.intp], n_lines: int
) -> NDArray[np.float32]:
    """The same by a backward for each line."""
    parts = {n: Counted(tuple(ids), tuple(float(owner == n) for owner in owners)) for n in range(n_lines)}
    counted = {n: part for n, part in parts.items() if part.n_counted}
    found = np.zeros(n_lines, np.float32)
    if counted:
        found[list(counted)] = (making.numbers(list(counted.values())) @ row).numpy()
    return found
