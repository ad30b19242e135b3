"""`probe eval`: how well errors are predicted, into `results.json` and the predictors' own records.

results = eval_step(folder, job)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.report import write_json
from probes.fitting.selection import Settings
from probes.measuring.evaluation import evaluate
from probes.measuring.result import Evaluation
from probes.steps.clock import Clock
from probes.steps.fitting import record_metrics
from probes.steps.job import ProbeJob
from probes.steps.opinion import opinion_step
from probes.steps.run_folder import RESULTS, Run, RunFolder

Say = Callable[[str], None]


def eval_step(
    folder: RunFolder, job: ProbeJob, *, again: bool = False, say: Say = lambda line: None
) -> list[Evaluation]:
    """Evaluate every task of a folder; one entry a task, in order.

    Args:
        folder: With labels and activations.
        job: Its permutations, `fitting` and `opinion` count.
        again: Evaluate although `results.json` is about these answers and settings.
        say: Called with a line at each step.

    Raises:
        InputError: No labels or activations, one class only, or too few groups.
    """
    run = folder.run()
    there = None if again else _there(folder, run, job)
    if there is not None:
        say(f"{folder.path} is evaluated already; --again does it anew")
        return there
    clock, found = Clock(), []
    opinions = opinion_step(folder, job.opinion, say=say) if job.opinion else {}
    for name in run.tasks:
        labelled = folder.read_labels(name, activations=True)
        result = evaluate(
            labelled,
            model_name=run.model["name"],
            settings=Settings(seed=job.seed),
            n_permutations=job.permutations,
            risk=job.fitting.risk,
            calibration=job.fitting.calibration,
            opinion=opinions.get(name),
            tick=lambda step, name=name: say(f"{name}: {step}"),
        )
        record_metrics(folder, result)
        found.append(result)
        clock.lap(f"{name}: evaluate")
    run = replace(run, seconds={**run.seconds, **clock.laps})
    folder.write_run(run)
    write_json(_results(run, job, found), folder.path / RESULTS)
    return found


def _there(folder: RunFolder, run: Run, job: ProbeJob) -> list[Evaluation] | None:
    if not (folder.path / RESULTS).is_file():
        return None
    try:
        results = folder.results()
    except InputError:  # about other answers, or damaged: this step makes it anew
        return None
    if results.get("evaluated") != _identity(job):
        return None
    return [Evaluation.from_dict(raw) for raw in results["tasks"]]


def _identity(job: ProbeJob) -> dict[str, Any]:
    """What an evaluation depends on beside answers and activations, as JSON gives it back."""
    fitting = {"risk": job.fitting.risk, "calibration": job.fitting.calibration}
    asked = {"opinion": job.opinion} if job.opinion else {}
    return {"permutations": job.permutations, **fitting, **asked}


def _results(run: Run, job: ProbeJob, found: list[Evaluation]) -> dict[str, Any]:
    return {
        "config": asdict(job),
        "model": run.model,
        "versions": run.versions,
        "data": {name: record.sha256 for name, record in run.tasks.items()},
        "oracles": {name: record.oracle for name, record in run.tasks.items()},
        "skipped": run.skipped,
        "warnings": run.warnings,
        "seconds": run.seconds,
        "stores": {name: record.store for name, record in run.tasks.items()},
        "evaluated": _identity(job),
        "tasks": [result.to_dict() for result in found],
    }
