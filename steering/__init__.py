"""ellora-trust's activation steering: pairs, vectors, where and when they act, and the sweep that chooses.

from steering import SteeringVector

vector = SteeringVector.fit(model, pairs, sites="resid.*")
"""

from __future__ import annotations

from steering.application import Steering, per_row
from steering.gating import Gate
from steering.vector import SteeringVector

__all__ = ["Gate", "Steering", "SteeringVector", "per_row"]
