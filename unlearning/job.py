"""The job of `ellora-trust unlearn`: the edit, its control where its place was interpreted, what they did, the report.

    job = UnlearnJob("testbed", Sources("testbed:P1", "testbed:P1"))
    edit = run_job(job, Path("runs/unlearn"), say=print)

The folder is the edit's artifact, with results.json, report.html and, where there is a control, control/ beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.report import write_html, write_json
from unlearning.checkpoint.delta import Edit
from unlearning.control import FOLDER, beside_control
from unlearning.data import Item, read_forget, read_retain
from unlearning.edit import unlearn
from unlearning.judging.measured import AFTER, CONTROL, answered, measured
from unlearning.judging.reporting import report, summary
from unlearning.sources.own_errors import PREFIX, own_errors
from unlearning.training.budget import Budget
from unlearning.where import Where

_BUILTIN = ("testbed", "testbed-lds")


@dataclass(frozen=True)
class Sources:
    """What shall go and what shall stay."""

    forget: str
    """As for `read_forget`, or `task:NAME`: the model's own wrong answers to a task."""
    retain: str | None = None
    """As for `read_retain`, or the same `task:NAME`: its right answers; None keeps nothing."""
    limit: int = 256
    """Items to forget at most; twice as many are kept."""
    only: str | None = None
    """As for `read_forget`."""

    @property
    def task(self) -> str | None:
        """The task whose answers are to be mended."""
        return self.forget.removeprefix(PREFIX) if self.forget.startswith(PREFIX) else None

    def read(self, model: CodeModel, seed: int) -> tuple[list[Item], list[Item]]:
        """Return both sets; of a task the model answers first.

        Raises:
            InputError: As `read_forget`, or as `own_errors`.
        """
        if self.task is not None:
            if self.only is not None or self.retain not in (None, self.forget):
                raise InputError(f"{self.forget} brings what stays and needs no mask; leave out --retain and --only")
            forget, kept = own_errors(model, self.task, limit=self.limit, seed=seed, progress=True)
            return forget, kept if self.retain else []
        forget = read_forget(self.forget, limit=self.limit, seed=seed, only=self.only)
        return forget, read_retain(self.retain, limit=2 * self.limit, seed=seed) if self.retain else []


@dataclass(frozen=True)
class UnlearnJob:
    """A run's resolved configuration; the same one gives the same edit."""

    model: str
    """As for `load`."""
    sources: Sources
    """What shall go and stay."""
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
    recompute: bool = False
    """As for `unlearn`."""
    robust: str | None = None
    """As for `unlearn`."""
    ask: bool = True
    """Whether a testbed model is asked before and after, and its answers run."""

    @property
    def plant(self) -> str | None:
        """The plant whose questions the model is asked; None where there are none."""
        asked = self.ask and self.sources.forget.startswith("testbed:") and self.model in _BUILTIN
        return self.sources.forget.removeprefix("testbed:") if asked else None


def run_job(job: UnlearnJob, out: Path, *, say: Callable[[str], None], progress: bool = False) -> Edit:
    """Make the edit or resume it, and its control; measure before and after; write the folder.

    Raises:
        InputError: As `unlearn`, or an interpreted place that leaves none for a control.
        EnvironmentProblem: As `unlearn`.
    """
    model = load(job.model)
    forget, retain = job.sources.read(model, job.seed)
    place = Where.parse(job.where, model)

    def make(where: Where, folder: Path | None) -> Edit:
        if folder == out / FOLDER:
            say(f"the control: the same edit at random, {where.text}")
        return unlearn(
            model,
            forget=forget,
            retain=retain,
            objective=job.objective,
            where=where,
            robust=job.robust,
            budget=job.budget,
            stop_when=job.stop_when,
            seed=job.seed,
            out=folder,
            recompute=job.recompute,
            progress=progress,
        )

    edit, control = beside_control(make, place, model, seed=job.seed, out=out)
    if "measures" in edit.evaluation:
        _write(edit, out)
        return edit
    say(f"{edit.config['steps']} steps, ended by {edit.config['stopped']}; measuring before and after")
    edits = {AFTER: edit, **({CONTROL: control} if control else {})}
    rows = measured(model, edits, forget, retain, plant=job.plant)
    if job.sources.task is not None:
        rows.append(answered(model, edits, job.sources.task, limit=job.sources.limit, seed=job.seed))
    edit = _evaluated(edit, control, rows, job, place)
    # All at once: the control must not be lost between the edit's first and second writing.
    with replacing(out) as beside:
        edit.save(beside)
        if control is not None:
            control.save(beside / FOLDER)
        _write(edit, beside)
    return edit


def _evaluated(edit: Edit, control: Edit | None, rows: list[dict[str, Any]], job: UnlearnJob, place: Where) -> Edit:
    evaluation: dict[str, Any] = {"measures": rows}
    config = {**edit.config, "sources": asdict(job.sources), "recompute": job.recompute}
    if control is not None:
        config["chosen_by"] = place.chosen_by
        evaluation["control"] = {
            "chosen_by": place.chosen_by,
            "where": control.config["where"],
            "stopped": control.config["stopped"],
            "history": [dict(check) for check in control.history],
            "weights_changed": control.n_changed,
        }
    return replace(edit.evaluated(evaluation), config=config)


def _write(edit: Edit, folder: Path) -> None:
    write_json(summary(edit), folder / "results.json")
    write_html(report(edit), folder / "report.html")
