"""Attribution by gradient on the testbed: who predicts retraining, at how many bytes a document.

    python -m benchmarks.attribution [--truth runs/lds]

The truth is the package's, or what `ellora-trust testbed lds --retrain` wrote. The linear datamodelling score is a rank
correlation, [-1, 1]; its intervals are 95 % over families of queries. Bytes are those stored for a document. Whitening,
the parts of the model, projection and encoding are compared one at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.documents.evidence import z_sum
from attribution.gradient.encoding import Encoding, encode, products, width_of
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import Layer, find_layers
from attribution.gradient.losses import Counted, answer, whole
from attribution.gradient.rows import Projector
from attribution.ngrams import ngram_scores
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.testbed.lds import SHIPPED, Truth, lds, same_family

SIZES = (1024, 4096, 16_384)
NARROW = 512  # below the testbed's vocabulary, as any real vocabulary is above the library's limit
SHARE = 0.1
# What `attribute query` adds up.
FUSED = ("3-gram idf", "K-FAC, body + head, bits 4096")
Scores = NDArray[np.floating]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    retraining(args.truth, args.seed)


def retraining(folder: Path, seed: int) -> None:
    """Print the linear datamodelling score of every method."""
    truth, model = Truth.read(folder), load(folder)
    documents = [whole(model, one.text) for one in truth.documents()]
    targets = [answer(model, one.prompt, one.answer, end=True) for one in truth.queries]
    print(f"{len(documents)} documents, {len(targets)} queries, {len(truth.subsets)} subsets", flush=True)
    print(f"one seed's losses and another's {truth.agreement:.3f}\n{'':52} {'bytes':>9}  LDS", flush=True)
    kept: dict[str, Scores] = {}
    for name, n_bytes, scores in chain(baselines(model, truth, seed), gradients(model, documents, targets, seed)):
        print(f"{name:52} {n_bytes:9}  {lds(scores, truth).value:.3f}", flush=True)
        if name in FUSED:
            kept[name] = scores
    fused = z_sum(*kept.values())
    print(f"{' + '.join(kept):52} {'':9}  {lds(fused, truth).value:.3f}", flush=True)


def baselines(model: CodeModel, truth: Truth, seed: int) -> Iterator[tuple[str, int, Scores]]:
    texts = [one.text for one in truth.documents()]
    yield "random", 0, np.random.default_rng(seed).random((len(truth.queries), len(texts)))
    yield "same family", 0, same_family(truth)
    asked = [one.prompt + one.answer for one in truth.queries]
    yield "3-gram idf", 0, ngram_scores(model.tokenizer, asked, texts)


def gradients(
    model: CodeModel, documents: Sequence[Counted], targets: Sequence[Counted], seed: int
) -> Iterator[tuple[str, int, Scores]]:
    """Yield name, bytes and scores of exact gradients under each whitening, then of each encoding under the best."""
    layers = find_layers(model)
    for name, curvature in whitenings(model, layers, documents, seed):
        for part, chosen in (("body + head", layers), ("body", layers[:-1]), ("head", layers[-1:])):
            if part == "body + head" or name in ("none", "K-FAC"):
                yield f"{name}, {part}, exact", *unsketched(model, chosen, curvature, documents, targets)
        if name == "K-FAC":
            for kept in (32, 64, 96):
                yield (
                    f"{name}, body + head, sides of {kept}",
                    *unsketched(model, layers, curvature, documents, targets, kept),
                )
        if name in ("none", "K-FAC"):
            for encoded, n_bytes, scores in sketches(model, layers, curvature, documents, targets, seed):
                yield f"{name}, body + head, {encoded} {n_bytes}", n_bytes, scores


def unsketched(
    model: CodeModel,
    layers: Sequence[Layer],
    curvature: Curvature,
    documents: Sequence[Counted],
    targets: Sequence[Counted],
    projection: int | None = None,
) -> tuple[int, Scores]:
    """Return bytes a document as float32, and scores, of all numbers that are left after projection."""
    making = Projector(model, layers, curvature, projection=projection)
    rows = making.numbers(documents)
    return 4 * rows.shape[1], (making.numbers(targets) @ rows.T).numpy()


def whitenings(
    model: CodeModel, layers: Sequence[Layer], documents: Sequence[Counted], seed: int
) -> Iterator[tuple[str, Curvature]]:
    yield "none", Curvature()
    chosen = np.random.default_rng(seed).permutation(len(documents))[: round(SHARE * len(documents))]
    sample = [documents[i] for i in chosen]
    fitted = Curvature.fit(model, layers, sample, widest=NARROW)
    yield "K-FAC", fitted
    yield "K-FAC, damping 0.01", replace(fitted, damping=0.01)
    yield "K-FAC, damping 1", replace(fitted, damping=1.0)
    yield "K-FAC, sampled labels", Curvature.fit(model, layers, sample, widest=NARROW, labels="sampled")
    yield "K-FAC, full vocabulary side", Curvature.fit(model, layers, sample)
    yield "K-FAC, fitted on all", Curvature.fit(model, layers, documents, widest=NARROW)


def sketches(
    model: CodeModel,
    layers: Sequence[Layer],
    curvature: Curvature,
    documents: Sequence[Counted],
    targets: Sequence[Counted],
    seed: int,
) -> Iterator[tuple[str, int, Scores]]:
    kinds: list[tuple[Encoding, int]] = [(kind, size) for kind in ("bits", "int8") for size in SIZES]
    making = Projector(model, layers, curvature, widths=[width_of(*one) for one in kinds], seed=seed)
    for (kind, size), rows, asked in zip(kinds, making.rows(documents), making.rows(targets), strict=True):
        stored = encode(rows.numpy(), kind)
        yield kind, size, np.stack([products(stored, row, kind) for row in asked.numpy()])


if __name__ == "__main__":
    main()
