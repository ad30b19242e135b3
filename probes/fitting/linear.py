"""Linear error predictors: one scikit-learn pipeline for what is reported, one batched pass for what is searched.

The model is logistic regression on the leading principal components of standardised activations. `pipeline` is the
reference. `Projection` and `fit_batched` do the same for many layers, positions, strengths and label permutations at
once, which makes nested selection and a permutation test of the whole procedure affordable.

    fold = Projection.fit(x_train, n_components=32)        # x: (n_candidates, n, d)
    weights = fit_batched(fold.apply(x_train), labels, strengths=(0.01, 0.1))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

# At C <= 0.3 and some hundred rows the worst case still shrinks by a seventh a step, the usual one faster.
STEPS = 40


def pipeline(strength: float, n_components: int, seed: int) -> Pipeline:
    """Return the reference classifier: standardise, project and whiten, logistic regression.

    Args:
        strength: Inverse of the L2 penalty, scikit-learn's `C`.
        n_components: Principal components kept.
        seed: Of the randomised PCA.
    """
    return Pipeline(
        [
            ("scale", StandardScaler()),
            ("project", PCA(n_components, whiten=True, random_state=seed)),
            ("classify", LogisticRegression(C=strength, max_iter=1000)),
        ]
    )


def centred_decision(fitted: Any, x: Any) -> np.ndarray:
    """Return a fitted classifier's scores without its intercept, (n,).

    The intercept follows the training fold's base rate, which falls where the test fold's rises: pooled over folds it
    would push the AUROC of a useless predictor below 0.5.
    """
    return fitted.decision_function(x) - fitted[-1].intercept_[0]


def direction(fitted: Any) -> np.ndarray:
    """Return the pipeline's weight of raw activations, (d,), logits a unit; its intercept is left out."""
    scale, project, classify = fitted["scale"], fitted["project"], fitted["classify"]
    whitened = classify.coef_[0] / np.sqrt(project.explained_variance_)
    return (project.components_.T @ whitened) / scale.scale_


@dataclass(frozen=True)
class Projection:
    """Standardisation and whitened PCA of many candidates at once, fitted on training rows.

    Attributes:
        mean: (n_candidates, 1, d).
        components: (n_candidates, d, k); columns include the division by the standard deviations.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def fit(cls, x: Tensor, n_components: int, seed: int = 0) -> Projection:
        """Fit on (n_candidates, n, d)."""
        mean = x.mean(1, keepdim=True)
        scale = x.std(1, keepdim=True, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        generator_state = torch.random.get_rng_state()
        torch.manual_seed(seed)  # svd_lowrank takes no generator
        try:
            _, singular, right = torch.svd_lowrank((x - mean) / scale, q=n_components + 8, niter=2)
        finally:
            torch.random.set_rng_state(generator_state)
        right, singular = right[..., :n_components], singular[..., :n_components]
        deviation = singular / (x.shape[1] - 1) ** 0.5
        # Standardised features have deviations near 1; far below is rounding, which whitening would blow up.
        inverse = torch.where(deviation > 1e-3, 1 / deviation, 0.0)
        return cls(mean, right * inverse[:, None, :] / scale.transpose(1, 2))

    def apply(self, x: Tensor) -> Tensor:
        """Project (n_candidates, n, d) to (n_candidates, n, k)."""
        return (x - self.mean) @ self.components


def fit_batched(x: Tensor, labels: Tensor, strengths: Sequence[float], steps: int = STEPS) -> Tensor:
    """L2-regularised logistic regressions of every candidate, strength and labeling at once.

    Minimises scikit-learn's objective, `|w|^2 / 2 + C * sum(log-loss)`, with a free intercept, by Nesterov's method for
    strongly convex functions. On whitened features the Hessian lies between 1/C and n/4 + 1/C, so the step is known
    and a step costs two matrix products, whatever the number of labelings.

    Args:
        x: Whitened features of the training rows (centred, unit covariance), (n_candidates, n, k).
        labels: 0 or 1, (n_labelings, n).
        strengths: Values of `C`, > 0.
        steps: Of the optimiser.

    Returns:
        Weights with the intercept last, (n_candidates, n_strengths, n_labelings, k + 1).

    Source: Nesterov 2004, "Introductory lectures on convex optimization", 2.2.1; bound of the Hessian: Boehning 1992.
    """
    n_candidates, n, k = x.shape
    x = torch.cat([x, torch.ones(n_candidates, n, 1, dtype=x.dtype)], -1)
    targets = labels.to(x.dtype).repeat(len(strengths), 1)
    penalty = torch.tensor(strengths, dtype=x.dtype).reciprocal().repeat_interleave(len(labels))[:, None]
    ridge = torch.ones(k + 1, dtype=x.dtype)
    ridge[-1] = 0  # the intercept is free
    # Features are centred, so the bound of the Hessian does not couple the intercept with the rest.
    curvature = n / 4 + penalty * ridge
    condition = (1 + n / 4 / penalty).sqrt()
    momentum = (condition - 1) / (condition + 1)
    weights = ahead = torch.zeros(n_candidates, len(targets), k + 1, dtype=x.dtype)
    for _ in range(steps):
        residual = torch.sigmoid(ahead @ x.transpose(1, 2)) - targets
        new = ahead - (residual @ x + penalty * ridge * ahead) / curvature
        ahead = new + momentum * (new - weights)
        weights = new
    return weights.reshape(n_candidates, len(strengths), len(labels), k + 1)


def decide(x: Tensor, weights: Tensor) -> Tensor:
    """Return scores without the intercept, as `centred_decision`, (n_candidates, n_strengths, n_labelings, n)."""
    return torch.einsum("cnk,cspk->cspn", x, weights[..., :-1])


def batched_auroc(labels: Tensor, scores: Tensor) -> Tensor:
    """AUROC along the last dimension; labels broadcast against scores; ties count one half.

    Args:
        labels: 0 or 1, (..., n).
        scores: (..., n).
    """
    labels = labels.expand_as(scores).to(scores.dtype)
    scores = scores.contiguous()
    ordered = scores.sort(-1).values
    below, up_to = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    ranks = (below + up_to + 1).to(scores.dtype) / 2
    positive = labels.sum(-1)
    negative = labels.shape[-1] - positive
    return ((ranks * labels).sum(-1) - positive * (positive + 1) / 2) / (positive * negative)
