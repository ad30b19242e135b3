"""`probe label` and `probe extract`: answers with their outcomes, and activations, into a run folder.

run = label_step(job, folder)
run = extract_step(folder, sites=("mlp.*",), positions=("prompt_end",))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ellora_trust.artifacts import describe_model, versions
from ellora_trust.cachedir import cache_dir
from ellora_trust.decoding import Generation
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.hooks import Recorder, capture
from ellora_trust.labeling import Labelled, label, label_given
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.positions import Passage
from ellora_trust.prompts import render
from ellora_trust.tasks import Task
from probes.measuring.plain import from_plain
from probes.steps.clock import Clock
from probes.steps.given import Given
from probes.steps.job import SITES, ProbeJob
from probes.steps.run_folder import Run, RunFolder, TaskRecord
from probes.steps.sampling import label_samples

Say = Callable[[str], None]
# What may differ between a run's label and its later steps.
LATER = ("permutations", "fitting", "opinion")


def label_step(
    job: ProbeJob,
    folder: RunFolder,
    *,
    again: bool = False,
    say: Say = lambda line: None,
    progress: bool = False,
) -> Run:
    """Answer, decide, and take activations while answering; write all of it into the folder.

    Args:
        job: What to do.
        folder: Where.
        again: Do it although the folder has labels.
        say: Called with a line at each step.
        progress: Show progress bars.

    Raises:
        InputError: Anything the user can mend; the folder has labels of another job.
    """
    if folder.labelled and not again and _is_there(job, folder):
        say(f"{folder.path} has these answers already; --again makes them anew")
        return folder.run()
    labelling = _Labelling(job, folder, say, progress)
    run = labelling.run()
    folder.write_run(run)
    return run


def stored_job(folder: RunFolder) -> ProbeJob:
    """Return the job that a folder was labelled with.

    Raises:
        InputError: It has no labels.
    """
    return from_plain(ProbeJob, folder.run().config)


def extract_step(
    folder: RunFolder,
    *,
    sites: Sequence[str] | None = None,
    positions: Sequence[str] | None = None,
    again: bool = False,
    say: Say = lambda line: None,
    progress: bool = False,
) -> Run:
    """Take activations of the folder's answers, in place of those it has; nothing is generated again.

    Args:
        folder: With labels.
        sites: Where; None takes those that labelling takes.
        positions: Over which tokens; None takes those that labelling takes.
        again: Do it although the folder has these activations.
        say: Called with a line at each step.
        progress: Show progress bars.

    Raises:
        InputError: No labels, an unknown site or position, or another model than the one that answered.
    """
    run, job, model = folder.run(), stored_job(folder), answered_by(folder)
    recorder = Recorder(model, sites or SITES, positions or job.positions)
    wanted = _names(recorder)
    tasks = dict(run.tasks)
    for name, record in run.tasks.items():
        if not again and record.store and (record.sites, record.positions) == wanted:
            say(f"{name}: these activations are there already; --again takes them anew")
            continue
        labelled = folder.read_labels(name)
        passages = passages_of(model, labelled, job)
        store = cache_dir() / "activations"
        taken = capture(model, passages, wanted[0], wanted[1], store=store, progress=progress)
        where = folder.write_activations(replace(labelled, activations=taken), model.fingerprint)
        tasks[name] = replace(record, store=where, sites=wanted[0], positions=wanted[1])
        say(f"{name}: {len(taken)} activations of {record.n} answers")
    changed = replace(run, tasks=tasks)
    folder.write_run(changed)
    return changed


def answered_by(folder: RunFolder) -> CodeModel:
    """Return the model that gave the folder's answers.

    Raises:
        InputError: No labels, or the model of that name is another one now.
    """
    run, job = folder.run(), stored_job(folder)
    model = load(job.model, dtype=job.dtype, device=job.device)
    if model.fingerprint != run.model["fingerprint"]:
        raise InputError(
            f"the answers in {folder.path} are by {run.model['name']} (fingerprint {run.model['fingerprint'][:12]}), "
            f"but {job.model} is now {model.fingerprint[:12]}; label again with: ellora-trust probe label --again"
        )
    return model


def _is_there(job: ProbeJob, folder: RunFolder) -> bool:
    run = folder.run()
    new, old = _identity(job), _identity(from_plain(ProbeJob, run.config))
    old["file"] = run.given_sha256
    differing = sorted(name for name in new if new[name] != old[name])
    if differing:
        raise InputError(
            f"{folder.path} holds answers of another run ({', '.join(differing)} differ); give another --out, or "
            "--again to replace them"
        )
    return True


def _identity(job: ProbeJob) -> dict[str, Any]:
    return {name: value for name, value in asdict(job).items() if name not in LATER} | {"file": _file_hash(job)}


def _file_hash(job: ProbeJob) -> str:
    path = Path(job.labels) if job.labels else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""


@dataclass
class _Labelling:
    job: ProbeJob
    folder: RunFolder
    say: Say
    progress: bool

    def run(self) -> Run:
        job, clock = self.job, Clock()
        sets = job.sets()
        self.say(f"loading {job.model}")
        model = load(job.model, dtype=job.dtype, device=job.device)
        clock.lap("load")
        found = Run(asdict(job), describe_model(model), versions(), {}, given_sha256=_file_hash(job))
        for one in sets:
            self.say(f"{one.name}: answering and capturing")
            try:
                labelled = self._labelled(model, one)
            except EnvironmentProblem as problem:
                if len(sets) == 1:
                    raise
                found.skipped[one.name] = str(problem)
                self.say(f"{one.name}: skipped, {problem}")
                continue
            found.tasks[one.name] = self._record(model, one, labelled, found)
            clock.lap(f"{one.name}: answer and capture")
        if not found.tasks:
            raise EnvironmentProblem("no task can be run here: " + "; ".join(found.skipped.values()))
        return replace(found, seconds=clock.laps)

    def _record(self, model: CodeModel, one: Task | Given, labelled: Labelled, found: Run) -> TaskRecord:
        if warning := labelled.warning():
            found.warnings.append(warning)
            self.say(f"warning: {warning}")
        self.say(f"{one.name}: {labelled.counts()}")
        self.folder.write_labels(labelled)
        return TaskRecord(
            n=len(labelled.examples),
            sha256=labelled.content_hash(),
            prompt_format=labelled.prompt_format,
            header=labelled.header,
            oracle=one.oracle() if isinstance(one, Task) else {},
            store=self.folder.write_activations(labelled, model.fingerprint),
            sites=_names(Recorder(model, SITES, self.job.positions))[0],
            positions=list(self.job.positions),
        )

    def _labelled(self, model: CodeModel, one: Task | Given) -> Labelled:
        shared = {"sites": SITES, "positions": self.job.positions, "store": cache_dir() / "activations"}
        if not isinstance(one, Task):
            given = (one.name, one.examples, one.answers, one.wrong)
            return label_given(model, *given, progress=self.progress, **shared)
        shared |= {"limit": self.job.limit, "seed": self.job.seed, "format": self.job.format}
        sampling = self.job.sampling
        if not sampling.plain:
            return label_samples(model, one, sampling, progress=self.progress, **shared)
        return label(model, one, temperature=sampling.temperatures[0], progress=self.progress, **shared)


def _names(recorder: Recorder) -> tuple[list[str], list[str]]:
    return [str(site) for site in recorder.sites], [position.name for position in recorder.positions]


def passages_of(model: CodeModel, labelled: Labelled, job: ProbeJob) -> list[Passage]:
    """What the model read when it answered, token by token."""
    found = []
    for example, generation in zip(labelled.examples, labelled.generations, strict=True):
        if generation.finish == "given":
            found.append(Passage(example.prompt, generation.text, answer_ids=tuple(generation.tokens)))
            continue
        question = render(model, example, format=job.format, header=labelled.header)  # pyright: ignore[reportArgumentType]
        found.append(Passage(question.text, generation.text, answer_ids=_read_tokens(generation)))
    return found


def _read_tokens(generation: Generation) -> tuple[int, ...]:
    """The tokens that were run while answering: one that only ended the answer was not."""
    tokens = generation.tokens
    return tuple(tokens if generation.n_answer == len(tokens) else tokens[:-1])
