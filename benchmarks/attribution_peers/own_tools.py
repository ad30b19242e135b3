"""This library's index as `attribute index` makes it, its exact form, and the baselines that need no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from attribution.documents.baselines import embedding_scores, random_scores
from attribution.documents.bm25 import bm25_scores
from attribution.documents.building import Plan, factors
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import Counted
from attribution.gradient.rows import PROJECTION, Projector
from attribution.index import GradientIndex
from attribution.ngrams import ngram_scores
from benchmarks.attribution_peers.tool import Material, Scores
from ellora_trust.testbed.lds import Truth


class StoredIndex:
    """`GradientIndex` with one bit a bucket."""

    n_bytes = 0

    def __init__(self, material: Material, folder: Path, n_bytes: int, projection: int = PROJECTION):
        self.material, self.folder = material, folder / f"own {n_bytes}"
        self.plan = Plan(bits=n_bytes, projection=projection)

    def build(self) -> None:
        self._index = GradientIndex.build(self.material.model, self.material.sources, self.folder, plan=self.plan)
        self.n_bytes = self.plan.bits

    def scores(self, targets: Sequence[Counted]) -> Scores:
        return self._index.scores(targets)

    def ask(self, target: Counted) -> object:
        return self._index.query([target], k=10)


class Exact:
    """The whitened gradients themselves, in memory: what the index approximates."""

    n_bytes = 0

    def __init__(self, material: Material, folder: Path):
        self.material, self.folder = material, folder / "own exact"

    def build(self) -> None:
        model = self.material.model
        curvature = factors(model, self.material.sources, self.folder, Plan())
        self._projector = Projector(model, find_layers(model), curvature, projection=None)
        self._rows = self._projector.numbers(self.material.documents)
        self.n_bytes = 4 * self._rows.shape[1]

    def scores(self, targets: Sequence[Counted]) -> Scores:
        return (self._projector.numbers(targets) @ self._rows.T).numpy()

    def ask(self, target: Counted) -> object:
        return self.scores([target])


def baselines(material: Material, truth: Truth, seed: int) -> dict[str, Scores]:
    """Return the scores of what takes no gradient, by name."""
    asked = [one.prompt + one.answer for one in truth.queries]
    texts = [one.text for one in material.sources]
    ways = {
        "3-gram idf": partial(ngram_scores, material.model.tokenizer),
        "BM25": bm25_scores,
        "embedding, mean of the last layer, cosine": partial(embedding_scores, material.model),
        "random": partial(random_scores, seed=seed),
    }
    return {name: np.asarray(way(asked, texts)) for name, way in ways.items()}
