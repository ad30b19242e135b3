"""What attribution by gradient costs: building an index over a plain forward and backward, and asking one.

    python -m benchmarks.attribution_cost [--tokens 100000] [--limit 60] [--rounds 5] [--models testbed smollm2]

Building is compared in seconds of one processor, in the same run and the same batches. A question is timed beyond its
own forward and backward, over rows that are replicated.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch

from attribution.documents.building import Source, shard_path
from attribution.gradient.encoding import encode
from attribution.gradient.gradients import TOKEN_BUDGET, batches
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import Layer, find_layers
from attribution.gradient.losses import Counted, answer, whole
from attribution.gradient.rows import Projector
from attribution.index import GradientIndex
from benchmarks.paired import cell, interval, paired
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.testbed.documents import corpus

SHARE = 0.1
ASKED = 9


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    cost(args)
    asking(args)


def cost(args: argparse.Namespace) -> None:
    """Print CPU seconds of factors and rows over those of a plain forward and backward, which trains nothing."""
    for name, texts in costed(args):
        if name not in args.models:
            continue
        model, layers = load(name), find_layers(load(name))
        read = [whole(model, text) for text in texts]

        def build(model: CodeModel = model, layers: list[Layer] = layers, read: list[Counted] = read) -> None:
            curvature = Curvature.fit(model, layers, read[:: round(1 / SHARE)])
            encode(Projector(model, layers, curvature, widths=[32_768]).rows(read)[0].numpy(), "bits")

        def once(model: CodeModel = model, layers: list[Layer] = layers, read: list[Counted] = read) -> None:
            plain(model, layers, read)

        taken = paired(build, once, args.rounds if name == "testbed" else 2)
        n_tokens = sum(len(one.ids) for one in read)
        print(
            f"\n{name}, {len(read)} documents, {n_tokens} tokens: factors and 1-bit rows / forward + backward, CPU "
            f"seconds: {cell(interval(taken[:, 0, 1] / taken[:, 1, 1]))}, {len(taken)} rounds",
            flush=True,
        )


def costed(args: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Models and what they read: the testbed's corpus, and modules of the standard library in pieces."""
    yield "testbed", [one.text for one in corpus(1, n_tokens=args.tokens)]
    source = "".join(Path(module.__file__ or "").read_text() for module in (argparse, dataclasses, textwrap))
    yield "smollm2", textwrap.wrap(source, 800, replace_whitespace=False)[: args.limit * 2]


def asking(args: argparse.Namespace) -> None:
    """Print what a question costs beyond its own forward and backward, with rows replicated to more documents."""
    model, documents = load("testbed"), corpus(1, n_tokens=30_000)[:512]
    target = [answer(model, "def f(rows):", "\n    return rows[0]\n")]
    print(f"\n{'documents':>9}  seconds, first and again (median of {ASKED})  resident memory, MB")
    with TemporaryDirectory() as folder:
        index = GradientIndex.build(model, [Source(one.id, one.text) for one in documents], Path(folder))
        rows = index.rows(target)["bits"]
        for times in (2, 20, 98):
            many = replicated(index, times)
            taken = []
            for _ in range(ASKED + 1):
                began = time.perf_counter()
                many.scan(rows, "bits")
                taken.append(time.perf_counter() - began)
            resident = psutil.Process().memory_info().rss / 1e6
            print(f"{len(many):9}  {taken[0]:.3f}  {np.median(taken[1:]):.4f}  {resident:.0f}", flush=True)


def replicated(index: GradientIndex, times: int) -> GradientIndex:
    """The same index with its only shard as often as asked for."""
    first = shard_path(index.folder, 0)
    for number in range(1, times):
        if not shard_path(index.folder, number).exists():
            shutil.copyfile(first, shard_path(index.folder, number))
    artifact = dataclasses.replace(index.artifact, data={"n_documents": len(index) * times, "n_shards": times})
    return GradientIndex(index.folder, artifact, index.projector.model, Curvature())


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
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["testbed", "smollm2"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
