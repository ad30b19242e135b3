"""What may look on while answers are generated, and may end one early.

An observer takes its numbers in forward hooks of its own; this protocol only tells it which row of which forward is
which answer. `probes.watching.attach` is one.

    model.observers.append(observer)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ellora_trust.batching import Row
    from ellora_trust.decoding import Generation


class Observer(Protocol):
    """Told of every batch that a model generates.

    Attributes:
        needs_last: Whether an answer's last token must be run too, though nothing is generated after it.
    """

    needs_last: bool

    def start(self, n: int) -> None:
        """A run over `n` prompts begins."""

    def begin(self, rows: Sequence[Row], numbers: Sequence[int], n_shared: int) -> None:
        """A batch begins.

        Args:
            rows: Its prompts.
            numbers: Each row's place in the run.
            n_shared: First tokens that all rows share; they were run before, as the newest forward of one row.
        """

    def select(self, keep: Sequence[int]) -> None:
        """From the next forward on, the batch has only these of its current rows."""

    def stops(self, tokens: Sequence[Sequence[int] | None]) -> Sequence[int]:
        """Return the current rows whose answers end here, before another token is chosen.

        Args:
            tokens: What each row has generated so far, all of it run; None for finished rows.
        """
        ...

    def end(self, generations: Sequence[Generation]) -> None:
        """The batch is done; its answers, in the order of `begin`."""
