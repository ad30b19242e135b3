"""`probe` without a step: label, fit, evaluate, report, by the very functions that run alone.

result = run_job(ProbeJob(limit=400), Path("runs/probe"), say=print)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from probes.measuring.result import Evaluation
from probes.steps.evaluating import eval_step
from probes.steps.fitting import Fitted, fit_step
from probes.steps.job import ProbeJob
from probes.steps.labelling import label_step
from probes.steps.reporting import report_step
from probes.steps.run_folder import RunFolder


@dataclass(frozen=True)
class JobResult:
    """What a run found.

    Attributes:
        evaluations: One a task, in the order of the tasks.
        fitted: Task -> its predictor and certificate.
        warnings: About rare classes.
        seconds: By step.
        skipped: Task -> why this machine cannot run it; such a task counts for nothing.
        oracles: Task -> what decided its outcomes: compilers, versions, isolation.
    """

    evaluations: list[Evaluation]
    fitted: dict[str, Fitted]
    warnings: list[str]
    seconds: dict[str, float]
    skipped: dict[str, str]
    oracles: dict[str, dict[str, str]]


def run_job(
    job: ProbeJob, out: Path, *, say: Callable[[str], None] = lambda line: None, progress: bool = False
) -> JobResult:
    """Run everything anew; answers that the cache holds are not generated again.

    Args:
        job: What to do.
        out: Run folder.
        say: Called with a line at each step.
        progress: Show progress bars.

    Raises:
        InputError: Anything the user can mend.
    """
    folder = RunFolder(out)
    label_step(job, folder, again=True, say=say, progress=progress)
    fitted = fit_step(folder, job, again=True, say=say)
    evaluations = eval_step(folder, job, again=True, say=say)
    report_step(folder)
    run = folder.run()
    oracles = {name: record.oracle for name, record in run.tasks.items()}
    return JobResult(evaluations, fitted, run.warnings, run.seconds, run.skipped, oracles)
