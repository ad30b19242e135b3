"""Several ways to read errors off activations, on the same rows and folds, against the one-layer logistic probe.

    result = compare_readouts(labelled)
    result.auroc["mass-mean"], result.difference["mass-mean"]       # each an Estimate
    result.table()                                                  # rows to print

Whatever a readout chooses (layer, position, strength, weights of layers) it chooses inside the training groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ellora_trust.errors import InputError, one_of
from ellora_trust.labeling import Labelled
from ellora_trust.stats import Estimate, auroc, group_bootstrap, paired_bootstrap
from probes.fitting.linear import batched_auroc
from probes.fitting.mass_mean import Fit, logistic_on_all, mass_mean, whitened_mass_mean
from probes.fitting.rows import Rows, rows_of
from probes.fitting.selection import (
    Candidates,
    Settings,
    check_folds,
    grouped_folds,
    inner_folds,
    nested_selection,
    out_of_fold,
    preferred,
)
from probes.fitting.stacking import SparseStack

ONE_LAYER = "logistic, one layer"
SPARSE = "sparse over layers"
LOGPROB = "log-probability (sum)"
DIRECTIONS: dict[str, Fit] = {
    "mass-mean": mass_mean,
    "mass-mean, whitened": whitened_mass_mean,
    "logistic, all dimensions": logistic_on_all,
}
READOUTS = (ONE_LAYER, *DIRECTIONS, SPARSE)


@dataclass(frozen=True)
class ReadoutComparison:
    """Readouts on the same rows under the same outer folds.

    Attributes:
        wrong: 0 or 1, (n,).
        groups: (n,).
        scores: Name -> out-of-fold score of each row, (n,); the log-probability is among them where it is known.
        auroc: Name -> AUROC, bootstrap over groups.
        difference: Name -> AUROC minus that of the one-layer logistic probe, on the same resamples.
        chosen: Name -> what each outer fold chose.
    """

    wrong: list[int]
    groups: list[str]
    scores: dict[str, list[float]]
    auroc: dict[str, Estimate]
    difference: dict[str, Estimate]
    chosen: dict[str, list[str]]

    def table(self) -> list[tuple[str, str, str]]:
        """Return readout, AUROC, difference to the one-layer probe, the best first."""
        names = sorted(self.auroc, key=lambda name: -self.auroc[name].value)
        return [
            (name, str(self.auroc[name]), f"{self.difference[name]:+.3f}" if name in self.difference else "")
            for name in names
        ]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_readouts(
    data: Rows | Labelled,
    *,
    readouts: Sequence[str] = READOUTS,
    settings: Settings | None = None,
    n_resamples: int = 1000,
) -> ReadoutComparison:
    """Score readouts by nested, grouped cross-validation; the outer folds are those of `evaluate`.

    Args:
        data: A labelled set with activations, or rows of your own.
        readouts: Which of `READOUTS`; the one-layer probe is always scored, since the others are compared with it.
        settings: Folds, strengths, components.
        n_resamples: Bootstrap resamples of groups.

    Raises:
        InputError: An unknown readout, no activations, one class only, too few groups, or one prompt in two groups.
    """
    for name in readouts:
        if name not in READOUTS:
            raise InputError(one_of(name, READOUTS, what="readout"))
    rows, settings = rows_of(data), settings or Settings()
    candidates, y, groups = rows.checked()
    folds = grouped_folds(y, groups, settings.n_folds, settings.seed)
    selection = nested_selection(candidates, y[None], groups, folds, settings)
    scores = {ONE_LAYER: selection.scores[0].numpy()}
    chosen = {ONE_LAYER: preferred([choices[0] for choices in selection.choices], candidates.keys)}
    for name in readouts:
        if name in DIRECTIONS:
            scores[name], chosen[name] = nested(DIRECTIONS[name], candidates, y, groups, folds, settings=settings)
        elif name == SPARSE:
            outer = selection.candidate_scores.numpy()
            scores[name], chosen[name] = _stacked(candidates, y, groups, folds, outer, settings=settings)
    if rows.logprob is not None:
        scores[LOGPROB] = rows.logprob
    return _summary(y, groups, scores, chosen, n_resamples)


def nested(
    fit: Fit, candidates: Candidates, y: np.ndarray, groups: np.ndarray, folds: np.ndarray, *, settings: Settings
) -> tuple[np.ndarray, list[str]]:
    """Return out-of-fold scores, (n,), of the candidate and option that each fold's training groups prefer, and those.

    Scores are in deviations of the training rows' held-out scores: folds that choose different sites or strengths would
    otherwise be pooled in different units.

    Args:
        fit: Makes directions from training rows.
        candidates: Features.
        y: 0 or 1, (n,).
        groups: (n,).
        folds: Outer fold of each row, (n,).
        settings: Inner folds and seed.
    """
    check_folds(folds, groups)
    labels, scores, chosen = torch.as_tensor(y), np.empty(len(y)), []
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inner = inner_folds(y[train], groups[train], fold, settings)
        held_out = np.concatenate([np.flatnonzero(inner == part) for part in range(settings.n_inner)])
        parts = [
            _fit_and_decide(fit, candidates, labels, train[inner != part], train[inner == part], settings=settings)
            for part in range(settings.n_inner)
        ]
        quality = batched_auroc(labels[train][held_out], torch.cat(parts, -1))
        candidate, option = divmod(int(quality.flatten().argmax()), quality.shape[1])
        one = Candidates([candidates.keys[candidate]], candidates.x[candidate : candidate + 1])
        decided = _fit_and_decide(fit, one, labels, train, test, settings=settings)[0, option]
        unit = torch.cat(parts, -1)[candidate, option].std()
        scores[test] = (decided / (unit if unit > 0 else 1.0)).numpy()
        chosen.append(" ".join(candidates.keys[candidate]))
    return scores, chosen


def _fit_and_decide(
    fit: Fit, candidates: Candidates, labels: torch.Tensor, train: np.ndarray, test: np.ndarray, *, settings: Settings
) -> torch.Tensor:
    return fit(candidates.x[:, train], labels[train], settings).decision(candidates.x[:, test])


def _stacked(
    candidates: Candidates,
    y: np.ndarray,
    groups: np.ndarray,
    folds: np.ndarray,
    outer: np.ndarray,
    *,
    settings: Settings,
) -> tuple[np.ndarray, list[str]]:
    """As `nested`, of the sparse combination; `outer` holds each candidate's out-of-fold scores, (n_candidates, n)."""
    scores, chosen = np.empty(len(y)), []
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inner = inner_folds(y[train], groups[train], fold, settings)
        labels = torch.as_tensor(y[None, train], dtype=torch.float32)
        held_out = out_of_fold(candidates.x[:, train], labels, inner, settings)[:, :, 0]
        # The strength that each candidate's inner folds prefer, as in `outer`.
        best = batched_auroc(labels[0], held_out).argmax(1)
        stack = SparseStack.fit(held_out[torch.arange(len(best)), best].numpy(), y[train], inner)
        scores[test] = stack.decision(outer[:, test])
        chosen.append(f"{stack.n_used} of {len(candidates.keys)} C={stack.strength:g}")
    return scores, chosen


def _summary(
    y: np.ndarray, groups: np.ndarray, scores: dict[str, np.ndarray], chosen: dict[str, list[str]], n_resamples: int
) -> ReadoutComparison:
    reference = scores[ONE_LAYER]
    return ReadoutComparison(
        y.tolist(),
        [str(group) for group in groups],
        {name: values.tolist() for name, values in scores.items()},
        {name: group_bootstrap(auroc, (y, s), groups, n_resamples=n_resamples) for name, s in scores.items()},
        {
            name: paired_bootstrap(auroc, s, reference, y, groups, n_resamples=n_resamples)
            for name, s in scores.items()
            if name != ONE_LAYER
        },
        chosen,
    )
