"""The one hook of an attached probe, and the token scores it leaves behind.

A forward costs one dot product a token. Scores stay on the device until somebody reads them.

    tap = Tap(arch, site, weight, bias)
    with tap.attached():
        hf(input_ids, attention_mask=mask)
    tap.trace.table()            # (batch, tokens of the longest text), logits; NaN where there is no token
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ellora_trust.architecture import Architecture
from ellora_trust.hooks import TokenClock
from ellora_trust.sites import Site, visit

# Values of a half-precision activation converted to float32 at once; a long prompt's are converted in pieces.
_AT_ONCE = 2**24


@dataclass(frozen=True)
class Chunk:
    """What one forward gave, on the host.

    Attributes:
        scores: In logits, (rows, tokens).
        positions: Index of each token in its own text, (rows, tokens); -1 in padding.
        rows: Which row of the trace each row is.
    """

    scores: np.ndarray
    positions: np.ndarray
    rows: np.ndarray


class Trace:
    """Token scores of one batch, forward by forward.

    Attributes:
        chunks: What was read to the host so far.
        rows: Which rows of the batch the coming forwards have; None means all.
    """

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.rows: list[int] | None = None
        self._pending: list[tuple[Tensor, Tensor, list[int] | None]] = []
        self._table = np.empty((0, 0))

    def __len__(self) -> int:
        """Forwards so far."""
        return len(self.chunks) + len(self._pending)

    def add(self, scores: Tensor, positions: Tensor) -> None:
        """Keep one forward's scores, (rows, tokens), where they are."""
        self._pending.append((scores, positions, self.rows))

    def select(self, keep: Sequence[int]) -> None:
        """The coming forwards have only these of the current rows."""
        self.rows = [k if self.rows is None else self.rows[k] for k in keep]

    def drain(self) -> None:
        """Bring what the device holds to the host, in one transfer."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        scores = torch.cat([s.flatten() for s, _, _ in pending]).cpu().double().numpy()
        positions = torch.cat([p.flatten() for _, p, _ in pending]).cpu().numpy()
        at = 0
        for given, _, rows in pending:
            shape, end = tuple(given.shape), at + given.numel()
            numbers = np.arange(shape[0]) if rows is None else np.array(rows)
            chunk = Chunk(scores[at:end].reshape(shape), positions[at:end].reshape(shape), numbers)
            self.chunks.append(chunk)
            self._table = _written(self._table, chunk.rows, chunk.scores, chunk.positions)
            at = end

    def table(self) -> np.ndarray:
        """Return the score of every token by its index in its own text, (rows, longest), NaN where none was read."""
        self.drain()
        return self._table

    def along(self, lineage: np.ndarray) -> np.ndarray:
        """Return the same for texts that moved between rows, as beams do.

        Args:
            lineage: Row of each text in each forward, (texts, forwards); -1 where the text took no part.
        """
        self.drain()
        table = np.empty((len(lineage), 0))
        for chunk, rows in zip(self.chunks, lineage.T, strict=False):
            texts = np.flatnonzero(rows >= 0)
            table = _written(table, texts, chunk.scores[rows[texts]], chunk.positions[rows[texts]])
        return table


def _written(table: np.ndarray, rows: np.ndarray, scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Write scores to their rows and positions, in a larger table where they do not fit."""
    n_rows, width = int(rows.max(initial=-1)) + 1, int(positions.max(initial=-1)) + 1
    if n_rows > table.shape[0] or width > table.shape[1]:
        # Doubling keeps a long answer, token by token, linear.
        larger = np.full((max(n_rows, table.shape[0]), max(width, 2 * table.shape[1])), np.nan)
        larger[: table.shape[0], : table.shape[1]] = table
        table = larger
    row, column = np.nonzero(positions >= 0)
    table[rows[row], positions[row, column]] = scores[row, column]
    return table


class _Clock(TokenClock):
    """Also notices whether a forward goes on from a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: Any = None

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.cache = kwargs.get("past_key_values")
        super()._read(module, args, kwargs)


class Enough(Exception):
    """Ends a forward whose rest nobody needs."""


class Tap:
    """Scores each token at the probe's site as it passes; changes nothing.

    Attributes:
        trace: Where scores go. Outside of a batch that somebody opened, each forward without a filled cache begins
            a new one.
        open: Whether somebody has opened a batch.
        only_this: Whether forwards are run for the scores alone, and end with `Enough` once these are there.
    """

    def __init__(self, arch: Architecture, site: Site, weight: Tensor, bias: float):
        self.trace = Trace()
        self.open = False
        self.only_this = False
        self.clock = _Clock()
        self._arch, self._site, self._bias = arch, site, bias
        self._weight = weight

    @contextmanager
    def attached(self) -> Iterator[Tap]:
        """Register the hooks; they are gone afterwards, also after an exception."""
        with ExitStack() as stack:
            stack.callback(self.clock.attach(self._arch.owner).remove)
            self.clock.on_tick = self._tick
            stack.callback(visit(self._arch, self._site, self._score).remove)
            yield self

    def close(self) -> None:
        """Belong to nobody's batch any more, and hold no cache."""
        self.trace, self.open, self.clock.cache = Trace(), False, None

    @contextmanager
    def into(self, trace: Trace, *, only_this: bool = False) -> Iterator[None]:
        """Send the scores of forwards inside the `with` to this trace; with `only_this` the first one ends it."""
        before = self.trace, self.open, self.only_this
        self.trace, self.open, self.only_this = trace, True, only_this
        try:
            yield
        except Enough:
            pass
        finally:
            self.trace, self.open, self.only_this = before

    def _tick(self) -> None:
        cache = self.clock.cache
        if not self.open and (cache is None or int(cache.get_seq_length()) == 0):
            self.trace = Trace()

    def _score(self, hidden: Tensor) -> None:
        positions = self.clock.positions
        hidden = hidden.detach()
        scores = (self._dot(hidden) + self._bias).reshape(positions.shape)
        if self.open and self.clock.cache is None and len(self.trace):
            # Without a cache every forward reads the whole text again; only the last column is new.
            scores, positions = scores[:, -1:], positions[:, -1:]
        self.trace.add(scores, positions)
        if self.only_this:
            raise Enough

    def _dot(self, hidden: Tensor) -> Tensor:
        dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        if self._weight.device != hidden.device or self._weight.dtype != dtype:
            self._weight = self._weight.to(hidden.device, dtype)
        if hidden.dtype == dtype or hidden.numel() <= _AT_ONCE:
            return hidden.to(dtype) @ self._weight
        pieces = hidden.flatten(0, -2).split(_AT_ONCE // hidden.shape[-1])
        return torch.cat([piece.to(dtype) @ self._weight for piece in pieces])
