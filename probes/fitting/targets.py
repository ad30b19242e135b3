"""What else can be predicted beside `wrong`: each kind of failure.

    result = evaluate_kinds(labelled)
    result.found["timeout"].auroc, result.too_rare["crash"]

Each kind is set against all other decided answers, right ones included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import Estimate, auroc, group_bootstrap, paired_bootstrap
from ellora_trust.tasks.base import Outcome
from probes.fitting.baselines import confidence_columns, crossfitted
from probes.fitting.rows import Rows
from probes.fitting.selection import Settings, grouped_folds, nested_selection, preferred
from probes.measuring.subset import subset


@dataclass(frozen=True)
class Counts:
    """How often a kind occurred among the decided answers.

    Attributes:
        n: Answers of this kind.
        n_groups: Groups with such an answer.
        n_groups_without: Groups with any other answer.
    """

    n: int
    n_groups: int
    n_groups_without: int


@dataclass(frozen=True)
class KindScore:
    """How well one kind of failure is predicted, by nested selection.

    Attributes:
        counts: How often it occurred.
        base_rate: Share of the decided answers, bootstrap over groups.
        auroc: Of the probe.
        baseline: AUROC of fitted log-probability and entropy on the same rows and folds.
        gain: auroc - baseline, on the same resamples.
        chosen: What each outer fold chose.
    """

    counts: Counts
    base_rate: Estimate
    auroc: Estimate
    baseline: Estimate
    gain: Estimate
    chosen: list[str]


@dataclass(frozen=True)
class Kinds:
    """One kind against the rest, for each kind of failure.

    Attributes:
        found: Kind -> its scores.
        too_rare: Kind -> counts, where fewer groups than folds have it, or lack it.
    """

    found: dict[str, KindScore]
    too_rare: dict[str, Counts]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def one_vs_rest(labelled: Labelled, n_folds: int) -> tuple[dict[str, np.ndarray], dict[str, Counts]]:
    """Return a labeling of the decided rows for each kind of failure, and the kinds that are too rare.

    Correct answers make no labeling of their own: it is that of `wrong`, turned over.

    Args:
        labelled: Outcomes and groups.
        n_folds: Groups that must have the kind, and groups that must have another.

    Returns:
        Kind -> 0 or 1, (n_decided,); kind -> counts.
    """
    decided = labelled.decided
    kinds = np.array([str(outcome) for outcome in labelled.outcomes])[decided]
    groups = labelled.groups[decided]
    labels: dict[str, np.ndarray] = {}
    rare: dict[str, Counts] = {}
    for kind in sorted(set(kinds.tolist()) - {str(Outcome.CORRECT)}):
        is_kind = kinds == kind
        counts = count(is_kind, groups)
        if min(counts.n_groups, counts.n_groups_without) >= n_folds:
            labels[kind] = is_kind.astype(int)
        else:
            rare[kind] = counts
    return labels, rare


def count(is_kind: np.ndarray, groups: np.ndarray) -> Counts:
    """Count answers and groups.

    Args:
        is_kind: (n,) bool.
        groups: (n,).
    """
    return Counts(int(is_kind.sum()), len(np.unique(groups[is_kind])), len(np.unique(groups[~is_kind])))


def evaluate_kinds(labelled: Labelled, *, settings: Settings | None = None, n_resamples: int = 1000) -> Kinds:
    """Score the prediction of each kind of failure against the rest.

    Args:
        labelled: With activations.
        settings: Of the predictors.
        n_resamples: Bootstrap resamples of groups.

    Raises:
        InputError: No activations, one prompt in two groups, or no failures at all.
    """
    settings = settings or Settings()
    rows = Rows.of(labelled)
    labels, rare = one_vs_rest(labelled, settings.n_folds)
    if not labels and not rare:
        raise InputError("every decided answer is correct; there is no kind of failure to predict: use another task")
    kept = subset(labelled, np.flatnonzero(labelled.decided))
    confidence = np.stack(list(confidence_columns(kept).values()), 1)
    return Kinds(_scored(rows, labels, confidence, settings, n_resamples), rare)


def _scored(
    rows: Rows, labels: Mapping[str, np.ndarray], confidence: np.ndarray, settings: Settings, n_resamples: int
) -> dict[str, KindScore]:
    found = {}
    boot = {"n_resamples": n_resamples}
    for kind, y in labels.items():
        folds = grouped_folds(y, rows.groups, settings.n_folds, settings.seed)
        selection = nested_selection(rows.candidates, y[None], rows.groups, folds, settings)
        scores, baseline = selection.scores[0].numpy(), crossfitted(confidence, y, folds)
        found[kind] = KindScore(
            count(y == 1, rows.groups),
            group_bootstrap(lambda labels: float(np.mean(labels)), (y,), rows.groups, **boot),
            group_bootstrap(auroc, (y, scores), rows.groups, **boot),
            group_bootstrap(auroc, (y, baseline), rows.groups, **boot),
            paired_bootstrap(auroc, scores, baseline, y, rows.groups, **boot),
            preferred([choices[0] for choices in selection.choices], rows.candidates.keys),
        )
    return found
