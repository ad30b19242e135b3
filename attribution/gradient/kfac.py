"""Whitening by K-FAC: gradients in coordinates in which the Fisher information is the identity.

A dot product of two gradients says little: a few directions that every text shares outweigh the rest. Influence is
g^T (F + damping)^-1 g'. K-FAC takes F of a layer for A (x) G, with A = E[a a^T] over its inputs and G = E[g g^T] over
the gradients to its outputs, so either side of a token's gradient is whitened alone:

    curvature = Curvature.fit(model, layers, sample)    # a tenth of the corpus or less
    curvature.whiten(layer.name, "in")                  # columns that inputs are multiplied by

The dot product of two whitened gradients equals g^T ((A + damping) (x) (G + damping))^-1 g'. A side wider than `widest`
(a head's vocabulary) has only the diagonal of its factor.

Source: Martens & Grosse 2015, arXiv:1503.05671, whose section 6.3 damps the two sides apart; Grosse et al. 2023,
arXiv:2308.03296, for influence and for the default, a tenth of the mean eigenvalue of a layer. Departure: no second
pass for EK-FAC's eigenvalues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attribution.gradient.gradients import TOKEN_BUDGET, Labels, batches, split, visit_gradients
from attribution.gradient.layers import Layer
from attribution.gradient.losses import Counted
from ellora_trust.errors import InputError, one_of
from ellora_trust.progress import Progress

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Moments = dict[str, tuple[Tensor, Tensor]]
DAMPING = 0.1
# Widest side with a full factor, which takes 64 MB; SmolLM2's vocabulary of 49,152 would take 9.7 GB.
WIDEST = 4096


@dataclass(frozen=True)
class Curvature:
    """How gradients are whitened.

    Attributes:
        moments: Layer name to E[a a^T], (d_in, d_in), and E[g g^T], (d_out, d_out), or to the diagonal of one; empty:
            gradients stay as they are.
        damping: As a share of a layer's mean eigenvalue, > 0; each side gets its square root, as a share of its own.
        labels: `true`: the texts' own tokens (the empirical Fisher); `sampled`: drawn from the model's distribution.
        n_tokens: Tokens it was fitted on.
    """

    moments: Moments = field(default_factory=dict)
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
        moments = _Sums(widest)
        _, pieces = split(texts, model.max_length)
        generator = torch.Generator().manual_seed(seed) if labels == "sampled" else None
        with Progress(len(pieces), "fitting factors", enabled=progress) as bar:
            for numbers in batches(layers, pieces, token_budget):
                batch = [pieces[number] for number in numbers]
                visit_gradients(model, layers, batch, moments.add, sample=generator, zero_padding=True)
                bar.advance(len(batch))
        n_tokens = sum(len(piece.ids) for piece in pieces)
        return cls({layer.name: moments.of(layer, n_tokens) for layer in layers}, damping, labels, n_tokens)

    def diagonal(self, name: str, side: str) -> Tensor | None:
        """Return what a side of which only the diagonal is known is multiplied by, (width,); None for a full factor."""
        moment = self.moments[name][side == "out"]
        if moment.dim() > 1:
            return None
        damping = self._damping(moment)
        return (moment + damping).rsqrt() if damping else torch.zeros_like(moment)

    def whiten(self, name: str, side: str, basis: Tensor | None = None) -> Tensor:
        """Return the columns that rows of a side with a full factor are multiplied by.

        Args:
            name: Of the layer.
            side: "in" for inputs, "out" for gradients to outputs.
            basis: Columns to project on, (width, n).

        Returns:
            Whitening alone, (width, width), or whitening and projection, (width, n).
        """
        moment = self.moments[name][side == "out"].double()
        basis = torch.eye(len(moment)) if basis is None else basis
        damping = self._damping(moment.diagonal())
        if not damping:  # a layer that never got a gradient has nothing to whiten
            return torch.zeros_like(basis)
        # Any root of the inverse gives the same dot products; Cholesky's takes a tenth of the time of eigenvectors.
        lower = torch.linalg.cholesky(moment + damping * torch.eye(len(moment), dtype=moment.dtype))
        return torch.linalg.solve_triangular(lower.T, basis.double(), upper=True).float()

    def _damping(self, diagonal: Tensor) -> float:
        return self.damping**0.5 * float(diagonal.mean())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as named tensors, for safetensors."""
        return {
            f"{name}|{side}": moment
            for name, both in self.moments.items()
            for side, moment in zip(("in", "out"), both, strict=True)
        }

    def described(self) -> dict[str, Any]:
        """Return the rest, for JSON."""
        return {"damping": self.damping, "labels": self.labels, "n_tokens": self.n_tokens}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], described: dict[str, Any]) -> Curvature:
        """Put together what `tensors` and `described` gave."""
        names = dict.fromkeys(name.split("|")[0] for name in tensors)
        return cls({name: (tensors[f"{name}|in"], tensors[f"{name}|out"]) for name in names}, **described)


class _Sums:
    """Sums of a a^T and g g^T, or of their diagonals."""

    def __init__(self, widest: int):
        self.widest = widest
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.routed: dict[str, int] = {}  # tokens that an expert got, whose batches have no padding

    def add(self, layer: Layer, a: Tensor, g: Tensor) -> None:
        both = self._moment(a.flatten(0, 1)), self._moment(g.flatten(0, 1))
        if layer.name in self.sums:
            for total, one in zip(self.sums[layer.name], both, strict=True):
                total += one
        else:
            self.sums[layer.name] = both
        self.routed[layer.name] = self.routed.get(layer.name, 0) + a.shape[0] * a.shape[1]

    def _moment(self, rows: Tensor) -> Tensor:
        return rows.T @ rows if rows.shape[1] <= self.widest else rows.square().sum(0)

    def of(self, layer: Layer, n_tokens: int) -> tuple[Tensor, Tensor]:
        if layer.name not in self.sums:
            return torch.zeros(layer.d_in), torch.zeros(layer.d_out)
        n = self.routed[layer.name] if layer.routed else n_tokens
        inner, outer = (total.cpu() / max(n, 1) for total in self.sums[layer.name])
        return inner, outer


def _check(texts: Sequence[Counted], damping: float, labels: str) -> None:
    if not texts:
        raise InputError("no text to fit the factors on; give at least one")
    if damping <= 0:
        raise InputError(f"damping={damping} is out of range; use a number above 0, such as {DAMPING}")
    if labels not in ("true", "sampled"):
        raise InputError(one_of(labels, ["true", "sampled"], what="labels"))
