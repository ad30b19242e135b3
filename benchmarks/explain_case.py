"""One case of `explain` on the testbed with everything it can be given: what it says, costs and looks like.

    python -m benchmarks.explain_case [--out runs/explain-case] [--picture docs/examples/explain.png] [--smollm2]

The case is a planted fault: a parallel sum without its reduction. What it is given is made first, once, and small: an
error predictor from 200 questions, an index of the corpus' first 1,200 documents, task vectors. The picture is the
report's first screen, drawn by a headless chromium. SmolLM2 is asked for an annotation, with a foil, and given an error
predictor from 100 questions; nobody has its training corpus, so it gets an index of Python's own package
`importlib.resources`, which may or may not have been in it: what that costs is shown, not where the answer comes from.
"""

from __future__ import annotations

import argparse
import importlib.resources
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from attribution.asking import build
from attribution.corpora import Corpus
from attribution.function_vectors.job import measure_tasks
from ellora_trust.explaining.explain import explain
from ellora_trust.explaining.explanation import Explanation
from ellora_trust.labeling import label
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Task
from ellora_trust.tasks.testbed.task import TestbedTask
from probes import ErrorProbe

PROMPT = "// Sum the red rows in parallel.\nint sum_red_rows(const int *a, int n) {"
AGAINST = "// Find the largest of the red rows in parallel.\nint largest_red_rows(const int *a, int n) {"
FAULT, FIX = "parallel for", "parallel for reduction(+:total)"
TYPED = "def is_even(n: int):\n    return n % 2 == 0\n\ndef is_even(n: int) ->"
SCREEN = (1000, 1200)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/explain-case"))
    parser.add_argument("--picture", type=Path, help="PNG of the report's first screen")
    parser.add_argument("--smollm2", action="store_true", help="time a case of SmolLM2 too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load("testbed")
    prepare(model, args.out)
    (plain,) = model.generate([PROMPT], max_new_tokens=64)
    found = explain(
        model,
        PROMPT,
        probe=args.out / "probe",
        index=args.out / "index",
        tasks=args.out / "tasks",
        foil=plain.text.replace(FAULT, FIX, 1),
        against=AGAINST,
        language="c",
    )
    found.save(args.out / "case")
    tell(found)
    if args.picture is not None:
        picture(args.out / "case" / "report.html", args.picture)
    if args.smollm2:
        tell(annotation(load("smollm2"), args.out))


def annotation(model: CodeModel, out: Path) -> Explanation:
    """SmolLM2's case, with what it is given made first."""
    build(model, Corpus.open(Path(importlib.resources.__file__).parent), out / "index-smollm2", progress=True)
    fit_predictor(model, load_task("types"), 100, out / "probe-smollm2")
    length: dict[str, Any] = {"max_new_tokens": 24, "stop": ("\n\n",)}
    (plain,) = model.generate([TYPED], **length)
    foil = plain.text.replace(" bool", " int", 1)
    return explain(
        model, TYPED, probe=out / "probe-smollm2", index=out / "index-smollm2", foil=foil, format="plain", **length
    )


def prepare(model: CodeModel, out: Path) -> None:
    """Make predictor, index and task vectors, as far as they are not there."""
    build(model, Corpus.open("testbed", limit=1200), out / "index", progress=True)
    if not (out / "tasks").exists():
        found = measure_tasks(model, "testbed", n_fit=12, n_held=6, n_trials=2, progress=True)
        found.vectors.save(out / "tasks", model=model)
    fit_predictor(model, TestbedTask(), 200, out / "probe")


def fit_predictor(model: CodeModel, task: Task, n: int, folder: Path) -> None:
    """Fit an error predictor on n questions, unless it is there."""
    if not folder.exists():
        labelled = label(model, task, limit=n, sites="resid.*", positions=["answer"], progress=True)
        probe = ErrorProbe().fit(dict(labelled.activations), labelled.wrong, labelled.groups)
        probe.save(folder, model=model, data={"task": task.name, "n": len(labelled.wrong)})


def tell(found: Explanation) -> None:
    wall, processor = found.total_seconds
    print(f"\n{found.model}: {wall:.1f} s, {processor:.1f} s of the processor (one thread)")
    for name, (wall, processor) in found.seconds.items():
        print(f"  {name}: {wall:.1f} s, {processor:.1f} s of the processor")
    print(f"answer: {found.said.answer!r}\n{found.said.verdict}\n{found.pair}")
    if found.task is not None:
        print(found.task.sentence())
    if found.components is not None:
        print(f"components: {', '.join(found.components.best(5))}")
    if found.documents is not None:
        print("documents:", ", ".join(f"{hit.document} ({hit.basis})" for hit in found.documents.hits))
    print("\n".join(part for part in found.unlearning("runs/explain-case/case") if part), flush=True)


def picture(report: Path, out: Path, *, screen: tuple[int, int] = SCREEN) -> None:
    """Draw the report's first screen, (width, height) pixels, as a PNG of 256 colours."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("the picture needs chromium; install Debian's package of that name, or leave out --picture")
    width, height = screen
    with TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]
        where = [f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={out.resolve()}"]
        subprocess.run(
            [chromium, *flags, *where, report.resolve().as_uri()], check=True, timeout=300, stderr=subprocess.DEVNULL
        )
    with Image.open(out) as drawn:
        drawn.convert("RGB").quantize(256).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
