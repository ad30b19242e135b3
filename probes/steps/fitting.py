"""`probe fit`: one predictor a task, from the labels and activations of a run folder.

fitted = fit_step(folder, job)
fitted["aliasing"].probe, fitted["aliasing"].certificate
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ellora_trust import artifacts
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from probes.error_probe import KIND, ErrorProbe
from probes.fitting.calibration import MIN_ISOTONIC
from probes.fitting.selection import Settings
from probes.guarantee.certificate import Certificate
from probes.guarantee.certification import certificate_config, certify_held_out, group_hashes, hold_out_groups
from probes.measuring.result import Evaluation
from probes.measuring.subset import refuse_split_duplicates, subset
from probes.steps.clock import Clock
from probes.steps.job import ProbeJob
from probes.steps.run_folder import Run, RunFolder, named_tasks
from probes.watching.shift import describe_scores

Say = Callable[[str], None]
ONLY_PROMPT = "prompt_end"


@dataclass(frozen=True)
class Fitted:
    """A predictor and what is promised of it.

    Attributes:
        probe: As saved.
        certificate: None where none was asked for.
        new: Whether it was fitted now; otherwise it was there.
    """

    probe: ErrorProbe
    certificate: Certificate | None
    new: bool = True

    def sentence(self) -> str:
        """Return where it reads and what is certified."""
        probe = self.probe
        where = "the end of the prompt; no token of the answer is needed"
        read = where if probe.position_ == ONLY_PROMPT else probe.position_
        found = f"reads {probe.site_} at {read}, C={probe.strength_:g}."
        return f"{found} {self.certificate.sentence()}" if self.certificate else found

    def to_dict(self) -> dict[str, Any]:
        probe, certificate = self.probe, self.certificate
        place = {"site": probe.site_, "position": probe.position_, "strength": probe.strength_}
        return place | {"new": self.new, "certificate": certificate.to_dict() if certificate else None}


def fit_step(
    folder: RunFolder,
    job: ProbeJob,
    *,
    tasks: Iterable[str] | None = None,
    again: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Fitted]:
    """Fit and save a predictor for each task.

    Args:
        folder: With labels and activations.
        job: Its `fitting` and seed count.
        tasks: Which; None takes all that were labelled.
        again: Fit although the folder has this very predictor.
        say: Called with a line for each task.

    Raises:
        InputError: No labels or activations, one class only, or too few groups.
    """
    run, clock = folder.run(), Clock()
    found: dict[str, Fitted] = {}
    for name in named_tasks(run, tasks):
        there = None if again else _there(folder, run, name, job)
        if there is not None:
            say(f"{name}: this predictor is there already; --again fits it anew")
            found[name] = there
            continue
        found[name] = _fit(folder, run, name, job, say)
        say(f"{name}: {found[name].sentence()}")
        clock.lap(f"{name}: fit and save")
    folder.write_run(replace(run, seconds={**run.seconds, **clock.laps}))
    return found


def _there(folder: RunFolder, run: Run, name: str, job: ProbeJob) -> Fitted | None:
    artifact = folder.artifact(name)
    if artifact is None or artifact.config.get("fit") != _identity(run, name, job):
        return None
    certificate = artifact.config.get("certificate")
    return Fitted(
        ErrorProbe.load(folder.probe(name)), Certificate.from_dict(certificate) if certificate else None, new=False
    )


def _identity(run: Run, name: str, job: ProbeJob) -> dict[str, Any]:
    """What a fit depends on, as JSON gives it back."""
    record = run.tasks[name]
    return {"sha256": record.sha256, "store": record.store, "seed": job.seed, **asdict(job.fitting)}


def _fit(folder: RunFolder, run: Run, name: str, job: ProbeJob, say: Say) -> Fitted:
    labelled = folder.read_labels(name, activations=True)
    kept = subset(labelled, np.flatnonzero(labelled.decided))
    refuse_split_duplicates(kept)
    fitting = job.fitting
    held = np.zeros(len(kept.examples), dtype=bool)
    if fitting.certify is not None:
        held = hold_out_groups(kept.groups, seed=job.seed)
    features = {key: kept.activations.vectors(*key)[~held] for key in kept.activations}
    if fitting.calibration == "isotonic" and (~held).sum() < MIN_ISOTONIC:
        say(f"{name}: {(~held).sum()} rows are too few for isotonic calibration ({MIN_ISOTONIC:,}); Platt's is used")
    probe = ErrorProbe(Settings(seed=job.seed)).fit(
        features, kept.wrong[~held], kept.groups[~held], calibration=fitting.calibration
    )
    certificate, config = None, {"fit": _identity(run, name, job)}
    if fitting.certify is not None:
        certificate = certify_held_out(probe, kept, held, risk=fitting.certify, seed=job.seed)
        config |= certificate_config(certificate)
    scores = describe_scores(probe.decision(features[probe.site_, probe.position_]))
    data = data_record(labelled, kept, ~held) | {"reads": _reads(probe), "scores": scores}
    probe.save(folder.probe(name), model=run.model, data=data, metrics=_known_metrics(folder, name), config=config)
    return Fitted(probe, certificate)


def data_record(labelled: Labelled, kept: Labelled, used: np.ndarray) -> dict[str, Any]:
    """Return what an artifact says of the answers it was fitted on.

    Args:
        labelled: All answers.
        kept: The decided ones, with activations.
        used: Which of those were used for fitting, (n,) bool.
    """
    generated = labelled.generations[0].finish != "given"
    return {
        "task": labelled.name,
        "n": int(used.sum()),
        "n_groups": len(np.unique(kept.groups[used])),
        "groups": group_hashes(kept.groups[used]),
        "n_groups_held_out": len(np.unique(kept.groups[~used])),
        "sha256": labelled.content_hash(),
        "prompt_format": labelled.prompt_format,
        "header": labelled.header,
        "mode": "activations taken while the answer was generated" if generated else "activations of given answers",
    }


def _reads(probe: ErrorProbe) -> str:
    needs_answer = probe.position_ != ONLY_PROMPT
    return "the answer" if needs_answer else "the end of the prompt only; no token of the answer"


def _known_metrics(folder: RunFolder, task: str) -> Mapping[str, Any]:
    """What an earlier evaluation of these answers and activations said."""
    try:
        results = folder.results()
    except InputError:  # there is none yet
        return {}
    found = (Evaluation.from_dict(raw) for raw in results["tasks"] if raw["task"] == task)
    return next((metrics_of(result) for result in found), {})


def record_metrics(folder: RunFolder, result: Evaluation) -> None:
    """Write an evaluation's headline numbers into the task's predictor, if there is one."""
    if folder.artifact(result.task) is None:
        return
    artifact, tensors = artifacts.read(folder.probe(result.task), kind=KIND)
    artifacts.write(folder.probe(result.task), replace(artifact, metrics=metrics_of(result)), tensors)


def metrics_of(result: Evaluation) -> Mapping[str, Any]:
    """Return the numbers that an artifact carries."""
    calibration = {name: estimate for name, estimate in result.calibration.items() if name.endswith("probe")}
    return {
        "AUROC, nested cross-validation": result.probe.to_dict(),
        f"AUROC of the best baseline ({result.best_baseline})": result.baselines[result.best_baseline].to_dict(),
        "difference": result.gain_over_baseline.to_dict(),
        **{name: estimate.to_dict() for name, estimate in calibration.items()},
    }
