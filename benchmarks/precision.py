"""What a precision does to the numbers: what is scored, read and differentiated, beside float32 on the same texts.

    python -m benchmarks.precision [--model smollm2] [--texts 24]

Texts are pieces of the running Python's own sources, or unseen documents for the testbed. Rounding to int8 and int4 is
simulated: to nearest, a scale for each 64 weights, as weight-only formats do it, computed in float32. Cosines are of
the residual stream after the middle block at the last token, and of a text's gradient of that block's output matrix;
intervals are 95 % over texts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

import ellora_trust as et
from attribution.gradients import per_text_gradients
from attribution.layers import Layer, find_layers
from attribution.losses import whole
from ellora_trust.evaluation.robustness import quantised
from ellora_trust.evaluation.text import Piece, fitting, load_pieces
from ellora_trust.model import CodeModel

PRECISIONS = ("bfloat16", "float16", "int8", "int4")
BYTES = {"bfloat16": 2, "float16": 2, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 64}


@dataclass(frozen=True)
class Reading:
    """One state of the model on all texts; the first axis is texts."""

    bits: np.ndarray
    """Bits per byte, (n,)."""
    states: torch.Tensor
    """(n, d_model)."""
    gradients: torch.Tensor
    """(n, numbers of the matrix)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--texts", type=int, default=24)
    options = parser.parse_args()
    model = et.load(options.model, dtype="float32", device="cpu")
    source = "testbed" if options.model.startswith("testbed") else "stdlib"
    pieces = fitting(model, load_pieces(source, limit=options.texts))
    before = read(model, pieces)
    print(f"{options.model}, {len(pieces)} texts, float32: {before.bits.mean():.3f} bits per byte\n")
    print("| precision | bytes a weight | bits per byte, change | activations, cosine | gradients, cosine |")
    print("|---|---|---|---|---|")
    for name in PRECISIONS:
        with state(options.model, model, name) as other:
            print(row(name, before, read(other, pieces)), flush=True)


@contextmanager
def state(name: str, model: CodeModel, precision: str) -> Iterator[CodeModel]:
    if precision.startswith("int"):
        with quantised(model, int(precision.removeprefix("int"))).apply(model):
            yield model
    else:
        yield et.load(name, dtype=precision, device="cpu")


def read(model: CodeModel, pieces: list[Piece]) -> Reading:
    scores = model.score([p.context for p in pieces], [p.text for p in pieces])
    n_bytes = np.array([len(p.text.encode()) for p in pieces])
    middle = model.arch.n_layers // 2
    texts = [p.context + p.text for p in pieces]
    states = torch.as_tensor(et.capture(model, texts, f"resid.{middle}", "last")[f"resid.{middle}", "last"])
    layer = last_matrix(model, middle)
    found = per_text_gradients(model, [layer], [whole(model, text) for text in texts])[layer.name]
    return Reading(-np.array([s.sum for s in scores]) / np.log(2) / n_bytes, states.float(), found.flatten(1))


def last_matrix(model: CodeModel, block: int) -> Layer:
    """The matrix that writes a block's MLP into the residual stream: the last one of the block."""
    inside = set(model.arch.blocks[block].module.modules())
    return [layer for layer in find_layers(model, ("body",)) if layer.module in inside][-1]


def row(name: str, before: Reading, after: Reading) -> str:
    change = after.bits / before.bits.mean() - before.bits / before.bits.mean()
    cosines = [
        torch.cosine_similarity(a.double(), b.double()).numpy()
        for a, b in ((before.states, after.states), (before.gradients, after.gradients))
    ]
    cells = [name, f"{BYTES[name]:.2f}", interval(100 * change, "+.2f", " %"), *(interval(c, ".4f") for c in cosines)]
    return "| " + " | ".join(cells) + " |"


def interval(values: np.ndarray, style: str, unit: str = "") -> str:
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():{style}}{unit} [{low:{style}}, {high:{style}}]"


if __name__ == "__main__":
    main()
