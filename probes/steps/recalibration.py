"""A predictor for a fine-tuned or quantised model: the direction stays, the calibration is fitted anew.

    labelled = label_for(probe, new_model, load_task("aliasing"), limit=400)
    found = recalibrate(probe, labelled)
    print(found.sentences())
    save_recalibrated(found, Path("runs/new"), model=new_model, labelled=labelled)

What was lost is measured on the new model's answers, each risk by a calibration that did not see its group. Where
enough questions are new, those whose group the predictor was fitted on are left out: on them the direction looks better
than it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled, label, label_given
from ellora_trust.prompts import Format
from ellora_trust.sites import resolve
from ellora_trust.stats import Estimate, auroc, expected_calibration_error, group_bootstrap
from ellora_trust.tasks import Task
from probes.error_probe import ErrorProbe
from probes.fitting.calibration import Calibration, Method
from probes.fitting.selection import grouped_folds
from probes.guarantee.certification import group_hash, group_hashes
from probes.measuring.subset import subset
from probes.steps.given import Given
from probes.watching.shift import describe_scores

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

N_FOLDS = 5
RECORDED = "AUROC, nested cross-validation"


@dataclass(frozen=True)
class Recalibrated:
    """A predictor with a new calibration, and what was lost.

    Attributes:
        probe: The old direction with the new calibration, fitted on all rows used.
        auroc: Of the direction on the new model's answers.
        recorded: AUROC recorded when it was fitted; None where the artifact has none.
        ece_before: ECE of the old calibration on the new answers.
        ece_after: ECE of the new calibration, each risk from a fit without its group.
        fresh: Whether all rows used are of groups the predictor was not fitted on.
        n_left_out: Rows left out since their group was used for fitting.
        groups: Hashes of the groups used.
    """

    probe: ErrorProbe
    auroc: Estimate
    recorded: Estimate | None
    ece_before: Estimate
    ece_after: Estimate
    fresh: bool
    n_left_out: int
    groups: list[str]

    def sentences(self) -> list[str]:
        """Return what was lost, in words."""
        before = f"{self.recorded} recorded on the model it was fitted on" if self.recorded else "none recorded"
        found = [
            f"AUROC on the new model is {self.auroc} ({before}), on {self.auroc.n} answers of {self.auroc.n_groups} "
            "groups.",
            f"ECE was {self.ece_before} with the old calibration and is {self.ece_after} with the new one, held out.",
        ]
        if self.auroc.low <= 0.5:
            found.append("The direction is not shown to predict this model's errors: fit a predictor on it instead.")
        if not self.fresh:
            found.append(
                "Its groups were also used to fit the predictor, or none were recorded, so AUROC may be too good."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        figures = {"auroc": self.auroc, "recorded": self.recorded, "before": self.ece_before, "after": self.ece_after}
        plain = {name: asdict(one) if one else None for name, one in figures.items()}
        return {**plain, "fresh": self.fresh, "n_left_out": self.n_left_out, "sentences": self.sentences()}


def label_for(
    probe: ErrorProbe,
    model: CodeModel,
    task: Task | Given,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Labelled:
    """Let the new model answer, reading what the predictor reads.

    Args:
        probe: Loaded.
        model: The new one.
        task: The questions, put in the format that the predictor was fitted on; or answers with verdicts, read as they
            are.
        limit: At most so many.
        seed: Of the choice of questions.
        progress: Show a progress bar.

    Raises:
        InputError: The model has no such site, or another width there.
    """
    check_width(probe, model)
    read = {"sites": probe.site_, "positions": [probe.position_], "progress": progress}
    if not isinstance(task, Task):
        return label_given(model, task.name, task.examples, task.answers, task.wrong, **read)
    return label(model, task, limit=limit, seed=seed, format=_format(probe), **read)


def check_width(probe: ErrorProbe, model: CodeModel) -> None:
    """Refuse a model in which the predictor's direction has no meaning.

    Raises:
        InputError: No such site, or another width there.
    """
    site = resolve(model, probe.site_)[0]
    width = site.width(model.arch)
    if width != len(probe.weight_):
        raise InputError(
            f"this predictor reads {len(probe.weight_)} values at {site}, but {model.name} has {width} there; give a "
            "fine-tuned or quantised version of the model it was fitted on"
        )


def recalibrate(probe: ErrorProbe, labelled: Labelled, *, method: Method = "platt") -> Recalibrated:
    """Fit a calibration on a new model's answers and measure what was lost.

    Args:
        probe: Loaded; it is not changed.
        labelled: The new model's answers, with activations at the predictor's site and position.
        method: As for `Calibration.fit`.

    Raises:
        InputError: One class only, or too few groups of one.
    """
    kept = subset(labelled, np.flatnonzero(labelled.decided))
    scores = probe.decision(kept.activations.vectors(probe.site_, probe.position_))
    wrong, groups = kept.wrong.astype(int), kept.groups
    used, fresh = _fresh_rows(probe, wrong, groups)
    n_left_out = int((~used).sum())
    scores, wrong, groups = scores[used], wrong[used], groups[used]
    held_out = _held_out_risk(scores, wrong, groups, method)  # refuses one class and too few groups
    new = copy.copy(probe)
    new.calibration_ = Calibration.fit(scores, wrong, method)
    # A maximum over tokens has a calibration of its own, which is of the old model.
    new.running_max_ = None
    return Recalibrated(
        new,
        group_bootstrap(auroc, (wrong, scores), groups),
        _recorded(probe),
        _ece(probe.calibration_(scores), wrong, groups),
        _ece(held_out, wrong, groups),
        fresh,
        n_left_out,
        group_hashes(groups),
    )


def save_recalibrated(found: Recalibrated, folder: Path, *, model: CodeModel, labelled: Labelled) -> None:
    """Write the new artifact: the new model's fingerprint, and where the direction came from.

    Args:
        found: What `recalibrate` gave.
        folder: Made or replaced, all or nothing.
        model: The new one.
        labelled: Its answers.
    """
    old = found.probe.artifact_
    seen = {*old.data.get("groups", ()), *found.groups}
    kept = subset(labelled, np.flatnonzero(labelled.decided))
    data = {
        # How many groups were held out, and from what, is about the first fit.
        **{name: value for name, value in old.data.items() if name != "n_groups_held_out"},
        "task": labelled.name,
        "n": found.auroc.n,
        "n_groups": found.auroc.n_groups,
        "groups": sorted(seen),
        "sha256": labelled.content_hash(),
        "scores": describe_scores(
            found.probe.decision(kept.activations.vectors(found.probe.site_, found.probe.position_))
        ),
        "prompt_format": labelled.prompt_format,
        "header": labelled.header,
        "recalibrated_from": {
            "model": dict(old.model),
            "data_sha256": old.data.get("sha256"),
            "task": old.data.get("task"),
        },
    }
    metrics = {
        "AUROC on this model": found.auroc.to_dict(),
        "AUROC recorded on the model it was fitted on": found.recorded.to_dict() if found.recorded else None,
        "ECE of the old calibration": found.ece_before.to_dict(),
        "ECE of the new calibration, held out": found.ece_after.to_dict(),
    }
    found.probe.save(folder, model=model, data=data, metrics=metrics)


def _format(probe: ErrorProbe) -> Format:
    """The prompt format to ask for, from the one recorded, such as `fim:starcoder:psm`."""
    known: dict[str, Format] = {"fim": "fim", "chat": "chat", "plain": "plain"}
    recorded = str(probe.artifact_.data.get("prompt_format", ""))
    return known.get(recorded.split(":")[0], "auto")


def _fresh_rows(probe: ErrorProbe, wrong: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, bool]:
    """Rows of groups the predictor has not seen, if they are enough for the folds; otherwise all."""
    seen = set(probe.artifact_.data.get("groups", ()))
    new = np.array([group_hash(group) not in seen for group in groups], dtype=bool)
    enough = all(len(np.unique(groups[new & (wrong == value)])) >= N_FOLDS for value in (0, 1))
    return (new, bool(seen)) if enough else (np.ones(len(groups), dtype=bool), False)


def _held_out_risk(scores: np.ndarray, wrong: np.ndarray, groups: np.ndarray, method: Method) -> np.ndarray:
    folds, risk = grouped_folds(wrong, groups, N_FOLDS, seed=0), np.empty(len(scores))
    for fold in range(N_FOLDS):
        train, test = folds != fold, folds == fold
        risk[test] = Calibration.fit(scores[train], wrong[train], method)(scores[test])
    return risk


def _ece(risk: np.ndarray, wrong: np.ndarray, groups: np.ndarray) -> Estimate:
    return group_bootstrap(expected_calibration_error, (risk, wrong), groups, n_resamples=300)


def _recorded(probe: ErrorProbe) -> Estimate | None:
    raw: Mapping[str, Any] | None = probe.artifact_.metrics.get(RECORDED)
    return Estimate(**raw) if raw else None
