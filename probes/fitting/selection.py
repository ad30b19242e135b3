"""Nested, grouped selection: layer, position and strength are chosen inside the training groups, and nowhere else.

folds = grouped_folds(wrong, groups, n_folds=5, seed=0)
result = nested_selection(candidates, labels, groups, folds, Settings())
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from ellora_trust.errors import InputError
from probes.fitting.linear import Projection, batched_auroc, decide, fit_batched

Key = tuple[str, str]  # (site, position)

# Candidates projected at once: bounds memory at a few hundred megabytes for thousands of rows.
_BLOCK = 16


@dataclass(frozen=True)
class Settings:
    """How predictors are fitted and chosen; the defaults were set on examples drawn with seed 1, not on the README's.

    Attributes:
        strengths: Candidates for scikit-learn's `C`.
        n_components: Principal components kept (fewer if there are fewer rows).
        n_folds: Outer folds.
        n_inner: Inner folds.
        seed: Of folds and PCA.
    """

    strengths: tuple[float, ...] = (0.01, 0.1, 0.3)
    n_components: int = 64
    n_folds: int = 5
    n_inner: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Candidates:
    """Activations of the same rows at several (site, position).

    Attributes:
        keys: What each is.
        x: (n_candidates, n, d), float32.
    """

    keys: list[Key]
    x: Tensor

    @classmethod
    def stack(cls, features: Mapping[Key, Tensor | np.ndarray]) -> Candidates:
        """Stack features of equal shape, without those that are the same in every row.

        Raises:
            InputError: None given, shapes that differ, values that are not finite, or nothing but constants.
        """
        if not features:
            raise InputError("no features were given; give an array (n, d) or a mapping of (site, position) to arrays")
        arrays = [torch.as_tensor(np.asarray(value), dtype=torch.float32) for value in features.values()]
        if len({a.shape for a in arrays}) != 1 or arrays[0].dim() != 2:
            raise InputError(f"features have shapes {sorted({tuple(a.shape) for a in arrays})}; give one shape (n, d)")
        x = torch.stack(arrays)
        if not torch.isfinite(x).all():
            raise InputError("some features are not finite; leave out those rows, or load the model in float32")
        # The embedding of a last token that all prompts share, for one.
        varied = [i for i in range(len(x)) if (x[i] != x[i, :1]).any()]
        if not varied:
            raise InputError("every feature row is the same; give activations that differ between examples")
        return cls([list(features)[i] for i in varied], x[varied])


@dataclass(frozen=True)
class Choice:
    """What one outer fold chose on its training groups."""

    candidate: int
    strength: float
    inner_auroc: float


@dataclass(frozen=True)
class Selection:
    """Result of a nested selection for several labelings.

    Attributes:
        labels: What was predicted, (n_labelings, n).
        choices: [fold][labeling].
        scores: Out-of-fold scores of the chosen predictors, (n_labelings, n).
        inner_scores: [fold] -> (n,) inner out-of-fold scores of the first labeling's choice; NaN in the test fold.
        candidate_scores: Out-of-fold scores of every candidate for the first labeling, (n_candidates, n), each with the
            strength its inner folds prefer.
    """

    labels: np.ndarray
    choices: list[list[Choice]]
    scores: Tensor
    inner_scores: list[np.ndarray]
    candidate_scores: Tensor


def grouped_folds(wrong: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return each row's fold, (n,), groups whole and classes spread evenly.

    Raises:
        InputError: Fewer groups with either class than folds.
    """
    for value, name in ((1, "wrong"), (0, "right")):
        have = len(np.unique(groups[wrong == value]))
        if have < n_folds:
            raise InputError(
                f"only {have} groups have {name} answers; {n_folds} folds need at least {n_folds}: give more examples"
            )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    folds = np.empty(len(wrong), dtype=np.int64)
    for fold, (_, test) in enumerate(splitter.split(wrong, wrong, groups)):
        folds[test] = fold
    return folds


def check_folds(folds: np.ndarray, groups: np.ndarray) -> None:
    """Refuse folds that leak.

    Raises:
        InputError: A group whose rows lie in two folds.
    """
    first: dict[object, int] = {}
    for fold, group in zip(folds.tolist(), groups.tolist(), strict=True):
        if first.setdefault(group, fold) != fold:
            raise InputError(
                f"group {group!r} has rows in folds {first[group]} and {fold}, which leaks; keep groups whole"
            )


def nested_selection(
    candidates: Candidates, labels: np.ndarray, groups: np.ndarray, folds: np.ndarray, settings: Settings
) -> Selection:
    """Choose and score predictors by nested cross-validation, for several labelings of the same rows.

    Args:
        candidates: Features.
        labels: 0 or 1, (n_labelings, n); the first is the real one, others may be permutations of it.
        groups: (n,).
        folds: Outer fold of each row, (n,).
        settings: How.
    """
    check_folds(folds, groups)
    y = torch.as_tensor(labels, dtype=torch.float32)
    n_labelings, n = y.shape
    scores = torch.zeros(n_labelings, n)
    candidate_scores = torch.zeros(len(candidates.keys), n)
    choices, inner_scores = [], []
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inner = inner_folds(labels[0, train], groups[train], fold, settings)
        inner_out = out_of_fold(candidates.x[:, train], y[:, train], inner, settings)
        auroc = batched_auroc(y[:, train], inner_out)  # (candidates, strengths, labelings)
        outer = _fit_and_decide(candidates.x, y, train, test, settings)
        best = auroc.flatten(0, 1).argmax(0)
        columns = torch.arange(n_labelings)
        scores[:, test] = outer.flatten(0, 1)[best, columns]
        n_strengths = len(settings.strengths)
        choices.append(
            [
                Choice(int(b) // n_strengths, settings.strengths[int(b) % n_strengths], float(value))
                for b, value in zip(best, auroc.flatten(0, 1)[best, columns], strict=True)
            ]
        )
        out = np.full(n, np.nan)
        out[train] = inner_out.flatten(0, 1)[best[0], 0].numpy()
        inner_scores.append(out)
        preferred = auroc[:, :, 0].argmax(1)
        candidate_scores[:, test] = outer[torch.arange(len(preferred)), preferred, 0]
    return Selection(labels, choices, scores, inner_scores, candidate_scores)


def inner_folds(y: np.ndarray, groups: np.ndarray, fold: int, settings: Settings) -> np.ndarray:
    """Return the inner folds within the training rows of an outer fold, (n_train,); every readout has the same ones."""
    return grouped_folds(y, groups, settings.n_inner, settings.seed + 1 + fold)


def out_of_fold(x: Tensor, y: Tensor, folds: np.ndarray, settings: Settings) -> Tensor:
    """Scores of every candidate, strength and labeling on rows it was not fitted on: (c, s, labelings, n)."""
    out = torch.zeros(len(x), len(settings.strengths), *y.shape)
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        out[..., test] = _fit_and_decide(x, y, train, test, settings)
    return out


def _fit_and_decide(x: Tensor, y: Tensor, train: np.ndarray, test: np.ndarray, settings: Settings) -> Tensor:
    k = components(settings, len(train), x.shape[-1])
    found = []
    for block in _blocks(x):
        projection = Projection.fit(block[:, train], k, settings.seed)
        weights = fit_batched(projection.apply(block[:, train]), y[:, train], settings.strengths)
        found.append(decide(projection.apply(block[:, test]), weights))
    return torch.cat(found)


def _blocks(x: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(x), _BLOCK):
        yield x[start : start + _BLOCK]


def components(settings: Settings, n: int, d: int) -> int:
    """Return how many principal components (n, d) training data can carry."""
    return max(1, min(settings.n_components, n // 4, d))


def preferred(choices: Sequence[Choice], keys: Sequence[Key]) -> list[str]:
    """Return what each fold chose, for people: `resid.12 answer C=0.01`."""
    return [f"{keys[c.candidate][0]} {keys[c.candidate][1]} C={c.strength:g}" for c in choices]
