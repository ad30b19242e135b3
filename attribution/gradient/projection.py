"""A layer's gradient in few numbers: both sides whitened and projected, p_out x p_in numbers instead of d_out x d_in.

A token's gradient g a^T has rank 1, so its two sides are projected apart, each by a small matrix that whitens too: the
gradient itself is never formed. The columns are orthonormal and drawn at random, so dot products are right on
average; a side that is no wider than the projection loses nothing.

    making = Projection.of(layer, curvature, width=64, seed=0)
    torch.bmm(making.outer(g).transpose(1, 2), making.inner(a))          # (texts, p_out, p_in)

A vocabulary, whose factor is diagonal, is hashed into buckets with random signs instead: no matrix as wide is needed.

Source: Choe et al. 2024 (LoGra), arXiv:2405.13954, section 3.1, for projecting the sides apart; Weinberger et al. 2009,
arXiv:0902.2206, for the hash. Departure: whitened before it is projected, so no second pass over the corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import Layer

# Of a hashed side, in widths of the projection.
_HASHED = 4


@dataclass(frozen=True)
class Side:
    """A linear map of rows and its adjoint.

    Attributes:
        forward: (..., d) to (..., p).
        adjoint: (..., p) to (..., d), so that <forward(x), y> = <x, adjoint(y)>.
    """

    forward: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]

    def __call__(self, rows: Tensor) -> Tensor:
        return self.forward(rows)


@dataclass(frozen=True)
class Projection:
    """Maps of one layer.

    Attributes:
        inner: Inputs, (..., d_in) to (..., p_in).
        outer: Gradients to outputs, (..., d_out) to (..., p_out).
        shape: (p_out, p_in).
    """

    inner: Side
    outer: Side
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Numbers in a projected gradient."""
        return self.shape[0] * self.shape[1]

    @classmethod
    def of(
        cls, layer: Layer, curvature: Curvature, *, width: int | None, seed: int, device: torch.device | None = None
    ) -> Projection:
        """Draw the maps of a layer; the same seed gives the same ones on every machine.

        Args:
            layer: The layer.
            curvature: How gradients are whitened.
            width: Numbers that are kept of a side, four times as many of a hashed one; None keeps all.
            seed: Of the columns and hashes.
            device: Of the model.
        """
        inner, p_in = _side(layer, "in", curvature, width=width, seed=seed, device=device)
        outer, p_out = _side(layer, "out", curvature, width=width, seed=seed, device=device)
        return cls(inner, outer, (p_out, p_in))


def draws(key: str, n: int) -> np.ndarray:
    """Return n random 64-bit numbers, the same on every machine: raw output of a counter-based generator.

    numpy promises that this never changes, unlike its distributions.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)).random_raw(n)


def _side(
    layer: Layer, side: str, curvature: Curvature, *, width: int | None, seed: int, device: torch.device | None
) -> tuple[Side, int]:
    d = layer.d_in if side == "in" else layer.d_out
    key = f"{seed}/{side}/{layer.part}/{layer.name}"
    whitened = layer.name in curvature.moments
    diagonal = curvature.diagonal(layer.name, side) if whitened else None
    if diagonal is not None:
        return _hashed(diagonal.to(device), key, None if width is None else _HASHED * width)
    # A narrow side is turned all the same: what is sketched must have random signs.
    basis = None if width is None else _orthonormal(key, d, min(width, d))
    if whitened:
        matrix = curvature.whiten(layer.name, side, basis)
    elif basis is None:
        return Side(lambda rows: rows, lambda rows: rows), d
    else:
        matrix = basis
    matrix = matrix.to(device)
    return Side(lambda rows: rows @ matrix, lambda rows: rows @ matrix.T), matrix.shape[1]


def _orthonormal(key: str, d: int, width: int) -> Tensor:
    """Columns of a random rotation, scaled so that squared lengths are kept on average, (d, width)."""
    uniform = (draws(key, d * width).astype(np.float64) + 0.5) / 2.0**64
    columns, upper = torch.linalg.qr(torch.from_numpy(ndtri(uniform)).view(d, width))
    # QR is unique once the diagonal is positive.
    return (columns * upper.diagonal().sign() * (d / width) ** 0.5).float()


def _hashed(scale: Tensor, key: str, width: int | None) -> tuple[Side, int]:
    if width is None or width >= len(scale):
        return Side(lambda rows: rows * scale, lambda rows: rows * scale), len(scale)
    signs = torch.from_numpy((draws(key, len(scale)) >> np.uint64(63)).astype(np.float32) * 2 - 1)
    signed, missing = scale * signs.to(scale.device), -len(scale) % width

    def fold(rows: Tensor) -> Tensor:
        # Column i goes into bucket i mod width: which columns meet is fixed, the signs are what is random.
        padded = torch.nn.functional.pad(rows * signed, (0, missing))
        return padded.unflatten(-1, (-1, width)).sum(-2)

    def unfold(rows: Tensor) -> Tensor:
        return rows.repeat(*[1] * (rows.dim() - 1), -(-len(signed) // width))[..., : len(signed)] * signed

    return Side(fold, unfold), width
