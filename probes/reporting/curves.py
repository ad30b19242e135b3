"""The points that figures draw: ROC and reliability.

false, true = roc(wrong, scores)
for b in reliability(wrong, risk): print(b.risk, b.rate)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from ellora_trust.stats import Estimate, wilson


@dataclass(frozen=True)
class Bin:
    """Rows of similar predicted risk.

    Attributes:
        risk: Their mean predicted risk, [0, 1].
        rate: How many were wrong, with a Wilson interval.
    """

    risk: float
    rate: Estimate


def roc(wrong: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (share of right answers flagged, share of wrong answers flagged) at every threshold."""
    false, true, _ = roc_curve(wrong, scores)
    return false, true


def reliability(wrong: np.ndarray, risk: np.ndarray, n_bins: int = 8) -> list[Bin]:
    """Return bins of equally many rows, by rising risk."""
    order = np.argsort(risk, kind="stable")
    return [
        Bin(float(risk[rows].mean()), wilson(int(wrong[rows].sum()), len(rows)))
        for rows in np.array_split(order, n_bins)
        if len(rows)
    ]
