"""The configuration of `ellora-trust probe`, and what it asks the model.

job = ProbeJob(model="smollm2", tasks=("types", "aliasing"), limit=400)
run_job(job, Path("runs/probe"), say=print)              # probes.steps
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox, choose
from ellora_trust.stats.discrimination import check_range
from ellora_trust.tasks import Task, load_task, reads_source
from probes.fitting.calibration import Method, method_for
from probes.measuring.evaluation import N_PERMUTATIONS
from probes.steps.given import Given, read_labels
from probes.steps.sampling import Sampling

SITES = ("embed", "resid.*")
POSITIONS = ("prompt_end", "answer", "answer.last")
ONLY_PROMPT = ("prompt_end",)


@dataclass(frozen=True)
class Fitting:
    """How predictors are calibrated and what is promised of them.

    Attributes:
        calibration: `isotonic` needs 1,000 rows, else `platt` is taken.
        risk: Stated share of wrong answers among kept ones, (0, 1), for coverage at a risk.
        certify: Certify a threshold for this risk, (0, 1), on a third of the groups, which fitting leaves out; None
            fits on all.
    """

    calibration: Method = "platt"
    risk: float = 0.1
    certify: float | None = None

    def __post_init__(self) -> None:
        method_for(self.calibration, 0)
        check_range("risk", self.risk, 0, 1, open_ends=True)
        if self.certify is not None:
            check_range("certify", self.certify, 0, 1, open_ends=True)


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
        only_prompt: Read the end of the prompt only, so that a predictor needs no token of the answer.
        fitting: How predictors are calibrated and certified.
        sampling: How often and how warmly each question is answered.
        opinion: An independent model, as for `load`, whose opinion of the answers is a baseline; None asks nobody.
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
    only_prompt: bool = False
    fitting: Fitting = field(default_factory=Fitting)
    sampling: Sampling = field(default_factory=Sampling)
    opinion: str | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"--limit is {self.limit}; give at least 1 (several hundred for useful intervals)")
        if self.permutations < 2:
            raise InputError(f"--permutations is {self.permutations}; give at least 2 (50 or more to be of use)")
        if self.labels and self.sampling != Sampling():
            raise InputError(f"{self.labels} has answers already; --samples and --temperature are for a task")

    @property
    def positions(self) -> tuple[str, ...]:
        return ONLY_PROMPT if self.only_prompt else POSITIONS

    def sets(self) -> Sequence[Task | Given]:
        """Return what the model is asked, or what it was.

        Raises:
            InputError: An unknown task, or a file that does not fit.
        """
        return [read_labels(Path(self.labels))] if self.labels else _questions(self)


def _questions(job: ProbeJob) -> list[Task]:
    if job.source and not any(map(reads_source, job.tasks)):
        load_task(job.tasks[0], source=Path(job.source))  # says which tasks read one
    box = Sandbox(choose("none")) if job.unsafe else None
    # One --source serves the tasks that read one; the others make their own questions.
    sources = {name: Path(job.source) if job.source and reads_source(name) else None for name in job.tasks}
    return [load_task(name, source=sources[name], box=box) for name in job.tasks]
