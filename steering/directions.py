"""Directions in activation space that lead from one class of activations to the other.

Every function takes matched rows, positive (x+) and negative (x-), and returns one vector in activation units; adding
it once to a negative is meant to make it positive. Directions that come without a length of their own (`pca`,
`logistic`, `whitened`) get that of the mean difference, so that one strength means one thing.

    direction = mean_difference(positive, negative)      # (d_model,)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ellora_trust.errors import InputError, one_of

Method = Literal["mean_difference", "pca", "logistic", "whitened"]


def direction(positive: Tensor, negative: Tensor, method: Method = "mean_difference") -> Tensor:
    """Return the steering direction of one site.

    Args:
        positive: Activations at positive examples, (n, d).
        negative: Of their partners, (n, d).
        method: How.

    Returns:
        In activation units, (d,), float32.

    Raises:
        InputError: An unknown method, no row, or shapes that differ.
    """
    if method not in get_args(Method):
        raise InputError(one_of(method, get_args(Method), what="steering method"))
    if positive.shape != negative.shape or positive.dim() != 2 or not len(positive):
        raise InputError(
            f"activations have shapes {tuple(positive.shape)} and {tuple(negative.shape)}; give one row a pair, at "
            "least one pair"
        )
    return _METHODS[method](positive.double(), negative.double()).float()


def mean_difference(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of the pairs' differences, (d,).

    Source: Lucchetti & Guha 2024, arXiv:2404.01903, section 3: t_l = mean(h_l(x+) - h_l(x-)), not normalised.
    """
    return (positive - negative).mean(0)


def pca(positive: Tensor, negative: Tensor) -> Tensor:
    """First principal component of the differences taken in both directions, (d,).

    With both signs of every difference the data have mean zero, as the random signs of the source have on average; the
    component is pointed from negative to positive.

    Source: Zou et al. 2023, arXiv:2310.01405, section 3.1 (linear artificial tomography).
    """
    differences = positive - negative
    _, _, right = torch.linalg.svd(differences, full_matrices=False)
    return _as_long_as_mean_difference(right[0], positive, negative)


def logistic(positive: Tensor, negative: Tensor) -> Tensor:
    """Weights of an L2-regularised logistic regression that tells positive from negative activations, (d,).

    Features are standardised for the fit (C = 0.1); the weights are taken back to activation units.

    Source: Li et al. 2023, arXiv:2306.03341, section 3.2 (probe weight direction), there on attention heads.
    """
    from sklearn.linear_model import LogisticRegression

    rows = torch.cat([positive, negative]).numpy()
    scale = rows.std(0) + 1e-12
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit((rows - rows.mean(0)) / scale, labels)
    return _as_long_as_mean_difference(torch.from_numpy(fitted.coef_[0] / scale), positive, negative)


def whitened(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean difference times the inverse within-class covariance (Ledoit-Wolf), (d,): Fisher's direction.

    It is the direction whose linear readout LEACE erases; the difference itself is what LEACE removes along.

    Source: Belrose et al. 2023, arXiv:2306.03819, theorem 4.3 for two classes.
    """
    from sklearn.covariance import LedoitWolf

    centred = torch.cat([positive - positive.mean(0), negative - negative.mean(0)]).numpy()
    precision = torch.from_numpy(LedoitWolf(assume_centered=True).fit(centred).precision_)
    return _as_long_as_mean_difference(precision @ mean_difference(positive, negative), positive, negative)


def _as_long_as_mean_difference(found: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    target = mean_difference(positive, negative)
    sign = -1.0 if found @ target < 0 else 1.0
    return sign * found / found.norm().clamp_min(1e-12) * target.norm()


_METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean_difference": mean_difference,
    "pca": pca,
    "logistic": logistic,
    "whitened": whitened,
}


def random_like(given: Tensor, generator: torch.Generator) -> Tensor:
    """Return an isotropic random vector with the norm of `given`, (d,): the control that has its length only."""
    drawn = torch.randn(given.shape, generator=generator, dtype=torch.float64)
    return (drawn / drawn.norm() * given.double().norm()).float()


def shuffled(positive: Tensor, negative: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean difference after swapping a random half of the pairs: the control that saw the same data.

    Half the pairs (rounded down) are swapped, so what the two classes have apart cancels up to one pair.
    """
    signs = torch.ones(len(positive), 1, dtype=torch.float64)
    signs[torch.randperm(len(positive), generator=generator)[: len(positive) // 2]] = -1
    return ((positive.double() - negative.double()) * signs).mean(0).float()
