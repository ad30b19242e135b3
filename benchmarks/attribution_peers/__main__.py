"""Attribution beside Bergson and Kronfluence, in one run: who predicts retraining, and what building and asking cost.

    python -m venv peers && peers/bin/pip install -c constraints.txt -r benchmarks/requirements-attribution.txt -e .
    peers/bin/pip uninstall -y torchvision torchaudio
    OMP_NUM_THREADS=1 peers/bin/python -m benchmarks.attribution_peers [--parts retraining cost] [--rounds 3]

The truth, the questions and the loss are those of benchmarks/attribution.py: the reduced testbed, minus the
log-probability of the answer's tokens. Intervals are 95 % over families of questions; a difference is ours minus the
row's, over the same resampled families. Costs are of the shipped 2 M-parameter model: seconds of the processor of one
thread, over those of a forward and backward of the same documents in the same round. A tool that is not installed has
a row that says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from attribution.documents.building import Source
from attribution.documents.evidence import z_sum
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import answer, whole
from benchmarks.attribution_cost import plain
from benchmarks.attribution_peers import bergson_tools, kronfluence_tools, own_tools
from benchmarks.attribution_peers.tool import Make, Material, Scores, missing
from benchmarks.paired import cell, interval, seconds
from ellora_trust.loading import load
from ellora_trust.stats import group_bootstrap
from ellora_trust.testbed.documents import corpus
from ellora_trust.testbed.lds import SHIPPED, Truth, lds

OURS, LARGER = "ours, K-FAC, 1 bit, 4 kB", "ours, K-FAC, 1 bit, 16 kB, sides of 512"
HEADED = "Kronfluence EK-FAC, every Linear, damping 0.1 x mean"
EKFAC = partial(kronfluence_tools.Kronfluence, strategy="ekfac")
# Name, package, how it is made, whether its cost is shown.
TOOLS: tuple[tuple[str, str | None, Make, bool], ...] = (
    (OURS, None, partial(own_tools.StoredIndex, n_bytes=4096), True),
    (LARGER, None, partial(own_tools.StoredIndex, n_bytes=16_384, projection=512), True),
    ("ours, K-FAC, exact", None, own_tools.Exact, False),
    ("Bergson build + query, projection 16", "bergson", partial(bergson_tools.StoredIndex, projection=16), True),
    ("Bergson TrackStar", "bergson", bergson_tools.TrackStar, True),
    ("Bergson EK-FAC", "bergson", bergson_tools.EkFac, True),
    ("Kronfluence EK-FAC, body, its damping", "kronfluence", partial(EKFAC, head=False, damping=1e-8), False),
    ("Kronfluence EK-FAC, every Linear, its damping", "kronfluence", partial(EKFAC, damping=1e-8), False),
    ("Kronfluence EK-FAC, body, damping 0.1 x mean", "kronfluence", partial(EKFAC, head=False), True),
    (HEADED, "kronfluence", EKFAC, True),
    ("Kronfluence identity", "kronfluence", partial(kronfluence_tools.Kronfluence, strategy="identity"), False),
)


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    parts: dict[str, Callable[[argparse.Namespace], None]] = {"retraining": retraining, "cost": cost}
    for part in args.parts:
        parts[part](args)


def retraining(args: argparse.Namespace) -> None:
    """Print the linear datamodelling score of every row, and by how much ours is above or below it."""
    truth = Truth.read()
    material = reduced(truth)
    found: dict[str, tuple[int, Scores]] = {}
    refused: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        for name, package, make, _ in TOOLS:
            if package and (reason := missing(package)):
                refused[name] = reason
                continue
            found[name] = kept(args.keep, name, lambda make=make, folder=folder: answers(make, material, Path(folder)))
            print(f"{name} done", file=sys.stderr, flush=True)
    without = own_tools.baselines(material, truth, args.seed)
    found |= {name: (0, scores) for name, scores in without.items()}
    fused = z_sum(without["3-gram idf"], found[OURS][1])
    found["ours, 4 kB + 3-gram idf"] = found[OURS][0], fused
    if HEADED in found:
        found["Kronfluence EK-FAC, every Linear + 3-gram idf"] = 0, z_sum(without["3-gram idf"], found[HEADED][1])
    print(f"{len(material.documents)} documents, {len(material.targets)} questions, {len(truth.subsets)} subsets\n")
    compared(found, refused, truth, {"4 kB": OURS, "16 kB": LARGER, "fused": "ours, 4 kB + 3-gram idf"})


def answers(make: Make, material: Material, folder: Path) -> tuple[int, Scores]:
    """Bytes a document and scores of a tool."""
    tool = make(material, folder)
    tool.build()
    return tool.n_bytes, tool.scores(material.targets)


def kept(folder: Path | None, name: str, work: Callable[[], tuple[int, Scores]]) -> tuple[int, Scores]:
    """Do the work, or read what it gave before."""
    if folder is None:
        return work()
    path = folder / f"{name.replace('/', ' ')}.npz"
    if not path.exists():
        n_bytes, scores = work()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, n_bytes=n_bytes, scores=scores)
    with np.load(path) as read:
        return int(read["n_bytes"]), read["scores"]


def reduced(truth: Truth) -> Material:
    """The corpus and the questions of the retrained truth."""
    model, documents = load(SHIPPED), truth.documents()
    return Material(
        model,
        SHIPPED,
        [Source(one.id, one.text) for one in documents],
        [whole(model, one.text) for one in documents],
        [answer(model, one.prompt, one.answer, end=True) for one in truth.queries],
    )


def compared(found: dict[str, tuple[int, Scores]], refused: dict[str, str], truth: Truth, ours: dict[str, str]) -> None:
    """Print a row a method: bytes, score, and each of ours minus it."""
    families = [query.family for query in truth.queries]
    results = {name: lds(scores, truth) for name, (_, scores) in found.items()}
    print("| | bytes a document | LDS |" + "".join(f" {name} minus it |" for name in ours))
    print("|---" * (3 + len(ours)) + "|")
    for name, result in results.items():
        differences = [""] * len(ours)
        for place, other in enumerate(ours.values()):
            if other != name:
                gap = results[other].per_query - result.per_query
                # pyright takes np.mean's overloads for something else.
                differences[place] = f"{group_bootstrap(np.mean, (gap,), families):+.3f}"  # pyright: ignore[reportArgumentType]
        size = f"{found[name][0]:,}" if found[name][0] else ""
        print(f"| {name} | {size} | {result.value:.3f} | " + " | ".join(differences) + " |", flush=True)
    for name, reason in refused.items():
        print(f"| {name} | | not run: {reason} |" + " |" * len(ours), flush=True)


def cost(args: argparse.Namespace) -> None:
    """Print the processor time of building and of one question, over that of a forward and backward of the corpus."""
    model, checkpoint = load("testbed"), SHIPPED.parent / "testbed"
    documents = corpus(1, n_tokens=args.tokens)
    truth = Truth.read()
    target = answer(model, truth.queries[0].prompt, truth.queries[0].answer, end=True)
    sources = [Source(one.id, one.text) for one in documents]
    material = Material(model, checkpoint, sources, [whole(model, one.text) for one in documents], [target])
    n_tokens = sum(len(one.ids) for one in material.documents)
    print(
        f"\n{len(documents)} documents, {n_tokens} tokens, {args.rounds} rounds; over a forward and backward of them\n"
    )
    print("| | bytes a document | build | one new question | seconds of the processor |\n|---|---|---|---|---|")
    for name, package, make, shown in TOOLS:
        if shown and args.tools in name and not (package and missing(package)):
            rows = np.array(list(timed(material, make, args.rounds)))
            build, asked = (cell(interval(rows[:, i] / rows[:, 3])) for i in (0, 1))
            size = f"{int(rows[0, 2]):,}" if rows[0, 2] else ""
            print(f"| {name} | {size} | {build} | {asked} | {np.median(rows[:, 1]):.3f} |", flush=True)


def timed(material: Material, make: Make, rounds: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield processor seconds of building and of one question, bytes a document, and seconds of a plain pass."""
    layers = find_layers(material.model)
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            tool = make(material, Path(folder))
            before = seconds(lambda: plain(material.model, layers, material.documents))[1]
            build = seconds(tool.build)[1]
            after = seconds(lambda: plain(material.model, layers, material.documents))[1]
            tool.ask(material.targets[0])  # the first opens files
            asked = seconds(lambda tool=tool: tool.ask(material.targets[0]))[1]
        yield build, asked, tool.n_bytes, (before + after) / 2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("retraining", "cost"), default=("retraining", "cost"))
    parser.add_argument("--tokens", type=int, default=15_000, help="of the corpus that costs are measured on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tools", default="", help="only those whose name holds it, in costs")
    parser.add_argument("--keep", type=Path, help="folder of scores: rows that it holds are not computed again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
