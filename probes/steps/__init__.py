"""The steps of `ellora-trust probe`; each reads what the former wrote in the run folder, and can be run alone.

    folder = RunFolder(Path("runs/probe"))
    label_step(job, folder)
    fit_step(folder, job)
    eval_step(folder, job)
    report_step(folder)

`run_job` does all of them.
"""

from __future__ import annotations

from probes.steps.evaluating import eval_step
from probes.steps.fitting import Fitted, fit_step
from probes.steps.labelling import extract_step, label_step, stored_job
from probes.steps.reporting import report_step
from probes.steps.sharing import extract_share, label_share
from probes.steps.whole import JobResult, run_job

__all__ = [
    "Fitted",
    "JobResult",
    "eval_step",
    "extract_share",
    "extract_step",
    "fit_step",
    "label_share",
    "label_step",
    "report_step",
    "run_job",
    "stored_job",
]
