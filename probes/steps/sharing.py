"""`probe label --shard` and `probe extract --shard`: one process's share of the forward passes, into the cache.

label_share(job, Share.parse("1/4"))           # in each process
label_step(job, folder)                        # afterwards, once: finds the shards, decides, writes the folder
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ellora_trust.cachedir import cache_dir
from ellora_trust.errors import EnvironmentProblem
from ellora_trust.hooks import Recorder
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.positions import Passage
from ellora_trust.runs import run
from ellora_trust.share import Share
from ellora_trust.sharing import answer_share
from ellora_trust.tasks import Task
from probes.steps.given import Given
from probes.steps.job import SITES, ProbeJob
from probes.steps.labelling import answered_by, passages_of, stored_job
from probes.steps.run_folder import RunFolder
from probes.steps.sampling import Repeated

Say = Callable[[str], None]


def label_share(job: ProbeJob, share: Share, *, say: Say = lambda line: None, progress: bool = False) -> None:
    """Answer a share of every task's questions and take their activations.

    Args:
        job: As for `label_step`, which joins the shares.
        share: Which.
        say: Called with a line at each step.
        progress: Show progress bars.

    Raises:
        InputError: Anything the user can mend.
    """
    sets = job.sets()
    model = load(job.model, dtype=job.dtype, device=job.device)
    for one in sets:
        try:
            _share_of(model, one, job, share, progress)
        except EnvironmentProblem as problem:
            if len(sets) == 1:
                raise
            say(f"{one.name}: skipped, {problem}")


def _share_of(model: CodeModel, one: Task | Given, job: ProbeJob, share: Share, progress: bool) -> None:
    store = cache_dir() / "activations"
    if not isinstance(one, Task):
        passages = [Passage(e.prompt, answer) for e, answer in zip(one.examples, one.answers, strict=True)]
        recorder = Recorder(model, SITES, job.positions)
        run(model, passages, score=True, recorder=recorder, store=store, share=share, progress=progress)
        return
    sampling = job.sampling
    for temperature in sampling.temperatures:
        answer_share(
            model,
            one if sampling.plain else Repeated(one, sampling.samples, temperature),
            share,
            store=store,
            limit=job.limit,
            seed=job.seed,
            sites=SITES,
            positions=job.positions,
            format=job.format,  # pyright: ignore[reportArgumentType]  # the job checked it
            temperature=temperature,
            progress=progress,
        )


def extract_share(
    folder: RunFolder,
    share: Share,
    *,
    sites: Sequence[str] | None = None,
    positions: Sequence[str] | None = None,
    progress: bool = False,
) -> None:
    """Take activations of a share of the folder's answers.

    Args:
        folder: With labels.
        share: Which.
        sites: As for `extract_step`, which joins the shares.
        positions: Likewise.
        progress: Show progress bars.

    Raises:
        InputError: As `extract_step`.
    """
    job = stored_job(folder)
    model = answered_by(folder)
    for name in folder.run().tasks:
        passages = passages_of(model, folder.read_labels(name), job)
        recorder = Recorder(model, sites or SITES, positions or job.positions)
        run(model, passages, recorder=recorder, store=cache_dir() / "activations", share=share, progress=progress)
