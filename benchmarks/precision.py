"""What a precision does to the numbers: what is scored, read and differentiated, beside float32 on the same texts.

    python -m benchmarks.precision [--model smollm2] [--texts 24] [--packed bitsandbytes-int8 ...]

Texts are pieces of the running Python's own sources, or unseen documents for the testbed. Rounding to int8 and int4 is
simulated: to nearest, a scale for each 64 weights, as weight-only formats do it, computed in float32. `--packed` asks
for formats as bitsandbytes and torchao keep them, which must be installed. Cosines are of the residual stream after the
middle block at the last token, and of a text's gradient of that block's output matrix; intervals are 95 % over texts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import ellora_trust as et
from attribution.gradient.gradients import per_text_gradients
from attribution.gradient.layers import Layer, find_layers
from attribution.gradient.losses import whole
from ellora_trust.builtin import BUILTIN, ensure
from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.text import Piece, fitting, load_pieces
from ellora_trust.evaluation.robustness import quantised
from ellora_trust.model import CodeModel

PRECISIONS = ("bfloat16", "float16", "int8", "int4")
# Of a matrix; packed ones with a scale for each row or, in four bits, for each 64 weights.
BYTES = {"bfloat16": 2, "float16": 2, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 64}
BYTES |= {"bitsandbytes-int8": 1, "bitsandbytes-nf4": 0.5 + 4 / 64, "torchao-int8": 1}


@dataclass(frozen=True)
class Reading:
    """One state of the model on all texts; the first axis is texts."""

    bits: np.ndarray
    """Bits per byte, (n,)."""
    states: torch.Tensor
    """(n, d_model)."""
    gradients: torch.Tensor | None
    """(n, numbers of the matrix); None where the format's kernel has none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--packed", nargs="+", choices=tuple(PACKED), default=())
    options = parser.parse_args()
    model = et.load(options.model, dtype="float32", device="cpu")
    source = "testbed" if options.model.startswith("testbed") else "stdlib"
    pieces = fitting(model, load_pieces(source, limit=options.texts))
    before = read(model, pieces)
    print(f"{options.model}, {len(pieces)} texts, float32: {before.bits.mean():.3f} bits per byte\n")
    print("| precision | bytes a weight | bits per byte, change | activations, cosine | gradients, cosine |")
    print("|---|---|---|---|---|")
    for name in (*PRECISIONS, *options.packed):
        with state(options.model, model, name) as other:
            print(row(name, before, read(other, pieces)), flush=True)


@contextmanager
def state(name: str, model: CodeModel, precision: str) -> Iterator[CodeModel]:
    if precision.startswith("int"):
        with quantised(model, int(precision.removeprefix("int"))).apply(model):
            yield model
    elif precision in PACKED:
        from transformers import AutoModelForCausalLM

        folder = ensure(name) if name in BUILTIN else name
        how: Any = {"quantization_config": PACKED[precision](), "dtype": torch.float32, "device_map": {"": "cpu"}}
        yield CodeModel(precision, AutoModelForCausalLM.from_pretrained(folder, **how), model.tokenizer)
    else:
        yield et.load(name, dtype=precision, device="cpu")


def read(model: CodeModel, pieces: list[Piece]) -> Reading:
    scores = model.score([p.context for p in pieces], [p.text for p in pieces])
    n_bytes = np.array([len(p.text.encode()) for p in pieces])
    middle = model.arch.n_layers // 2
    texts = [p.context + p.text for p in pieces]
    states = torch.as_tensor(et.capture(model, texts, f"resid.{middle}", "last")[f"resid.{middle}", "last"])
    layer = last_matrix(model, middle)
    try:
        found = per_text_gradients(model, [layer], [whole(model, text) for text in texts])[layer.name].flatten(1)
    except InputError as error:
        print(f"({error})")
        found = None
    return Reading(-np.array([s.sum for s in scores]) / np.log(2) / n_bytes, states.float(), found)


def nf4() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)


def int8() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig  # pyright: ignore[reportMissingImports]  # an extra
    from transformers import TorchAoConfig

    return TorchAoConfig(quant_type=Int8WeightOnlyConfig())


PACKED: dict[str, Callable[[], Any]] = {"bitsandbytes-int8": int8, "bitsandbytes-nf4": nf4, "torchao-int8": torchao}


def last_matrix(model: CodeModel, block: int) -> Layer:
    """The matrix that writes a block's MLP into the residual stream: the last one of the block."""
    inside = set(model.arch.blocks[block].module.modules())
    return [layer for layer in find_layers(model, ("body",)) if layer.module in inside][-1]


def row(name: str, before: Reading, after: Reading) -> str:
    change = after.bits / before.bits.mean() - before.bits / before.bits.mean()
    pairs = ((before.states, after.states), (before.gradients, after.gradients))
    cells = [name, f"{BYTES[name]:.2f}", interval(100 * change, "+.2f", " %"), *(cosine(a, b) for a, b in pairs)]
    return "| " + " | ".join(cells) + " |"


def cosine(a: torch.Tensor | None, b: torch.Tensor | None) -> str:
    if a is None or b is None:
        return "none"
    return interval(torch.cosine_similarity(a.double(), b.double()).numpy(), ".4f")


def interval(values: np.ndarray, style: str, unit: str = "") -> str:
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():{style}}{unit} [{low:{style}}, {high:{style}}]"


if __name__ == "__main__":
    main()
