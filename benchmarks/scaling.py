"""What one example costs here: per token, per layer, per byte; and what that comes to for larger models and corpora.

The first table is measured, in seconds of one processor. The others are arithmetic: bytes follow from shapes and are
exact; times follow from operations and from an assumed machine, which is an option, and are no measurement.

    python -m benchmarks.scaling [--model smollm2] [--prompts 24] [--rounds 3] [--tflops 400] [--share 0.4]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import ellora_trust as et
from attribution.documents.building import Plan, Source
from attribution.gradient.encoding import products
from attribution.index import GradientIndex
from ellora_trust.cachedir import size_of
from ellora_trust.testbed.documents import corpus

ROWS, ROW_BYTES, SMALL = 20_000, 4096, "testbed"
NEW_TOKENS = 16


@dataclass(frozen=True)
class Measured:
    """Seconds of one processor, and bytes, on this machine."""

    forward: float
    """A token, read without the head."""
    capture_one: float
    """A token, with one site kept."""
    capture_all: float
    """A token, with every layer kept."""
    write: float
    """A token, generated."""
    stored: float
    """Bytes of one example at one layer and one position, on disk."""
    index: dict[str, float]
    """A token of a document, factors and row, over reading it without the head; by model."""
    scan: float
    """Bytes of stored rows that a question passes in a second."""


@dataclass(frozen=True)
class Size:
    """A model as it might be."""

    name: str
    parameters: float
    n_layers: int
    d_model: int


SIZES = (Size("7 B", 7e9, 32, 4096), Size("70 B", 70e9, 80, 8192))
CORPORA = (10**6, 10**7, 10**8, 10**9)


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    model = et.load(args.model)
    found = measure(model, args)
    print_measured(model, found)
    print_sizes(args)
    print_corpora(model, args, found)


def measure(model: et.CodeModel, args: argparse.Namespace) -> Measured:
    """Measure everything, each the median of some rounds."""
    prompts = [example.prompt for example in et.load_task("aliasing").examples(limit=args.prompts, seed=0)]
    n_tokens = sum(len(model.tokenizer(prompt).input_ids) for prompt in prompts)
    last = f"resid.{model.arch.n_layers - 1}"

    def median(work: Callable[[], object]) -> float:
        return statistics.median(processor(work) for _ in range(args.rounds))

    model.score(prompts[:2], [" x"] * 2)  # warm
    plain = median(lambda: read(model, prompts))
    reading = {sites: median(lambda s=sites: et.capture(model, prompts, s, "last")) for sites in (last, "resid.*")}
    writing = median(lambda: model.generate(prompts, max_new_tokens=NEW_TOKENS)) - plain
    return Measured(
        forward=plain / n_tokens,
        capture_one=reading[last] / n_tokens,
        capture_all=reading["resid.*"] / n_tokens,
        write=writing / (NEW_TOKENS * len(prompts)),
        stored=bytes_stored(model, prompts),
        index={one.name: indexing(one, args.index_tokens) for one in (et.load(SMALL), model)},
        scan=scanning(args.rounds),
    )


def processor(work: Callable[[], object]) -> float:
    """Seconds of the processor that a call takes, in all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def read(model: et.CodeModel, prompts: list[str]) -> None:
    """Run the decoder over the prompts and keep nothing."""
    from ellora_trust.positions import Passage
    from ellora_trust.runs import run

    run(model, [Passage(prompt) for prompt in prompts])


def bytes_stored(model: et.CodeModel, prompts: list[str]) -> float:
    """Bytes on disk an example, layer and position, file headers included."""
    with TemporaryDirectory() as folder:
        et.capture(model, prompts, "resid.*", "last", store=Path(folder))
        return size_of(Path(folder)) / len(prompts) / model.arch.n_layers


def indexing(model: et.CodeModel, n_tokens: int) -> float:
    """Time to index the testbed's documents, factors included, over time to read them."""
    documents = [Source(str(i), one.text) for i, one in enumerate(corpus(1, n_tokens=n_tokens))]
    with TemporaryDirectory() as folder:
        built = processor(lambda: GradientIndex.build(model, documents, Path(folder) / "index", plan=Plan()))
    return built / processor(lambda: read(model, [one.text for one in documents]))


def scanning(rounds: int) -> float:
    """Bytes a second of stored rows compared with one question, from memory, in one thread."""
    rng = np.random.default_rng(0)
    stored = {"codes": rng.integers(0, 256, (ROWS, ROW_BYTES), dtype=np.uint8), "norms": np.ones(ROWS, np.float32)}
    query = rng.standard_normal(8 * ROW_BYTES).astype(np.float32)
    return ROWS * ROW_BYTES / min(processor(lambda: products(stored, query, "bits")) for _ in range(rounds + 1))


def print_measured(model: et.CodeModel, found: Measured) -> None:
    n_layers = model.arch.n_layers
    per_layer = (found.capture_all - found.capture_one) / (n_layers - 1) / found.forward
    print(f"Measured: {model.name}, {n_layers} layers, one processor\n")
    print("| what | value |\n|---|---|")
    print(f"| reading a token, no head | {found.forward * 1e3:.2f} ms |")
    print(f"| the same, last token of one layer kept | {found.capture_one / found.forward:.3f} times that |")
    print(f"| the same, of all {n_layers} layers | {found.capture_all / found.forward:.3f} times that |")
    print(f"| so each further layer | {per_layer * 100:+.2f} % of reading |")
    print(f"| writing a token, batch as the budget allows | {found.write / found.forward:.2f} times reading one |")
    print(f"| on disk, an example at one layer and position | {found.stored:,.0f} bytes |")
    print(f"| of which numbers | {4 * model.arch.d_model:,} bytes |")
    for name, ratio in found.index.items():
        print(f"| indexing a token, {name} | {ratio:.1f} times reading one |")
    print(f"| a question passes rows at | {found.scan / 1e9:.2f} GB/s |")


def print_sizes(args: argparse.Namespace) -> None:
    speed = args.tflops * 1e12 * args.share
    print(f"\nArithmetic, not measured: {args.tflops:g} TFLOP/s a device, of which {args.share:.0%} is had; not here\n")
    print("| | " + " | ".join(size.name for size in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    rows: list[tuple[str, Callable[[Size], str]]] = [
        ("weights, bfloat16", lambda s: f"{2 * s.parameters / 1e9:,.0f} GB"),
        ("an example, all layers, one position, float32", lambda s: f"{4 * s.n_layers * s.d_model / 1e6:.2f} MB"),
        ("10,000 examples, all layers, three positions", lambda s: f"{12e4 * s.n_layers * s.d_model / 1e9:,.0f} GB"),
        ("10,000 examples, one layer, one position", lambda s: f"{4e4 * s.d_model / 1e6:,.0f} MB"),
        ("reading 10,000 prompts of 500 tokens", lambda s: duration(2 * s.parameters * 5e6 / speed)),
    ]
    for name, value in rows:
        print(f"| {name} | " + " | ".join(value(size) for size in SIZES) + " |")


def print_corpora(model: et.CodeModel, args: argparse.Namespace, found: Measured) -> None:
    """Bytes of an index, and times of building and asking, by documents of so many tokens."""
    speed = args.tflops * 1e12 * args.share
    ratio = found.index[model.name]
    print(f"\nDocuments of {args.document} tokens, {ROW_BYTES} bytes a row; building taken as {ratio:.1f} forwards\n")
    print(
        "| documents | index | a question, one processor here | building, 7 B | building, 70 B |\n|---|---|---|---|---|"
    )
    for n in CORPORA:
        build = [duration(ratio * 2 * size.parameters * n * args.document / speed) for size in SIZES]
        asked = duration(n * ROW_BYTES / found.scan)
        print(f"| {n:,} | {n * ROW_BYTES / 1e9:,.0f} GB | {asked} | {build[0]} | {build[1]} |")


def duration(seconds: float) -> str:
    """A time for people; of one processor or one device."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--index-tokens", type=int, default=10_000, help="of documents that are indexed")
    parser.add_argument("--tflops", type=float, default=400, help="assumed, of one device, in bfloat16")
    parser.add_argument("--share", type=float, default=0.4, help="assumed, of them that is had")
    parser.add_argument("--document", type=int, default=1000, help="assumed tokens of a document")
    return parser.parse_args()


if __name__ == "__main__":
    main()
