"""Which part of the work is this process's: `--shard 2/4` by hand, or what torchrun and accelerate say.

    share = Share.parse("2/4")          # the second of four, as in a SLURM array; None reads RANK and WORLD_SIZE
    [n for n in range(10) if share.has(n)]

Shares are disjoint and together everything. Processes do not talk to each other: each writes its own files, and the one
that finds all of them there finishes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ellora_trust.errors import InputError


@dataclass(frozen=True)
class Share:
    """Every `of`-th item, beginning with `index`."""

    index: int = 0
    """From 0."""
    of: int = 1

    def __post_init__(self) -> None:
        if self.of < 1 or not 0 <= self.index < self.of:
            raise InputError(f"share {self.index + 1}/{self.of} does not exist; use 1/{max(self.of, 1)} and the like")

    @classmethod
    def parse(cls, text: str | None) -> Share:
        """Read `i/n`, i from 1; without it the launcher's RANK and WORLD_SIZE, or everything.

        Raises:
            InputError: Not of that form, or i outside 1..n.
        """
        if text is None:
            return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal()):
            raise InputError(f"{text!r} is not a share of the work; use i/n, such as 1/4 to 4/4")
        return cls(int(index) - 1, int(of))

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        return f"{self.index + 1}/{self.of}"

    def has(self, number: int) -> bool:
        """Whether the item of this number, from 0, is in the share."""
        return number % self.of == self.index


ALL = Share()
