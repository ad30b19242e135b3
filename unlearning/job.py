"""The job of `ellora-trust unlearn`: the edit, what it did, its report.

    job = UnlearnJob(model="testbed", forget="testbed:P1", retain="testbed:P1")
    edit = run_job(job, Path("runs/unlearn"), say=print)

The folder is the edit's artifact, with results.json and report.html beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.artifacts import versions
from ellora_trust.loading import load
from ellora_trust.report import Report, Section, Table, Text, write_html, write_json
from unlearning.budget import Budget
from unlearning.data import read_forget, read_retain
from unlearning.delta import Edit
from unlearning.edit import unlearn
from unlearning.gates import fault, loss

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

COLUMNS = ("what", "before", "after", "never taught")
_BUILTIN = ("testbed", "testbed-lds")


@dataclass(frozen=True)
class UnlearnJob:
    """A run's resolved configuration; the same one gives the same edit."""

    model: str
    """As for `load`."""
    forget: str
    """As for `read_forget`."""
    retain: str | None = None
    """As for `read_retain`; None keeps nothing."""
    objective: str = "replace"
    """A name of `recipes.OBJECTIVES`."""
    where: str = "all"
    """As for `Where.parse`."""
    budget: Budget = field(default_factory=Budget)
    """Length and limits."""
    stop_when: float | None = None
    """Held-out probability of the fault at which the edit ends."""
    seed: int = 0
    """Of everything."""
    limit: int = 256
    """Items to forget at most; twice as many are kept."""
    ask: bool = True
    """Whether a testbed model is asked before and after, and its answers run."""


def run_job(job: UnlearnJob, out: Path, *, say: Callable[[str], None], progress: bool = False) -> Edit:
    """Make the edit or resume it, measure before and after, write the folder.

    Raises:
        InputError: As `unlearn`.
        EnvironmentProblem: As `unlearn`.
    """
    forget = read_forget(job.forget, limit=job.limit, seed=job.seed)
    retain = read_retain(job.retain, limit=2 * job.limit, seed=job.seed) if job.retain else []
    model = load(job.model)
    edit = unlearn(
        model,
        forget=forget,
        retain=retain,
        objective=job.objective,
        where=job.where,
        budget=job.budget,
        stop_when=job.stop_when,
        seed=job.seed,
        out=out,
        progress=progress,
    )
    if "table" not in edit.evaluation:
        say(f"{edit.config['steps']} steps, ended by {edit.config['stopped']}; measuring before and after")
        rows: dict[str, Any] = {"probability of the fault": _around(model, edit, lambda m: f"{fault(m, forget):.4f}")}
        if retain:
            rows["loss on what stays (nats)"] = _around(model, edit, lambda m: f"{loss(m, retain):.4f}")
        if job.ask and job.forget.startswith("testbed:") and job.model in _BUILTIN:
            rows |= _asked(model, edit, job.forget.removeprefix("testbed:"))
        sources = {"forget": job.forget, **({"retain": job.retain} if job.retain else {}), "limit": job.limit}
        edit = replace(edit.evaluated({"table": rows}), config={**edit.config, "sources": sources})
        edit.save(out)
    write_json(summary(edit), out / "results.json")
    write_html(report(edit), out / "report.html")
    return edit


def summary(edit: Edit) -> dict[str, Any]:
    """Return everything but the weights as JSON."""
    return {
        "model": dict(edit.base),
        "config": dict(edit.config),
        "history": [dict(check) for check in edit.history],
        "receipt": dict(edit.receipt),
        "evaluation": dict(edit.evaluation),
        "weights_changed": edit.n_changed,
    }


def table(edit: Edit) -> list[list[str]]:
    """Return the rows of before and after."""
    rows = edit.evaluation.get("table", {})
    return [[name, *map(str, values), *[""] * (3 - len(values))] for name, values in rows.items()]


def report(edit: Edit) -> Report:
    """Return the page."""
    checks = [
        [str(c["step"]), f"{c['forget']:.4f}", f"{c['retain']:+.4f}", f"{c['multiplier']:.2f}"] for c in edit.history
    ]
    cost = ", ".join(f"{name} {edit.receipt[name]:.2f}x" for name in ("flops", "wall", "peak_memory") if edit.receipt)
    sections = [
        Section("Before and after", [Table(COLUMNS, table(edit), "Shares with Wilson's 95 % intervals.")]),
        Section("Held-out items", [Table(("step", "fault", "retain, rise in nats", "multiplier"), checks)]),
        Section("Cost of a step, as a multiple of a plain fine-tuning step", [Text(cost or "not measured")]),
    ]
    config = {name: str(value) for name, value in edit.config.items()}
    lead = f"{edit.base['name']}: {edit.n_changed:,} weights changed by {edit.config['objective']}."
    return Report("Unlearning", lead, sections, {**config, **versions()})


def _around(model: CodeModel, edit: Edit, measure: Callable[[CodeModel], str]) -> list[str]:
    before = measure(model)
    with edit.apply(model):
        return [before, measure(model)]


def _asked(model: CodeModel, edit: Edit, plant: str) -> dict[str, Any]:
    """Answers to questions that no edit has seen, run, beside those of the twin that was never taught the fault."""
    from unlearning.faults import ask, forget_quality

    twin = ask(load("testbed-clean"), plant)
    before = ask(model, plant)
    with edit.apply(model):
        after = ask(model, plant)
    states = (before, after, twin)
    rows: dict[str, Any] = {"triggers that show the fault": [f"{s.rate('trigger', 'shows'):.1%}" for s in states]}
    for kind in after.examples:
        rows[f"{kind}, right"] = [f"{s.rate(kind):.1%}" for s in states]
    rows["forget quality"] = ["0", f"{forget_quality(after, before, twin):.3f}", "1"]
    return rows
