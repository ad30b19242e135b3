"""Newton steps of many logistic regressions on one matrix, by preconditioned conjugate gradients.

The Hessian of fit i is Z' diag(b_i) Z + 1/C_i, b_i = p (1 - p) of its rows. The preconditioner replaces b_i by its
mean, so one eigendecomposition of Z'Z serves all fits, and a solve needs a handful of products with Z.

    step = Curvature(z, penalty).solve(bend, gradient, rows)
"""

from __future__ import annotations

import torch
from torch import Tensor

# A step solved this well gains three digits; the next one starts from a gradient in float64, so no digit is lost.
_PRECISION = 1e-3
_MAX_PRODUCTS = 300


def _eigen(z: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors of z'z, float32.

    In float32 LAPACK now and then gives up where most eigenvalues are zero, as for embeddings of a few tokens; float64
    takes twice the time and does not.
    """
    single = z.to(torch.float32)
    try:
        values, vectors = torch.linalg.eigh(single.T @ single)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]  # documented, yet not exported
        values, vectors = torch.linalg.eigh(z.T @ z)
    return values.to(torch.float32), vectors.to(torch.float32)


class Curvature:
    """Solves with the Hessians of all fits, in float32: a step only has to point well, the caller's float64 decides.

    Args:
        z: Standardised features, (n, d), float64.
        penalty: 1/C of each fit, (n_fits, 1).
    """

    def __init__(self, z: Tensor, penalty: Tensor):
        self._z = z.to(torch.float32)
        self._penalty = penalty.to(torch.float32)
        eigenvalues, self._vectors = _eigen(z)
        self._eigenvalues = eigenvalues.clamp_min(0)

    def solve(self, bend: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """Return the steps that Newton's method takes, (n_rows, d + 1), in the dtype of `gradient`.

        Args:
            bend: Second derivative of each row's loss, > 0, (n_rows, n).
            gradient: Weights, then the intercept, (n_rows, d + 1).
            rows: Which fits these are, (n_rows,).
        """
        # Scaled to norm 1: late gradients would underflow in products of squares.
        scale = gradient.norm(dim=1, keepdim=True)
        left = -(gradient / scale).to(torch.float32)
        bend, penalty = bend.to(torch.float32), self._penalty[rows]
        solved = torch.zeros_like(left)
        # What follows holds the fits that are not solved yet; those that are leave, since each row costs products.
        fits, step = torch.arange(len(left)), torch.zeros_like(left)
        direction = ahead = self._precondition(left, bend, penalty)
        gain = _dot(left, ahead)
        for _ in range(_MAX_PRODUCTS):
            product = self._product(direction, bend, penalty)
            length = _ratio(gain, _dot(direction, product))
            step, left = step + length * direction, left - length * product
            solved[fits] = step
            keep = left.norm(dim=1) > _PRECISION
            if not keep.any():
                break
            if not keep.all():
                fits, step, left, direction = fits[keep], step[keep], left[keep], direction[keep]
                bend, penalty, gain = bend[keep], penalty[keep], gain[keep]
            ahead = self._precondition(left, bend, penalty)
            before, gain = gain, _dot(left, ahead)
            direction = ahead + _ratio(gain, before) * direction
        return solved.to(gradient.dtype) * scale

    def _product(self, v: Tensor, bend: Tensor, penalty: Tensor) -> Tensor:
        """Hessian times v. Fits are rows, not columns: with few fits the products then take a quarter of the time."""
        bent = bend * (v[:, :-1] @ self._z.T + v[:, -1:])
        return torch.cat([bent @ self._z + penalty * v[:, :-1], bent.sum(1, keepdim=True)], 1)

    def _precondition(self, v: Tensor, bend: Tensor, penalty: Tensor) -> Tensor:
        # Features are centred, so with equal bends the intercept does not couple with the weights.
        inverse = 1 / (self._eigenvalues * bend.mean(1, keepdim=True) + penalty)
        weights = ((v[:, :-1] @ self._vectors) * inverse) @ self._vectors.T
        return torch.cat([weights, v[:, -1:] / bend.sum(1, keepdim=True)], 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where a fit is solved so well that nothing is left to divide by."""
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
