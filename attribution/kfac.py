"""Whitening by K-FAC: gradients in the coordinates in which the Fisher information is the identity.

A dot product of two gradients says little: a few directions that every text shares outweigh the rest. Influence is
g^T (F + damping)^-1 g'. K-FAC takes F of a layer for A (x) G, with A = E[a a^T] over its inputs and G = E[g g^T] over
the gradients to its outputs, so in the eigenbases of A and G whitening is one division a number:

    curvature = Curvature.fit(model, layers, sample)    # a tenth of the corpus or less
    a, g = curvature.rotate(layer, a, g); curvature.scale(layer)

The dot product of two whitened gradients equals g^T (A (x) G + damping I)^-1 g' exactly. A side wider than `widest`
(a head's vocabulary) has only the diagonal of its factor, in the given coordinates.

Source: Martens & Grosse 2015, arXiv:1503.05671; Grosse et al. 2023, arXiv:2308.03296, whose damping, a tenth of the
mean eigenvalue of a layer, is the default. Departure: no second pass for EK-FAC's eigenvalues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attribution.gradients import TOKEN_BUDGET, Labels, batches, split, visit_gradients
from attribution.layers import Layer
from attribution.losses import Counted
from ellora_trust.errors import InputError, one_of
from ellora_trust.progress import Progress

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

DAMPING = 0.1
# Widest side with a full factor. Its eigenvectors take 64 MB and its decomposition seconds; SmolLM2's vocabulary of
# 49,152 would take 9.7 GB.
WIDEST = 4096


@dataclass(frozen=True)
class Side:
    """The factor of one side of a layer, in its eigenbasis.

    Attributes:
        values: Eigenvalues, or the diagonal, (width,).
        vectors: Eigenvectors as columns, (width, width); None where only the diagonal is known.
    """

    values: Tensor
    vectors: Tensor | None = None

    @classmethod
    def of(cls, moment: Tensor) -> Side:
        """Decompose a second moment, (width, width), or take a diagonal, (width,)."""
        if moment.dim() == 1:
            return cls(moment.float())
        values, vectors = torch.linalg.eigh(moment.double())
        # The sign of an eigenvector is arbitrary and differs between libraries: its largest entry is made positive.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        return cls(values.clamp_min(0).float(), (vectors * largest.sign()).float())

    def rotate(self, rows: Tensor) -> Tensor:
        """Return rows, (..., width), in the eigenbasis."""
        return rows if self.vectors is None else rows @ self.vectors


@dataclass(frozen=True)
class Curvature:
    """How gradients are whitened.

    Attributes:
        sides: Layer name to its input's and its output's factor; empty: gradients stay as they are.
        damping: Added to the eigenvalues, as a share of their mean in the layer, > 0.
        labels: `true`: the texts' own tokens (the empirical Fisher); `sampled`: drawn from the model's distribution.
        n_tokens: Tokens it was fitted on.
    """

    sides: dict[str, tuple[Side, Side]] = field(default_factory=dict)
    damping: float = DAMPING
    labels: Labels = "true"
    n_tokens: int = 0

    @classmethod
    def fit(
        cls,
        model: CodeModel,
        layers: Sequence[Layer],
        texts: Sequence[Counted],
        *,
        damping: float = DAMPING,
        labels: Labels = "true",
        widest: int = WIDEST,
        seed: int = 0,
        token_budget: int = TOKEN_BUDGET,
        progress: bool = False,
    ) -> Curvature:
        """Estimate both factors of every layer in one forward and backward over a sample.

        Args:
            model: The model.
            layers: From `find_layers`.
            texts: The sample.
            damping: As the attribute.
            labels: As the attribute.
            widest: Widest side that gets a full factor.
            seed: Of sampled labels.
            token_budget: Padded tokens in a batch.
            progress: Show a progress bar.

        Raises:
            InputError: No text, a damping that is not above zero, or unknown labels.
        """
        _check(texts, damping, labels)
        moments = _Moments(widest)
        _, pieces = split(texts, model.max_length)
        generator = torch.Generator().manual_seed(seed) if labels == "sampled" else None
        with Progress(len(pieces), "fitting factors", enabled=progress) as bar:
            for numbers in batches(layers, pieces, token_budget):
                batch = [pieces[number] for number in numbers]
                visit_gradients(model, layers, batch, moments.add, sample=generator)
                bar.advance(len(batch))
        n_tokens = sum(len(piece.ids) for piece in pieces)
        return cls({layer.name: moments.sides(layer, n_tokens) for layer in layers}, damping, labels, n_tokens)

    def rotate(self, layer: Layer, a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs, (..., d_in), and gradients, (..., d_out), in the eigenbases."""
        if not self.sides:
            return a, g
        inner, outer = self.sides[layer.name]
        return inner.rotate(a), outer.rotate(g)

    def scale(self, layer: Layer) -> Tensor | None:
        """Return what a rotated gradient is multiplied by, (d_out, d_in): (eigenvalue + damping)^-1/2; None for 1."""
        if not self.sides:
            return None
        inner, outer = self.sides[layer.name]
        mean = inner.values.mean() * outer.values.mean()
        values = outer.values[:, None] * inner.values
        # A layer that never got a gradient has nothing to whiten.
        return (values + self.damping * mean).clamp_min(torch.finfo(torch.float32).tiny).rsqrt() * (mean > 0)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as named tensors, for safetensors."""
        found = {}
        for name, sides in self.sides.items():
            for which, side in zip(("in", "out"), sides, strict=True):
                found[f"{name}|{which}|values"] = side.values.cpu()
                if side.vectors is not None:
                    found[f"{name}|{which}|vectors"] = side.vectors.cpu()
        return found

    def described(self) -> dict[str, Any]:
        """Return the rest, for JSON."""
        return {"damping": self.damping, "labels": self.labels, "n_tokens": self.n_tokens}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], described: dict[str, Any], device: torch.device) -> Curvature:
        """Put together what `tensors` and `described` gave."""
        names = dict.fromkeys(name.split("|")[0] for name in tensors)

        def side(name: str, which: str) -> Side:
            vectors = tensors.get(f"{name}|{which}|vectors")
            values = tensors[f"{name}|{which}|values"].to(device)
            return Side(values, None if vectors is None else vectors.to(device))

        return cls({name: (side(name, "in"), side(name, "out")) for name in names}, **described)


class _Moments:
    """Sums of a a^T and g g^T, or of their diagonals."""

    def __init__(self, widest: int):
        self.widest = widest
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.routed: dict[str, int] = {}  # tokens that an expert got, whose batches have no padding

    def add(self, layer: Layer, a: Tensor, g: Tensor) -> None:
        # Padding is zero in both and adds nothing.
        both = self._moment(a.flatten(0, 1)), self._moment(g.flatten(0, 1))
        if layer.name in self.sums:
            for total, one in zip(self.sums[layer.name], both, strict=True):
                total += one
        else:
            self.sums[layer.name] = both
        self.routed[layer.name] = self.routed.get(layer.name, 0) + a.shape[0] * a.shape[1]

    def _moment(self, rows: Tensor) -> Tensor:
        return rows.T @ rows if rows.shape[1] <= self.widest else rows.square().sum(0)

    def sides(self, layer: Layer, n_tokens: int) -> tuple[Side, Side]:
        if layer.name not in self.sums:
            return Side(torch.zeros(layer.d_in)), Side(torch.zeros(layer.d_out))
        n = self.routed[layer.name] if layer.routed else n_tokens
        inner, outer = (Side.of(total / max(n, 1)) for total in self.sums[layer.name])
        return inner, outer


def _check(texts: Sequence[Counted], damping: float, labels: str) -> None:
    if not texts:
        raise InputError("no text to fit the factors on; give at least one")
    if damping <= 0:
        raise InputError(f"damping={damping} is out of range; use a number above 0, such as {DAMPING}")
    if labels not in ("true", "sampled"):
        raise InputError(one_of(labels, ["true", "sampled"], what="labels"))
