"""Log-probability and probe together: what a user who has both should use.

score, risk = combined(probe_scores, inner_scores, confidence, wrong, folds)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.fitting.linear import centred_decision


def combined(
    probe: np.ndarray,
    inner: Sequence[np.ndarray],
    confidence: np.ndarray,
    wrong: np.ndarray,
    folds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold score and calibrated risk of a logistic regression on confidence and probe, both (n,).

    Args:
        probe: Out-of-fold scores of the probe, (n,).
        inner: For each outer fold, inner out-of-fold scores of its training rows, (n,): what the combination is fitted
            on, since scores of rows the probe has seen would look too good.
        confidence: Log-probability and entropy columns, (n, k).
        wrong: (n,).
        folds: Outer fold of each row, (n,).
    """
    scores, risk = np.empty(len(wrong)), np.empty(len(wrong))
    for fold, seen in enumerate(inner):
        train, test = folds != fold, folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(np.column_stack([seen[train], confidence[train]]), wrong[train])
        x = np.column_stack([probe[test], confidence[test]])
        scores[test] = centred_decision(model, x)
        risk[test] = model.predict_proba(x)[:, 1]
    return scores, risk
