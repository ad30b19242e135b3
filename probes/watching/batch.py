"""Rows that are generated together: which answer each is, where its prompt ends, and its scores so far.

batch = Batch(Trace())
batch.values(0)[batch.n_prompt(0) :]        # scores of the first row's answer, logits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from probes.watching.trace import Trace


@dataclass
class Batch:
    """Rows that run together.

    Attributes:
        trace: Their scores.
        numbers: Each row's number in the call; None where rows are answers in order.
        beams: Whether rows are beams, which are no answers yet.
        n_columns: Columns of the first forward that are prompt; None means all.
        n_prompts: Tokens of each row's prompt; counted in the first forward where it is empty.
        prefix: Scores of first tokens that were run before, for all rows.
        lengths: Tokens written, by row, where somebody told.
        ended: Rows that are done.
    """

    trace: Trace
    numbers: Sequence[int] | None = None
    beams: bool = False
    n_columns: int | None = None
    n_prompts: list[int] = field(default_factory=list)
    prefix: np.ndarray = field(default_factory=lambda: np.empty(0))
    lengths: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def values(self, row: int) -> np.ndarray:
        """Return the scores of a row's text so far, (n_tokens,)."""
        table = self.trace.table()
        return text_scores(table[row], self.prefix)[: self._end(row)]

    def _end(self, row: int) -> int | None:
        return self.n_prompt(row) + self.lengths[row] if row in self.lengths else None

    def n_prompt(self, row: int) -> int:
        """Return how many tokens the row's prompt has."""
        if not self.n_prompts:
            self.trace.drain()
            self.n_prompts = (self.trace.chunks[0].positions[:, : self.n_columns].max(1) + 1).tolist()
        return self.n_prompts[row]

    def number(self, row: int) -> int:
        """Return the number of a row's answer in the call."""
        return row if self.numbers is None else self.numbers[row]


def text_scores(row: np.ndarray, prefix: np.ndarray | None = None) -> np.ndarray:
    """Return a table's row up to its last token, its first ones taken from a shared prefix."""
    values = row.copy()
    if prefix is not None:
        values[: len(prefix)] = prefix
    return values[: int(np.flatnonzero(~np.isnan(values)).max(initial=-1)) + 1]
