"""A sparse combination over layers: L1 logistic regression on the scores of the one-layer probes.

Fitted on scores of rows that the one-layer probes were not fitted on (stacking), so that a probe that overfits gets no
weight for it.

    stack = SparseStack.fit(held_out, wrong, folds)         # held_out: (n_candidates, n)
    stack.decision(scores)                                  # (n,)

Source: stacked generalisation: Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1; L1: Tibshirani 1996.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from ellora_trust.stats import auroc

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class SparseStack:
    """Weights of one-layer scores.

    Attributes:
        weight: (n_candidates,), logits a unit of score; mostly 0.
        strength: scikit-learn's `C` that was chosen.
        inner_auroc: Cross-validated AUROC of that choice.
    """

    weight: np.ndarray
    strength: float
    inner_auroc: float

    @classmethod
    def fit(cls, held_out: np.ndarray, wrong: np.ndarray, folds: np.ndarray) -> SparseStack:
        """Choose the strength by cross-validation, then fit on all rows.

        Args:
            held_out: Each candidate's scores of rows it was not fitted on, (n_candidates, n).
            wrong: 0 or 1, (n,).
            folds: Fold of each row, groups whole, (n,).
        """
        columns = held_out.T.astype(np.float64)
        scale = columns.std(0)
        columns = columns / np.where(scale > 0, scale, 1)
        quality = [auroc(wrong, _crossfitted(columns, wrong, folds, strength)) for strength in STRENGTHS]
        best = int(np.argmax(quality))
        weight = _fitted(columns, wrong, STRENGTHS[best]) / np.where(scale > 0, scale, 1)
        return cls(weight, STRENGTHS[best], quality[best])

    @property
    def n_used(self) -> int:
        """How many candidates have a weight."""
        return int((self.weight != 0).sum())

    def decision(self, scores: np.ndarray) -> np.ndarray:
        """Return the combined score, (n,), higher is riskier; without an intercept.

        Args:
            scores: Of each candidate, (n_candidates, n).
        """
        return self.weight @ scores


def _crossfitted(columns: np.ndarray, wrong: np.ndarray, folds: np.ndarray, strength: float) -> np.ndarray:
    scores = np.empty(len(wrong))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        scores[test] = columns[test] @ _fitted(columns[train], wrong[train], strength)
    return scores


def _fitted(columns: np.ndarray, wrong: np.ndarray, strength: float) -> np.ndarray:
    # liblinear penalises the intercept too; the scaling makes that penalty negligible.
    model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", intercept_scaling=100, max_iter=1000)
    return model.fit(columns - columns.mean(0), wrong).coef_[0]
