"""How much an edit may cost, and when it must stop.

Budget(steps=60, batch_size=16, learning_rate=1e-4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ellora_trust.errors import InputError


@dataclass(frozen=True)
class Budget:
    """The length and the limits of an edit."""

    steps: int = 60
    """Optimizer steps at most."""
    batch_size: int = 16
    """Items to forget in a step."""
    retain_batch_size: int = 8
    """Items to keep in a step, for objectives that use them."""
    learning_rate: float = 2e-4
    """Of AdamW, after warming up over a tenth of the steps; constant."""
    retain_weight: float = 1.0
    """Of the retain loss; where it is constrained, what its multiplier starts from."""
    retain_bound: float = 0.02
    """Rise of the retain loss that is allowed, nats a token, where the objective holds a bound."""
    collapse: float = 0.5
    """Rise on held-out retain items, nats a token, at which an edit is stopped and its last good state kept."""
    holdout: float = 0.2
    """Share of the groups of either set that are not trained on but watched, [0, 0.5]; 0 watches what is trained on."""
    check_every: int = 10
    """Steps between looks at the held-out items, each of which also saves the state."""
    clip: float = 1.0
    """Norm at which gradients are clipped."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "retain_batch_size", "check_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} is out of range; use 1 or more")
        if not (self.learning_rate > 0 and self.clip > 0 and self.collapse > 0):
            raise InputError(
                f"learning_rate={self.learning_rate}, clip={self.clip}, collapse={self.collapse} must be above 0"
            )
        # Not `< 0`: that would let nan through.
        if not (0 <= self.retain_weight < math.inf and 0 <= self.retain_bound < math.inf):
            raise InputError(
                f"retain_weight={self.retain_weight}, retain_bound={self.retain_bound} must be finite and not negative"
            )
        if not 0 <= self.holdout <= 0.5:
            raise InputError(f"holdout={self.holdout} is out of range; use 0..0.5")

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        warmup = max(1, self.steps // 10)
        return self.learning_rate * min(1.0, (step + 1) / warmup)
