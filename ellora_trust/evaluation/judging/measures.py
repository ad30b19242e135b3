"""What a state of a model is like beside its answers: bits per byte, next-token distributions, activations, weights.

before, after = read_state(model, pieces), read_state(other, pieces)
divergence(before, after), activation_distance(before, after), weight_distance(a_tensors, b_tensors)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ellora_trust.batching import plan_batches, tokenize
from ellora_trust.evaluation.asking.text import Piece
from ellora_trust.hooks import Recorder
from ellora_trust.inference import SharedPrefix, forward
from ellora_trust.layout import Batch, running
from ellora_trust.positions import Passage
from ellora_trust.runs import run

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

POSITIONS = ("mean", "last")


@dataclass(frozen=True)
class StateReading:
    """A model's reading of the pieces.

    Attributes:
        bits: Of each piece, in bits, (n,).
        n_bytes: Bytes of each piece in UTF-8, (n,).
        next_token: Log-probabilities of the token after each prompt, in nats, (n_prompts, n_vocabulary).
        activations: (layer's site, position) to (n, d_model).
    """

    bits: np.ndarray
    n_bytes: np.ndarray
    next_token: Tensor
    activations: Mapping[tuple[str, str], Tensor]

    @property
    def bits_per_byte(self) -> float:
        """Of all pieces together, in bits."""
        return float(self.bits.sum() / self.n_bytes.sum())


def read_state(model: CodeModel, pieces: Sequence[Piece]) -> StateReading:
    """Read the pieces with the model in the state that it is in."""
    passages = [Passage(piece.context, piece.text) for piece in pieces]
    done = run(model, passages, score=True, recorder=Recorder(model, ["resid.*"], POSITIONS))
    return StateReading(
        np.array([-sum(one.logprobs) / math.log(2) for one in done.generations]),
        np.array([len(p.text.encode()) for p in pieces]),
        next_token_logprobs(model, prompts_of(pieces)),
        {key: done.activations.vectors(*key) for key in done.activations},
    )


def prompts_of(pieces: Sequence[Piece]) -> list[str]:
    """Return a prompt of each piece: cut in its middle, before trailing space."""
    return [(p.context + p.text[: len(p.text) // 2]).rstrip() or "#" for p in pieces]


def next_token_logprobs(model: CodeModel, prompts: Sequence[str]) -> Tensor:
    """Return the log-probabilities of the token after each prompt, in nats, (n, n_vocabulary), float32."""
    rows = [tokenize(model, Passage(text), number=i) for i, text in enumerate(prompts)]
    found: dict[int, Tensor] = {}
    for batch in plan_batches([len(row.ids) for row in rows], model.token_budget):
        chosen = [rows[i] for i in batch]
        with running(model, Batch.of(chosen, batch)):
            state = forward(model, [row.ids for row in chosen], keep_logits=1, use_cache=False, prefix=SharedPrefix([]))
        assert state.logits is not None
        found.update(zip(batch, torch.log_softmax(state.logits[:, -1], -1).cpu(), strict=True))
    return torch.stack([found[i] for i in range(len(rows))])


def divergence(before: StateReading, after: StateReading) -> tuple[np.ndarray, np.ndarray]:
    """Return KL(before to after) in nats and whether the likeliest token is the same, both (n_prompts,)."""
    a, b = before.next_token.double(), after.next_token.double()
    kl = (a.exp() * (a - b).clamp(-1e4, 1e4)).sum(-1).clamp_min(0.0)
    return kl.numpy(), (a.argmax(-1) == b.argmax(-1)).numpy().astype(float)


@dataclass(frozen=True)
class LayerDistance:
    """How far a layer moved.

    Attributes:
        layer: Number of the layer, 0-based; -1 stands for what belongs to no layer (embeddings, head, last norm).
        activations_mean: |after - before| / |before| of the mean over a text's tokens, averaged over texts.
        activations_last: The same of the last token.
        weights: |after - before| / |before| over the layer's weights; None where weights were not compared.
        cka: Linear CKA of the last tokens, [0, 1]; a side note, since it misses most of what matters.
    """

    layer: int
    activations_mean: float | None
    activations_last: float | None
    weights: float | None
    cka: float | None


def activation_distance(before: StateReading, after: StateReading, position: str) -> dict[int, float]:
    """Return the relative distance of each layer's output at a position, averaged over texts."""
    found = {}
    for site, where in before.activations:
        if where == position and (site, where) in after.activations:
            a, b = before.activations[site, where].double(), after.activations[site, where].double()
            if a.shape == b.shape:
                found[layer_of(site)] = float(((b - a).norm(dim=1) / a.norm(dim=1).clamp_min(1e-12)).mean())
    return found


def weight_distance(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[int, float] | None:
    """Return |after - before| / |before| of each layer's weights; None where names or shapes differ.

    Args:
        before: State dict.
        after: The other one; another dtype is compared in float64.
    """
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        return None
    squares: dict[int, list[float]] = {}
    for name, a in before.items():
        if a.is_floating_point():
            pair = squares.setdefault(layer_of(name), [0.0, 0.0])
            old, new = a.detach().cpu().double(), after[name].detach().cpu().double()
            pair[0] += float((new - old).square().sum())
            pair[1] += float(old.square().sum())
    return {layer: math.sqrt(moved / max(size, 1e-24)) for layer, (moved, size) in sorted(squares.items())}


def layer_of(name: str) -> int:
    """Return the first number in a dotted name; -1 where there is none."""
    found = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    return int(found[1]) if found else -1


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two sets of activations of the same rows, [0, 1].

    Args:
        x: (n, d).
        y: (n, d'), the same rows.

    Source: Kornblith et al. 2019, arXiv:1905.00414, equation 4; biased upwards where n is below d.
    """
    a, b = (one.double() - one.double().mean(0) for one in (x, y))
    kx, ky = a @ a.T, b @ b.T
    bottom = float(kx.norm() * ky.norm())
    return float((kx * ky).sum()) / bottom if bottom else 1.0


def layer_distances(
    before: StateReading, after: StateReading, weights: Mapping[int, float] | None
) -> list[LayerDistance]:
    """Return every layer's distances."""
    mean, last = (activation_distance(before, after, position) for position in POSITIONS)
    cka = {
        layer_of(site): linear_cka(value, after.activations[site, where])
        for (site, where), value in before.activations.items()
        if where == "last" and (site, where) in after.activations
    }
    layers: list[int] = sorted({*mean, *(weights or {})})
    return [LayerDistance(n, mean.get(n), last.get(n), weights.get(n) if weights else None, cka.get(n)) for n in layers]
