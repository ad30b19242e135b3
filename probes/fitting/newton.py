"""Exact L2-regularised logistic regression on all features, for many strengths and labelings of one set at once.

`probes.fitting.linear` fits on a few whitened components, which is what a small labelled set carries. This fits on
every standardised feature and runs until the gradient vanishes: for thousands of rows, where components throw signal
away, and for shares of wrong answers instead of verdicts.

    fits = fit_exact(x, labels, strengths=(0.001, 0.01))       # x: (n_candidates, n, d), labels: (n_labelings, n)
    fits.predict(x_new)                                        # (n_candidates, n_strengths, n_labelings, n_new)

All strengths and labelings of a candidate share every product with its features, and one eigendecomposition of their
Gram matrix preconditions all of them.

Source: Newton's method with truncated conjugate gradients: Dembo & Steihaug 1983, doi:10.1007/BF02592055.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ellora_trust.errors import InputError
from probes.fitting.newton_step import Curvature

# Weights end within this times sqrt(C) of the minimum; for d = 576 and C = 10 that is 1e-5 in a margin.
TOLERANCE = 1e-7
MAX_STEPS = 100
# Armijo's constant, and how far the objective may rise by rounding, as a share of it.
_DECREASE, _ROUNDING = 1e-4, 1e-12
_MAX_HALVINGS = 40


@dataclass(frozen=True)
class ExactFits:
    """Fitted logistic regressions, float64.

    Attributes:
        mean: Of the training rows, (n_candidates, d).
        weight: Of centred raw features, logits a unit, (n_candidates, n_strengths, n_labelings, d).
        intercept: Logits, (n_candidates, n_strengths, n_labelings).
        gradient: Norm of the gradient of `|w|^2 / 2 + C * sum(log-loss)`, over C, at the end; same shape.
        steps: Newton steps that each candidate took, (n_candidates,).
    """

    mean: Tensor
    weight: Tensor
    intercept: Tensor
    gradient: Tensor
    steps: Tensor

    def decision(self, x: Tensor) -> Tensor:
        """Return scores without the intercept, as `linear.decide`, (n_candidates, n_strengths, n_labelings, n).

        Args:
            x: Raw features, (n_candidates, n, d).
        """
        weight = self.weight.flatten(1, 2)
        centred = x.to(weight.dtype) - self.mean[:, None]
        return (weight @ centred.transpose(1, 2)).unflatten(1, self.weight.shape[1:3])

    def predict(self, x: Tensor) -> Tensor:
        """Return probabilities of label 1, [0, 1], shaped as `decision`."""
        return torch.sigmoid(self.decision(x) + self.intercept[..., None])


def fit_exact(
    x: Tensor,
    labels: Tensor,
    strengths: Sequence[float],
    *,
    row_weights: Tensor | None = None,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> ExactFits:
    """Fit every candidate, strength and labeling to the minimum of scikit-learn's objective.

    Features are standardised by the training rows. The intercept is free. A fit ends when the norm of its gradient is
    at most `tolerance * sqrt(1/C)`, in float64. The Hessian is at least 1/C in every direction of the weights, so they
    are then within `tolerance * sqrt(C)` of the minimum's for this intercept.

    Args:
        x: Raw features, (n_candidates, n, d), any float dtype.
        labels: Shares of label 1 in [0, 1], (n_labelings, n); 0 and 1 where each row is one verdict.
        strengths: Values of scikit-learn's `C`, > 0.
        row_weights: How often each row counts, (n,), > 0, as scikit-learn's `sample_weight`; the standardisation does
            not use it. None counts each once.
        tolerance: See above, > 0.
        max_steps: Newton steps at most.

    Raises:
        InputError: Shapes, labels, weights or strengths out of range, a labeling with one class, features that are not
            finite, or no convergence.
    """
    targets, counts = _checked(x, labels, strengths, row_weights)
    found = [_fit_one(one, targets, strengths, counts, tolerance=tolerance, max_steps=max_steps) for one in x]
    return ExactFits(*(torch.stack(part) for part in zip(*found, strict=True)))


def _checked(
    x: Tensor, labels: Tensor, strengths: Sequence[float], row_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    targets = torch.as_tensor(labels, dtype=torch.float64)
    if x.dim() != 3 or not x.numel() or targets.dim() != 2 or targets.shape[1] != x.shape[1] or not len(targets):
        raise InputError(
            f"features {tuple(x.shape)} and labels {tuple(targets.shape)} do not fit; give (n_candidates, n, d) and "
            "(n_labelings, n)"
        )
    n = x.shape[1]
    counts = torch.ones(n, dtype=torch.float64) if row_weights is None else row_weights.to(torch.float64)
    if counts.shape != (n,) or not (counts > 0).all():
        raise InputError(f"row_weights have shape {tuple(counts.shape)} for {n} rows; give one number > 0 a row")
    if not len(strengths) or not all(0 < strength < float("inf") for strength in strengths):
        raise InputError(f"strengths are {tuple(strengths)}; give at least one finite number > 0")
    if not ((targets >= 0) & (targets <= 1)).all():
        raise InputError("some labels are outside [0, 1]; give 0 and 1, or the share of wrong answers")
    share = targets.mean(1)
    if ((share == 0) | (share == 1)).any():
        raise InputError("a labeling has one class only, so its intercept has no finite value; give both classes")
    if not torch.isfinite(x).all():
        raise InputError("some features are not finite; leave out those rows, or load the model in float32")
    return targets, counts


def standardised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return float64 (n, d) with mean 0 and deviation 1, the means, and the deviations; constants become 0.

    Args:
        x: (n, d).
    """
    x = x.to(torch.float64)
    mean = x.mean(0)
    centred = x - mean
    scale = centred.square().mean(0).sqrt()
    # The mean of equal numbers is off by some roundings, which must not be blown up to a deviation of 1.
    scale[scale <= 10 * torch.finfo(x.dtype).eps * mean.abs()] = float("inf")
    return centred.div_(scale), mean, scale


def _fit_one(
    x: Tensor, targets: Tensor, strengths: Sequence[float], counts: Tensor, *, tolerance: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The five parts of `ExactFits` for one candidate, (n, d)."""
    z, mean, scale = standardised(x)
    basis = None
    if z.shape[0] < z.shape[1]:
        # The minimum lies in the span of the rows; in an orthonormal basis of it the penalty is what it was.
        basis, coordinates = torch.linalg.qr(z.T)
        z = coordinates.T.contiguous()
    penalty = torch.tensor(strengths, dtype=z.dtype).reciprocal().repeat_interleave(len(targets))[:, None]
    fit = _Newton(z, targets.repeat(len(strengths), 1), penalty, counts)
    fit.run(tolerance, max_steps)
    weight = fit.weight if basis is None else fit.weight @ basis.T
    shape = (len(strengths), len(targets))
    return (
        mean,
        (weight / scale).unflatten(0, shape),
        fit.intercept.reshape(shape),
        fit.gradient_norm.reshape(shape),
        torch.tensor(fit.steps),
    )


class _Newton:
    """All fits on one standardised matrix; one row a fit. Margins are kept, so a step's length costs no product."""

    def __init__(self, z: Tensor, targets: Tensor, penalty: Tensor, counts: Tensor):
        self.z, self.targets, self.penalty, self.counts = z, targets, penalty, counts
        self.steps = 0
        base = (targets * counts).sum(1, keepdim=True) / counts.sum()
        self.weight = torch.zeros(len(targets), z.shape[1], dtype=z.dtype)
        self.intercept = torch.logit(base)
        self.margins = self.intercept.expand(-1, len(z)).clone()
        self.gradient_norm = torch.empty(len(targets), dtype=z.dtype)
        self.curvature = Curvature(z, penalty)

    def run(self, tolerance: float, max_steps: int) -> None:
        limit = tolerance * self.penalty.sqrt()[:, 0]
        rows = torch.arange(len(limit))
        while True:
            gradient, bend = self._derivatives(rows)
            self.gradient_norm[rows] = gradient.norm(dim=1)
            open_fits = self.gradient_norm[rows] > limit[rows]
            rows = rows[open_fits]
            if not len(rows):
                return
            if self.steps == max_steps:
                raise InputError(
                    f"{len(rows)} of {len(limit)} fits did not converge in {max_steps} Newton steps; give smaller "
                    "strengths, a larger tolerance or more steps"
                )
            self._step(rows, gradient[open_fits], bend[open_fits])
            self.steps += 1

    def _derivatives(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the objective, (n_rows, d + 1), and second derivative of each loss, (n_rows, n)."""
        probability = torch.sigmoid(self.margins[rows])
        residual = (probability - self.targets[rows]) * self.counts
        by_weight = residual @ self.z + self.penalty[rows] * self.weight[rows]
        bend = probability * (1 - probability) * self.counts
        return torch.cat([by_weight, residual.sum(1, keepdim=True)], 1), bend

    def _objective(self, rows: Tensor, margins: Tensor, weight: Tensor) -> Tensor:
        """`|w|^2 / (2 C) + sum(log-loss)`, (n_rows, 1)."""
        targets = self.targets[rows]
        # Two terms >= 0: softplus(m) - y * m would cancel where rows are fitted well, and no step could be judged.
        loss = targets * softplus(-margins) + (1 - targets) * softplus(margins)
        return (loss * self.counts).sum(1, keepdim=True) + self.penalty[rows] * weight.square().sum(1, keepdim=True) / 2

    def _step(self, rows: Tensor, gradient: Tensor, bend: Tensor) -> None:
        """Newton's step for the fits that are not done, each as long as its objective allows."""
        step = self.curvature.solve(bend, gradient, rows)
        margins, weight = self.margins[rows], self.weight[rows]
        along = step[:, :-1] @ self.z.T + step[:, -1:]
        slope = (gradient * step).sum(1, keepdim=True)
        before = self._objective(rows, margins, weight)
        length = torch.ones_like(before)
        for _ in range(_MAX_HALVINGS):
            after = self._objective(rows, margins + length * along, weight + length * step[:, :-1])
            too_long = after > before + _DECREASE * length * slope + _ROUNDING * before.abs()
            if not too_long.any():
                break
            length = torch.where(too_long, length / 2, length)
        self.weight[rows] = weight + length * step[:, :-1]
        self.intercept[rows] += length * step[:, -1:]
        self.margins[rows] = margins + length * along
