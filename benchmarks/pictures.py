"""The pictures of the documentation, drawn by the library from runs on the testbed and from committed comparisons.

    python -m benchmarks.pictures [--only steering compare] [--work runs/pictures] [--out docs/examples]

Plots are matplotlib's; first screens of reports are drawn by a headless chromium. What a run made is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attribution.asking import build
from attribution.corpora import Corpus
from benchmarks.explain_case import FAULT, FIX, PROMPT, picture
from ellora_trust.evaluation.comparison import Comparison
from ellora_trust.evaluation.shown.figures import plot_attacks, plot_tasks
from ellora_trust.evaluation.shown.page import write_page
from ellora_trust.labeling import label
from ellora_trust.loading import load
from ellora_trust.tasks.testbed.task import TestbedTask
from probes.measuring.evaluation import evaluate
from probes.reporting.plots import plot_auroc_by_site, plot_reliability, plot_roc
from steering.job import SteerJob, run_job
from steering.measuring.figures import plot_controls, plot_sweep

REPORTS = {"testbed-unlearned-P1": 2300, "smollm2-int4": 1400, "smollm2-steered-types": 1400}
"""Committed comparisons and the pixels of their first screens."""
LARGEST = 150_000
"""Bytes of a picture."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=tuple(PICTURES), default=tuple(PICTURES))
    parser.add_argument("--work", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--out", type=Path, default=Path("docs/examples"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        began = time.process_time()
        PICTURES[name](args.work, args.out)
        print(f"{name}: {time.process_time() - began:.0f} s of this process", flush=True)
    large = [path.name for path in args.out.glob("*.png") if path.stat().st_size > LARGEST]
    if large:
        raise SystemExit(f"larger than {LARGEST // 1000} kB: {', '.join(large)}")


def error_predictors(work: Path, out: Path) -> None:
    """400 questions of the testbed, half of which trigger planted faults."""
    model = load("testbed")
    labelled = label(model, TestbedTask(), limit=400, sites="resid.*", positions=["answer"], progress=True)
    found = evaluate(labelled, model_name=model.name)
    figure, (left, middle, right) = panels(3)
    plot_reliability(found, left)
    plot_roc(found, middle)
    plot_auroc_by_site(found, right)
    keep(figure, out / "predictors-testbed.png")


def attribution(work: Path, out: Path) -> None:
    """The documents behind a parallel sum without its reduction, of the corpus' first 1,200."""
    model = load("testbed")
    build(model, Corpus.open("testbed", limit=1200), work / "index", progress=True)
    (plain,) = model.generate([PROMPT], max_new_tokens=64)
    foil = plain.text.replace(FAULT, FIX, 1)
    page = work / "query.html"
    asking = ["attribute", "query", PROMPT, "--index", f"{work}/index", "--answer", plain.text, "--foil", foil]
    command(*asking, "--lines", "-k", "5", "--out", f"{page}")
    picture(page, out / "documents-testbed.png")


def steering(work: Path, out: Path) -> None:
    """Renamed variables, 600 originals."""
    job = SteerJob(model="testbed", task="testbed", edits=("rename_vars",), limit=600, every=1)
    (study,) = run_job(job, work / "steer", say=print, progress=True)
    figure, (left, right) = panels(2)
    plot_sweep(study, left)
    plot_controls(study, right)
    keep(figure, out / "steering-testbed.png")


def unlearning(work: Path, out: Path) -> None:
    """The commands of docs/unlearning.md: a place that interpretation chose, beside its control."""
    where, edit = work / "where", work / "edit"
    if not (where / "results.json").exists():
        asked = ("--task", "testbed", "--limit", "12", "--model", "testbed")
        command("attribute", "components", *asked, "--out", f"{where}")
    place = ("--where", f"components:{where}:1", "--learning-rate", "0.001")
    how = ("--steps", "24", "--limit", "96", *place, "--out", f"{edit}")
    command("unlearn", "--model", "testbed", "--forget", "testbed:P1", *how)
    command("unlearn", "show", f"{edit}", "--picture", f"{out / 'unlearned-P1-by-components.png'}")


def compare(work: Path, out: Path) -> None:
    """From the committed comparison of the unlearned testbed."""
    candidate = Comparison.load(out / "testbed-unlearned-P1.json").candidates[0]
    figure, axes = panels(2, width=5.6)
    for plot, ax in zip((plot_tasks, plot_attacks), axes, strict=True):
        plot(candidate, ax)
        # Inside of the axes it would lie on points.
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize="small")
    keep(figure, out / "compared-P1.png")


def reports(work: Path, out: Path) -> None:
    """First screens of the committed comparisons."""
    for name, height in REPORTS.items():
        page = work / f"{name}.html"
        write_page(Comparison.load(out / f"{name}.json"), page)
        picture(page, out / f"{name}.png", screen=(1000, height))


def explained(work: Path, out: Path) -> None:
    """One case of `explain`."""
    made = ["--out", f"{work / 'explain-case'}", "--picture", f"{out / 'explain.png'}"]
    subprocess.run([sys.executable, "-m", "benchmarks.explain_case", *made], check=True)


def command(*arguments: str) -> None:
    """Run a command of the library, as a user would."""
    subprocess.run([sys.executable, "-m", "ellora_trust", *arguments], check=True, stdout=subprocess.DEVNULL)


def panels(n: int, *, width: float = 4.6) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * n, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, n)


def keep(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=80)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


PICTURES = {
    "error-predictors": error_predictors,
    "attribution": attribution,
    "steering": steering,
    "unlearning": unlearning,
    "compare": compare,
    "reports": reports,
    "explain": explained,
}


if __name__ == "__main__":
    main()
