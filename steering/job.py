"""The job of `ellora-trust steer`: pairs, vectors, sweep, controls, report; finished parts are not done again.

    job = SteerJob(model="smollm2", task="types", edits=("rename_vars",), limit=600)
    studies = run_job(job, Path("runs/steer"), say=print)

The run folder: run.json, pairs-EDIT.jsonl, study-EDIT.json, vector-EDIT/, results.json, report.html.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ellora_trust.artifacts import versions
from ellora_trust.errors import InputError, one_of
from ellora_trust.loading import load
from ellora_trust.report import Report, Section, Table, write_html, write_json
from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Task
from steering.directions import Method
from steering.measuring.elsewhere import Elsewhere
from steering.measuring.grid import Grid
from steering.measuring.report import HEADLINE, headline, section
from steering.measuring.result import Study
from steering.measuring.settings import Settings
from steering.measuring.study import study
from steering.pairs import DIRECTIONS, EDITS, PairSet, compile_pairs, matched_pairs
from steering.pairs.edits import edit_names

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

METHODS = (*get_args(Method), "trained")
DEFAULT_EDITS = {"types": EDITS, "testbed": EDITS}


@dataclass(frozen=True)
class SteerJob:
    """A run's resolved configuration; the same one gives the same numbers.

    Attributes:
        model: As for `load`.
        task: `types` or `testbed` (its annotations, by fill-in-the-middle): edits. `aliasing`, `pointers`: directions.
        edits: Which pairs; each is a study of its own.
        limit: Originals, at most; None takes all.
        draws: Times each original is edited, with other sites.
        max_per_program: Pairs of one file and edit, at most; the paper's cap is 25.
        max_per_type: Pairs of one type and edit, at most; the paper's cap is 4.
        seed: Of everything.
        source: Your own code, for the task types.
        method: How directions are fitted.
        every: Distance of the sweep's first layers.
        strengths: Multiples of the direction.
    """

    model: str = "smollm2"
    task: str = "types"
    edits: tuple[str, ...] = ()
    limit: int | None = 600
    draws: int = 1
    max_per_program: int | None = None
    max_per_type: int | None = None
    seed: int = 0
    source: str | None = None
    method: Method | Literal["trained"] = "mean_difference"
    every: int = 3
    strengths: tuple[float, ...] = (1.0, 2.0)

    def settings(self) -> Settings:
        if self.method not in METHODS:
            raise InputError(one_of(self.method, METHODS, what="method"))
        return Settings(self.method, Grid(strengths=self.strengths, every=self.every), seed=self.seed)

    def asked(self) -> tuple[str, ...]:
        """Return the edits, or the task's own where none was named.

        Raises:
            InputError: The task has no pairs, or an unknown edit.
        """
        for edit in self.edits:
            if edit not in DIRECTIONS:
                edit_names(edit)
        if self.edits:
            return self.edits
        if self.task in ("aliasing", "pointers"):
            return DIRECTIONS
        if self.task not in DEFAULT_EDITS:
            raise InputError(f"task {self.task!r} has no contrast pairs; use types, aliasing, pointers or testbed")
        return DEFAULT_EDITS[self.task]


def run_job(job: SteerJob, out: Path, *, say: Callable[[str], None], progress: bool = False) -> list[Study]:
    """Run or resume the job and write its folder.

    Raises:
        InputError: An unknown name, a folder of another job, or too few pairs.
    """
    asked, settings = job.asked(), job.settings()
    _claim(job, out)
    model = load(job.model)
    task = _task(job)
    elsewhere = Elsewhere.of(model, job.task, seed=job.seed)
    studies = []
    for edit in asked:
        done = out / f"study-{edit}.json"
        if done.exists():
            say(f"{edit}: done before")
            before = Study.from_dict(json.loads(done.read_text()), out / f"vector-{edit}")
            _check_model(before.model, model, out)
            studies.append(before)
            continue
        pairs = _pairs(model, task, edit, job, out, progress)
        say(f"{edit}: {len(pairs)} pairs")
        found = study(
            model,
            task,
            pairs,
            settings,
            other=elsewhere.directions,
            unrelated=elsewhere.prompts[: settings.n_unrelated],
            out=out / "work",
            progress=progress,
        )
        data = {"task": job.task, "edit": edit, "pairs": len(pairs), "sha256": pairs.content_hash()}
        metrics = {name: one.to_dict() for name, one in found.estimates.items()}
        found.vector.save(out / f"vector-{edit}", model=model, data=data, metrics=metrics)
        write_json(found.to_dict(), done)
        studies.append(found)
    _write(job, model, studies, out)
    return studies


def _task(job: SteerJob) -> Task:
    if job.task != "testbed":
        return load_task(job.task, source=Path(job.source) if job.source else None)
    from ellora_trust.tasks.testbed.task import TestbedTask

    return TestbedTask(kind="types")


def _claim(job: SteerJob, out: Path) -> None:
    """Write what the run is of, or refuse a folder that belongs to another one."""
    path, described = out / "run.json", json.loads(json.dumps(asdict(job)))
    # Before there are pairs nothing was done: a slip in a setting does not bind the folder.
    if path.exists() and any(out.glob("pairs-*.jsonl")):
        before = json.loads(path.read_text())["job"]
        changed = [name for name in described if name != "edits" and before.get(name) != described[name]]
        if changed:
            name = changed[0]
            raise InputError(
                f"{out} holds a run with {name} {before.get(name)!r}, now {described[name]!r} was asked; use another "
                "--out or the same settings"
            )
    write_json({"job": described, "versions": versions()}, path)


def _check_model(before: Mapping[str, str], model: CodeModel, out: Path) -> None:
    """Refuse what another model of the same name said, as after more training of a local folder."""
    if before["fingerprint"] != model.fingerprint:
        raise InputError(
            f"{out} holds answers of {before['name']} (fingerprint {before['fingerprint'][:12]}), but {model.name} is "
            f"now {model.fingerprint[:12]}; use another --out"
        )


def _pairs(model: CodeModel, task: Task, edit: str, job: SteerJob, out: Path, progress: bool) -> PairSet:
    path = out / f"pairs-{edit}.jsonl"
    if path.exists():
        before = PairSet.load(path)
        _check_model(before.model, model, out)
        return before
    how: dict[str, Any] = {
        "limit": job.limit,
        "seed": job.seed,
        "max_per_program": job.max_per_program,
        "progress": progress,
        "store": out / "work" / "answers",
    }
    if edit in DIRECTIONS:
        found = matched_pairs(model, task, edit, **how)
    else:
        found = compile_pairs(model, task, [edit], draws=job.draws, max_per_type=job.max_per_type, **how)
    found.save(path)
    return found


def _write(job: SteerJob, model: CodeModel, studies: list[Study], out: Path) -> None:
    write_json({"job": asdict(job), "studies": [one.to_dict() for one in studies]}, out / "results.json")
    overview = Section("All edits", [Table(HEADLINE, [headline(one) for one in studies])])
    provenance = {"model": model.name, "fingerprint": model.fingerprint, "seed": str(job.seed), **versions()}
    lead = f"Activation steering of {model.name} on {job.task}: what it recovers, and what it breaks."
    report = Report("Activation steering", lead, [overview, *map(section, studies)], provenance)
    write_html(report, out / "report.html")
