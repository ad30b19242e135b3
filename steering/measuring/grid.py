"""The cells of a sweep: first layer, window of adjacent layers, strength.

cells = Grid(windows=(1, 3, 5), strengths=(1.0,), every=2).cells(model.arch.n_layers)
patches = [cell.patch(vector) for cell in cells]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from steering.sweep import Patch


@dataclass(frozen=True)
class Cell:
    """One way to apply a vector.

    Attributes:
        start: First layer, 0-based.
        window: Adjacent layers, each with its own direction.
        strength: How many times each direction is added.
    """

    start: int
    window: int
    strength: float

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(f"resid.{layer}" for layer in range(self.start, self.start + self.window))

    def patch(self, directions: Mapping[str, Tensor]) -> Patch:
        """Return the patch that adds these directions at the cell's layers."""
        return Patch(self.start, self.strength * torch.stack([directions[site] for site in self.sites]))

    def __str__(self) -> str:
        last = self.start + self.window - 1
        layers = f"layer {self.start}" if self.window == 1 else f"layers {self.start}-{last}"
        return f"{layers}, strength {self.strength:g}"


@dataclass(frozen=True)
class Grid:
    """Which cells are tried.

    Attributes:
        windows: Numbers of adjacent layers; the source tries 1, 3 and 5.
        strengths: Multiples of the direction, > 0; the source uses 1.
        every: Distance of first layers; 1 tries all.
    """

    windows: tuple[int, ...] = (1, 3, 5)
    strengths: tuple[float, ...] = (1.0, 2.0)
    every: int = 3

    def __post_init__(self) -> None:
        if not self.windows or not self.strengths or min(self.windows) < 1 or self.every < 1:
            raise InputError(
                f"windows {self.windows}, strengths {self.strengths}, every {self.every}: give windows and steps of at "
                "least 1, and at least one strength"
            )

    def cells(self, n_layers: int) -> list[Cell]:
        """Return the cells that fit into a model of `n_layers`.

        Raises:
            InputError: None fits.
        """
        found = [
            Cell(start, window, strength)
            for window in self.windows
            for start in range(0, n_layers - window + 1, self.every)
            for strength in self.strengths
        ]
        if not found:
            raise InputError(f"windows {self.windows} do not fit into {n_layers} layers; use smaller ones")
        return found
