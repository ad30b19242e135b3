"""Readouts that are one direction a candidate: mass-mean, whitened mass-mean, logistic regression on all features.

Each is a function of training rows that returns `Directions`; none searches for anything but the direction.

    fitted = mass_mean(x, wrong, settings)            # x: (n_candidates, n, d)
    fitted.decision(x_new)                            # (n_candidates, n_options, n_new)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from probes.fitting.linear import Projection
from probes.fitting.newton import fit_exact
from probes.fitting.selection import Settings, components

# For standardised features, whose leading components have variances far above 1: smaller than for whitened ones.
STRENGTHS_OF_ALL = (1e-4, 1e-3, 1e-2)
# Eigenvalues below this count as 0, as in the authors' code; ours are of features with variance 1.
_SINGULAR = 1e-3


@dataclass(frozen=True)
class Directions:
    """Linear scores at each candidate, for each option of the fit.

    Attributes:
        mean: Of the training rows, (n_candidates, d).
        weight: (n_candidates, n_options, d).
    """

    mean: Tensor
    weight: Tensor

    def decision(self, x: Tensor) -> Tensor:
        """Return scores, higher is riskier, (n_candidates, n_options, n), float32; without an intercept.

        Args:
            x: (n_candidates, n, d).
        """
        return self.weight.to(torch.float32) @ (x - self.mean[:, None].to(x.dtype)).transpose(1, 2)


Fit = Callable[[Tensor, Tensor, Settings], Directions]


def mass_mean(x: Tensor, wrong: Tensor, settings: Settings) -> Directions:
    """Return the difference of the class means of raw activations, wrong minus right.

    Args:
        x: Training rows, (n_candidates, n, d).
        wrong: 0 or 1, (n,).
        settings: Not used; every fit takes them.

    Raises:
        InputError: One class only.

    Source: Marks & Tegmark 2023, arXiv:2310.06824, section on mass-mean probing: p(x) = sigmoid(theta' x) with theta
        the difference of means.
    """
    wrong_mean, right_mean = _class_means(x, wrong)
    return Directions(x.mean(1), (wrong_mean - right_mean)[:, None])


def whitened_mass_mean(x: Tensor, wrong: Tensor, settings: Settings) -> Directions:
    """Return the difference of class means times the inverse of the pooled within-class covariance.

    Args:
        x: Training rows, (n_candidates, n, d).
        wrong: 0 or 1, (n,).
        settings: Number of components and seed.

    Raises:
        InputError: One class only.

    Source: Marks & Tegmark 2023, arXiv:2310.06824: p(x) = sigmoid(theta' Sigma^-1 x), Sigma the covariance of the rows
        after each class's mean is taken away; it is Fisher's discriminant. They invert it in all d dimensions; here it
        is that of the leading principal components of standardised features, since it is singular for n < d.
    """
    projection = Projection.fit(x, components(settings, x.shape[1], x.shape[2]), settings.seed)
    z = projection.apply(x)
    wrong_mean, right_mean = _class_means(z, wrong)
    within = z - torch.where(wrong[None, :, None] == 1, wrong_mean[:, None], right_mean[:, None])
    covariance = within.transpose(1, 2) @ within / z.shape[1]
    inverse = torch.linalg.pinv(covariance, atol=_SINGULAR, hermitian=True)
    weight = projection.components @ (inverse @ (wrong_mean - right_mean)[..., None])
    return Directions(projection.mean[:, 0], weight.transpose(1, 2))


def logistic_on_all(x: Tensor, wrong: Tensor, settings: Settings) -> Directions:
    """Return logistic regressions on all standardised features, an option for each of `STRENGTHS_OF_ALL`.

    Args:
        x: Training rows, (n_candidates, n, d).
        wrong: 0 or 1, (n,).
        settings: Not used: its strengths are for whitened components.

    Raises:
        InputError: One class only.
    """
    fits = fit_exact(x, wrong[None], STRENGTHS_OF_ALL)
    return Directions(fits.mean, fits.weight[:, :, 0])


def _class_means(x: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    if len(wrong.unique()) < 2:
        raise InputError("the training rows have one class only; a difference of means needs both")
    return x[:, wrong == 1].mean(1), x[:, wrong == 0].mean(1)
