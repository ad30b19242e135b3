"""The whole of `ellora-trust probe`: label, capture, evaluate, fit, save, report.

job = ProbeJob(model="smollm2", tasks=("types", "aliasing"), limit=400)
run_job(job, Path("runs/probe"), say=print)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ellora_trust.artifacts import describe_model, versions
from ellora_trust.cachedir import cache_dir
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.labeling import Labelled, label, label_given
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.report import Report, write_html, write_json
from ellora_trust.sandbox import Sandbox, choose
from ellora_trust.tasks import Task, load_task, reads_source
from probes.error_probe import ErrorProbe
from probes.evaluation import N_PERMUTATIONS, evaluate, subset
from probes.given import Given, read_labels
from probes.report import section
from probes.result import Evaluation

SITES = ("embed", "resid.*")
POSITIONS = ("prompt_end", "answer", "answer.last")


@dataclass(frozen=True)
class ProbeJob:
    """A run's resolved configuration; the same one gives the same numbers.

    Attributes:
        model: As for `load`.
        tasks: Names of tasks; ignored where `labels` is given.
        limit: Examples of each task.
        seed: Of the choice of examples, folds, permutations.
        source: Code base for tasks that read one.
        labels: JSONL file of prompts, answers and verdicts.
        permutations: Label permutations, >= 50 for a p-value below 0.02.
        unsafe: Run programs without isolation; recorded in the results.
        format: How questions are put.
        dtype: Of the weights; None takes float32 on a CPU.
        device: Where; None takes a GPU if there is one.
    """

    model: str = "smollm2"
    tasks: tuple[str, ...] = ("types", "aliasing")
    limit: int = 600
    seed: int = 0
    source: str | None = None
    labels: str | None = None
    permutations: int = N_PERMUTATIONS
    unsafe: bool = False
    format: str = "auto"
    dtype: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"--limit is {self.limit}; give at least 1 (several hundred for useful intervals)")
        if self.permutations < 2:
            raise InputError(f"--permutations is {self.permutations}; give at least 2 (50 or more to be of use)")


@dataclass(frozen=True)
class JobResult:
    """What a run found, one entry a task.

    Attributes:
        evaluations: In the order of the tasks.
        warnings: About rare classes.
        seconds: By step.
        skipped: Task -> why this machine cannot run it; such a task counts for nothing.
        oracles: Task -> what decided its outcomes: compilers, versions, isolation.
    """

    evaluations: list[Evaluation]
    warnings: list[str]
    seconds: dict[str, float]
    skipped: dict[str, str] = field(default_factory=dict)
    oracles: dict[str, dict[str, str]] = field(default_factory=dict)


def run_job(
    job: ProbeJob, out: Path, *, say: Callable[[str], None] = lambda line: None, progress: bool = False
) -> JobResult:
    """Run everything and write `results.json`, `report.html` and one predictor a task into `out`.

    Args:
        job: What to do.
        out: Run folder.
        say: Called with a line at each step.
        progress: Show progress bars.

    Raises:
        InputError: Anything the user can mend.
    """
    clock = _Clock()
    sets: Sequence[Task | Given] = [read_labels(Path(job.labels))] if job.labels else _questions(job)
    say(f"loading {job.model}")
    model = load(job.model, dtype=job.dtype, device=job.device)
    clock.lap("load")
    found = JobResult([], [], clock.laps)
    pairs: list[tuple[Evaluation, Labelled]] = []
    for one in sets:
        say(f"{one.name}: answering and capturing")
        try:
            labelled = _labelled(model, one, job, progress)
        except EnvironmentProblem as problem:
            if len(sets) == 1:
                raise
            found.skipped[one.name] = str(problem)
            say(f"{one.name}: skipped, {problem}")
            continue
        clock.lap(f"{one.name}: answer and capture")
        found.oracles[one.name] = one.oracle() if isinstance(one, Task) else {}
        result = _evaluated(labelled, job, found, say)
        clock.lap(f"{one.name}: evaluate")
        _save_probe(model, labelled, result, out / f"probe-{one.name}")
        clock.lap(f"{one.name}: fit and save")
        pairs.append((result, labelled))
    if not pairs:
        raise EnvironmentProblem("no task can be run here: " + "; ".join(found.skipped.values()))
    _write(job, model, pairs, found, out)
    return found


def _questions(job: ProbeJob) -> list[Task]:
    if job.source and not any(map(reads_source, job.tasks)):
        load_task(job.tasks[0], source=Path(job.source))  # says which tasks read one
    box = Sandbox(choose("none")) if job.unsafe else None
    # One --source serves the tasks that read one; the others make their own questions.
    sources = {name: Path(job.source) if job.source and reads_source(name) else None for name in job.tasks}
    return [load_task(name, source=sources[name], box=box) for name in job.tasks]


def _evaluated(labelled: Labelled, job: ProbeJob, found: JobResult, say: Callable[[str], None]) -> Evaluation:
    name = labelled.name
    if warning := labelled.warning():
        found.warnings.append(warning)
        say(f"warning: {warning}")
    say(f"{name}: {labelled.counts()}")
    result = evaluate(
        labelled,
        model_name=job.model,
        n_permutations=job.permutations,
        tick=lambda step: say(f"{name}: {step}"),
    )
    found.evaluations.append(result)
    return result


def _labelled(model: CodeModel, one: Task | Given, job: ProbeJob, progress: bool) -> Labelled:
    store = cache_dir() / "activations"
    if not isinstance(one, Task):
        return label_given(
            model,
            one.name,
            one.examples,
            one.answers,
            one.wrong,
            sites=SITES,
            positions=POSITIONS,
            store=store,
            progress=progress,
        )
    return label(
        model,
        one,
        limit=job.limit,
        seed=job.seed,
        sites=SITES,
        positions=POSITIONS,
        format=job.format,  # pyright: ignore[reportArgumentType]  # render() checks it
        store=store,
        progress=progress,
    )


def _save_probe(model: CodeModel, labelled: Labelled, result: Evaluation, folder: Path) -> None:
    kept = subset(labelled, np.flatnonzero(labelled.decided))
    probe = ErrorProbe().fit({key: kept.activations[key] for key in kept.activations}, kept.wrong, kept.groups)
    data = {
        "task": labelled.name,
        "n": len(kept.examples),
        "n_groups": len(np.unique(kept.groups)),
        "sha256": labelled.content_hash(),
        "prompt_format": labelled.prompt_format,
        "header": labelled.header,
        "mode": "activations taken while the answer was generated"
        if labelled.generations[0].finish != "given"
        else "activations of given answers",
    }
    metrics = {
        "AUROC, nested cross-validation": result.probe.to_dict(),
        f"AUROC of the best baseline ({result.best_baseline})": result.baselines[result.best_baseline].to_dict(),
        "difference": result.gain_over_baseline.to_dict(),
        **{name: estimate.to_dict() for name, estimate in result.calibration.items() if name.endswith("probe")},
    }
    probe.save(folder, model=model, data=data, metrics=metrics)


def _write(
    job: ProbeJob, model: CodeModel, pairs: list[tuple[Evaluation, Labelled]], found: JobResult, out: Path
) -> None:
    described = describe_model(model)
    results = {
        "config": asdict(job),
        "model": described,
        "versions": versions(),
        "data": {labelled.name: labelled.content_hash() for _, labelled in pairs},
        "oracles": found.oracles,
        "skipped": found.skipped,
        "warnings": found.warnings,
        "seconds": found.seconds,
        "tasks": [result.to_dict() for result in found.evaluations],
    }
    write_json(results, out / "results.json")
    lead = f"How well the errors of {job.model} can be predicted from its activations."
    provenance = {
        "model": f"{described['name']} ({described['dtype']})",
        "fingerprint": described["fingerprint"],
        **{f"{name}: {what}": text for name, one in found.oracles.items() for what, text in one.items()},
        **{f"{name}: skipped": reason for name, reason in found.skipped.items()},
        **{name: str(value) for name, value in asdict(job).items() if name != "model" and value is not None},
        **versions(),
    }
    page = Report("Error prediction", lead, [section(*pair) for pair in pairs], provenance)
    write_html(page, out / "report.html")


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
