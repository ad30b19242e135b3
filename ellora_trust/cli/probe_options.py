"""Options that the commands of `ellora-trust probe` share, each declared once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from probes.steps.job import Fitting, ProbeJob

Model = Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", help="Task, several times; types and aliasing, or all that the run folder has, if left out."
    ),
]
Source = Annotated[Path | None, typer.Option(help="Your own code or file, for tasks that read one.")]
Labels = Annotated[Path | None, typer.Option(help="JSONL with prompt, answer, wrong instead of a task.")]
Limit = Annotated[int, typer.Option(help="Examples of each task.")]
Seed = Annotated[int, typer.Option(help="Of examples, folds and permutations.")]
Unsafe = Annotated[bool, typer.Option("--unsafe-no-isolation", help="Run what the model writes WITHOUT a sandbox.")]
Format = Annotated[str, typer.Option(help="auto, fim, chat or plain.")]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16, float16 or float64; float32 on a CPU, on a GPU the checkpoint's own."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 and the like; a GPU where there is one.")]
OnlyPrompt = Annotated[
    bool, typer.Option("--watch-only-prompt", help="Read the end of the prompt only: needs no token of the answer.")
]
Samples = Annotated[int, typer.Option(help="Answers to each question at each temperature.")]
Temperatures = Annotated[
    list[float] | None, typer.Option("--temperature", help="0 is greedy, the default; may be given several times.")
]
Opinion = Annotated[str | None, typer.Option(help="An independent model whose opinion of the answers is a baseline.")]
Permutations = Annotated[int, typer.Option(help="Label permutations of the control.")]
Calibration = Annotated[str, typer.Option(help="platt, or isotonic (1,000 rows or more).")]
Risk = Annotated[float, typer.Option(help="Share wrong, 0..1, at which coverage is stated.")]
Certify = Annotated[
    float | None, typer.Option(help="Certify a threshold for this share wrong, 0..1, on a third of the groups.")
]
Shard = Annotated[
    str | None, typer.Option(help="This process's share, 1/4 to 4/4; torchrun and accelerate say theirs.")
]
Out = Annotated[Path, typer.Option(help="Run folder.")]
Again = Annotated[bool, typer.Option("--again", help="Do it although it is done.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Asked:
    """What a command was told about the model and its questions; as in `probes.steps.job.ProbeJob`."""

    model: str
    tasks: list[str] | None
    source: Path | None
    labels: Path | None
    limit: int
    seed: int
    unsafe: bool
    format: str
    dtype: str | None
    device: str | None
    only_prompt: bool
    samples: int = 1
    temperatures: list[float] | None = None


def job_of(
    asked: Asked,
    *,
    permutations: int | None = None,
    calibration: str = "platt",
    risk: float = 0.1,
    certify: float | None = None,
    opinion: str | None = None,
) -> ProbeJob:
    """Return the job, and warn where programs will run without isolation."""
    from ellora_trust.cli.render import say
    from probes.steps.job import ProbeJob
    from probes.steps.sampling import Sampling

    if asked.unsafe:
        say("WARNING: --unsafe-no-isolation: what the model writes runs with your rights; the results say so")
    job = ProbeJob(
        model=asked.model,
        tasks=tuple(asked.tasks or ("types", "aliasing")),
        limit=asked.limit,
        seed=asked.seed,
        source=str(asked.source) if asked.source else None,
        labels=str(asked.labels) if asked.labels else None,
        unsafe=asked.unsafe,
        format=asked.format,
        dtype=asked.dtype,
        device=asked.device,
        only_prompt=asked.only_prompt,
        fitting=fitting_of(calibration, risk, certify),
        sampling=Sampling(asked.samples, tuple(asked.temperatures or (0.0,))),
        opinion=opinion,
    )
    return job if permutations is None else replace(job, permutations=permutations)


def fitting_of(calibration: str, risk: float, certify: float | None) -> Fitting:
    from probes.steps.job import Fitting

    return Fitting(calibration, risk, certify)  # pyright: ignore[reportArgumentType]  # Fitting checks it
