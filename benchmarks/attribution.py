"""Attribution by gradient on the testbed: who predicts retraining, at how many bytes a document, who finds the plants.

    python -m benchmarks.attribution [--truth runs/lds] [--tokens 100000] [--limit 60] [--rounds 5]
        [--parts retraining plants cost]

The truth is the package's, or what `ellora-trust testbed lds --retrain` wrote. The linear datamodelling score is a rank
correlation, [-1, 1]; its intervals are 95 % over families of queries, those of the plants over groups of prompts. Bytes
are those stored for a document. Whitening, the parts of the model and the encoding are compared one at a time.
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

from attribution.encoding import Encoding, encode, hamming_cosines, products, width_of
from attribution.evidence import z_sum
from attribution.gradients import TOKEN_BUDGET, batches
from attribution.kfac import Curvature
from attribution.layers import Layer, find_layers
from attribution.losses import Counted, answer, spans, whole
from attribution.ngrams import NgramIndex, ngram_scores
from attribution.rows import Projector
from benchmarks.attribution_text import questions, r_precision
from benchmarks.paired import cell, interval, paired
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.documents import Document, corpus
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.lds import SHIPPED, Truth, lds, same_family
from ellora_trust.testbed.prompts import sketch_of
from ellora_trust.testbed.truth import score_attribution

SIZES = (1024, 4096, 16_384)
NARROW = 512  # below the testbed's vocabulary, as any real vocabulary is above the library's limit
SHARE = 0.1
# What `attribute query` adds up.
FUSED = ("3-gram idf", "K-FAC, body + head, bits 4096")
PARTS = ("retraining", "plants", "cost")
Scores = NDArray[np.floating]


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    if "retraining" in args.parts:
        retraining(args.truth, args.seed)
    if "plants" in args.parts:
        plants(args)
    if "cost" in args.parts:
        cost(args)


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
                making = Projector(model, chosen, curvature, widths=(), seed=seed)
                rows = making.exact(documents)
                yield f"{name}, {part}, exact", 4 * rows.shape[1], (making.exact(targets) @ rows.T).numpy()
        if name in ("none", "K-FAC"):
            for encoded, n_bytes, scores in sketches(model, layers, curvature, documents, targets, seed):
                yield f"{name}, body + head, {encoded} {n_bytes}", n_bytes, scores


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
        if kind == "bits":
            codes = encode(asked.numpy(), "bits")["codes"]
            cosines = np.stack([hamming_cosines(stored["codes"], row) for row in codes])
            yield "bits, counted", size, cosines * stored["norms"]
            yield "bits, counted, cosine", size, cosines


def plants(args: argparse.Namespace) -> None:
    """Print who finds the documents that carry a plant, for the shipped model."""
    model, documents = load("testbed"), corpus(0, n_tokens=args.tokens)
    texts = [whole(model, one.text) for one in documents]
    layers = find_layers(model)
    chosen = np.random.default_rng(args.seed).permutation(len(texts))[: round(SHARE * len(texts))]
    curvature = Curvature.fit(model, layers, [texts[i] for i in chosen], widest=NARROW)
    making = Projector(model, layers, curvature, widths=[width_of("bits", 4096)], seed=args.seed)
    stored = encode(making.rows(texts)[0].numpy(), "bits")
    words = NgramIndex(model.tokenizer).fit([one.text for one in documents])
    for kind in ("trigger", "paraphrase"):
        examples = [one for one in questions(documents, kind, args) if one.meta["family"] in FAMILIES]
        written = [sketch_of(one).write(planted=True) for one in examples]
        asked, places = [one.text for one in written], [one.span for one in written]
        targets = {
            "answer": [
                answer(model, text[: one.prompt], text[one.prompt :]) for text, one in zip(asked, written, strict=True)
            ],
            "plant": [spans(model, text, [place] if place else []) for text, place in zip(asked, places, strict=True)],
        }
        print(f"\n{kind}: {len(examples)} prompts, {len(documents)} documents")
        print(f"{'':44} AUROC, R-precision, MRR, hard AUROC")
        text = words.score(asked)
        show_plants("3-gram idf", text, documents, examples)
        show_plants("3-gram idf, about the plant", words.score(asked, places), documents, examples)
        for about, chosen in targets.items():
            rows = making.rows(chosen)[0].numpy()
            scores = np.stack([products(stored, row, "bits") for row in rows])
            show_plants(f"K-FAC, bits 4096, about the {about}", scores, documents, examples)
            show_plants("the same + 3-gram idf", z_sum(scores, text), documents, examples)


def show_plants(name: str, given: Scores, documents: Sequence[Document], examples: Sequence[Example]) -> None:
    scores = given.astype(np.float64)
    easy, hard = (score_attribution(scores, documents, examples, against=how) for how in ("all", "hard"))
    row = (easy.auroc, r_precision(scores, documents, examples), easy.mrr, hard.auroc)
    print(f"{name:44} {'  '.join(f'{one:.3f}' for one in row)}", flush=True)


def cost(args: argparse.Namespace) -> None:
    """Print CPU seconds of factors and rows over those of a plain forward and backward, which trains nothing."""
    model = load("testbed")
    texts = [whole(model, one.text) for one in corpus(1, n_tokens=args.tokens // 10)]
    layers = find_layers(model)
    sample = texts[:: round(1 / SHARE)]

    def build() -> None:
        curvature = Curvature.fit(model, layers, sample, widest=NARROW)
        encode(Projector(model, layers, curvature, widths=[32_768]).rows(texts)[0].numpy(), "bits")

    taken = paired(build, lambda: plain(model, layers, texts), args.rounds)
    ratio = interval(taken[:, 0, 1] / taken[:, 1, 1])
    print(f"\nfactors and 1-bit rows / forward + backward, CPU seconds: {cell(ratio)}, {args.rounds} rounds")


def plain(model: CodeModel, layers: Sequence[Layer], texts: Sequence[Counted]) -> None:
    """Forward and backward with a gradient of every parameter, in the same batches."""
    for numbers in batches(layers, texts, TOKEN_BUDGET):
        width = max(len(texts[i].ids) for i in numbers)
        ids = torch.tensor([list(texts[i].ids) + [model.pad_id] * (width - len(texts[i].ids)) for i in numbers])
        mask = torch.tensor([[1] * len(texts[i].ids) + [0] * (width - len(texts[i].ids)) for i in numbers])
        labels = ids.masked_fill(mask == 0, -100)
        model.hf(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        model.hf.zero_grad(set_to_none=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--truth", type=Path, default=SHIPPED)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
