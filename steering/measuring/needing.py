"""A gate fitted on the pairs: does this prompt need steering? And the threshold that keeps right answers right.

needs = fit_gate(wrong, right)                       # activations at the prompts' ends
threshold = choose_threshold(needs(w), recovered, needs(r), corrupted)
gate = Gate(needs, threshold, site="resid.9")
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Share of right answers that may be lost on the validation rows. The bar, 2 %, is for the upper end of an interval over
# held-out rows, so the share itself must be far lower.
MAX_CORRUPTION = 0.005


@dataclass(frozen=True)
class Needs:
    """Log-odds that a prompt is answered wrongly, linear in its activation.

    Attributes:
        weights: (d_model,), float32.
        bias: In logits.
    """

    weights: Tensor
    bias: float

    def __call__(self, activations: Tensor) -> Tensor:
        return activations.float() @ self.weights.to(activations.device) + self.bias


def fit_gate(wrong: Tensor, right: Tensor) -> Needs:
    """Fit an L2-regularised logistic regression (C = 0.01, standardised features, balanced classes).

    Args:
        wrong: Activations of prompts answered wrongly, (n_wrong, d_model).
        right: Of prompts answered rightly, (n_right, d_model).
    """
    from sklearn.linear_model import LogisticRegression

    rows = torch.cat([wrong, right]).double().numpy()
    centre, scale = rows.mean(0), rows.std(0) + 1e-12
    labels = np.repeat([1, 0], [len(wrong), len(right)])
    fitted = LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000).fit((rows - centre) / scale, labels)
    weights = fitted.coef_[0] / scale
    bias = float(fitted.intercept_[0] - weights @ centre)
    return Needs(torch.from_numpy(weights).float(), bias)


def choose_threshold(
    wrong: NDArray[np.floating],
    recovered: NDArray[np.bool_],
    right: NDArray[np.floating],
    corrupted: NDArray[np.bool_],
) -> float:
    """Return the lowest threshold at which at most `MAX_CORRUPTION` of the right answers are lost.

    Args:
        wrong: Scores of prompts answered wrongly, (n,).
        recovered: Whether steering mends each, (n,).
        right: Scores of prompts answered rightly, (m,).
        corrupted: Whether steering breaks each, (m,).

    Returns:
        A threshold; infinity, which steers nothing, where no other keeps the bound or mends anything.
    """
    best = float("inf")
    for threshold in sorted({*map(float, wrong), *map(float, right)}, reverse=True):
        if float((corrupted & (right >= threshold)).sum()) > MAX_CORRUPTION * len(right):
            break
        if (recovered & (wrong >= threshold)).any():
            best = threshold
    return best
