"""What a study tries, and on how much.

Settings(method="pca", grid=Grid(every=1, strengths=(1.0,)))
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ellora_trust.errors import InputError
from ellora_trust.prompts import Format
from steering.directions import Method
from steering.measuring.grid import Grid


@dataclass(frozen=True)
class Settings:
    """What is tried and on how much.

    Attributes:
        method: How directions are fitted, as in `steering.directions`; `trained` trains those of the chosen cell.
        grid: Cells of the sweep.
        n_folds: Every pair is held out in one of these.
        n_validation: Validation pairs of a fold, at most.
        n_random: Norm-matched random directions.
        n_right: Questions answered rightly that corruption is measured on, at most.
        n_shots: Pairs that the two-example control is asked about, at most; 0 leaves it out.
        n_unrelated: Prompts that the divergence is measured on.
        seed: Of folds and random directions.
        format: How the questions are put.
    """

    method: Method | Literal["trained"] = "mean_difference"
    grid: Grid = field(default_factory=Grid)
    n_folds: int = 3
    n_validation: int = 100
    n_random: int = 10
    n_right: int = 600
    n_shots: int = 200
    n_unrelated: int = 50
    seed: int = 0
    format: Format = "auto"

    def __post_init__(self) -> None:
        if self.n_random < 10:
            raise InputError(f"{self.n_random} random directions say too little of chance; use 10 or more")
        if self.n_folds < 2:
            raise InputError(f"{self.n_folds} folds hold nothing out; use 2 or more")
