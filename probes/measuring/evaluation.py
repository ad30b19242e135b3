"""How well errors are predicted, without a leak: nested selection, baselines on the same rows, permuted labels.

result = evaluate(labelled)
result.probe, result.baselines, result.gain_over_baseline     # each an Estimate with its interval
result.sentences()                                            # the verdict in words
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ellora_trust.labeling import Labelled
from ellora_trust.stats import auroc, permute_by_group
from probes.error_probe import checked_labels
from probes.fitting.baselines import baseline_scores, confidence_columns, length_columns
from probes.fitting.calibration import Calibration, Method, method_for
from probes.fitting.combination import combined
from probes.fitting.linear import centred_decision, pipeline
from probes.fitting.opinion import Opinion
from probes.fitting.selection import (
    Candidates,
    Choice,
    Selection,
    Settings,
    components,
    grouped_folds,
    nested_selection,
    preferred,
)
from probes.measuring.checks import Checks, check
from probes.measuring.control import compared, control_labels
from probes.measuring.held_out import LOGPROB, HeldOut
from probes.measuring.result import Evaluation, Permutation, Scores
from probes.measuring.subset import refuse_split_duplicates, subset

N_PERMUTATIONS = 60
# Each costs as much as a permutation; eight give the mean control AUROC to about +-0.02 at 600 rows.
N_CONTROLS = 8


@dataclass(frozen=True)
class _Search:
    """A nested selection for the real labels, permuted ones and control labels, in that order.

    Attributes:
        rows: Decided rows of the labelled set.
        candidates: Features of those rows.
        folds: Outer fold of each, (n,).
        selection: What was chosen, and out-of-fold scores.
        n_permutations: How many labelings are permutations.
    """

    rows: np.ndarray
    candidates: Candidates
    folds: np.ndarray
    selection: Selection
    n_permutations: int


def evaluate(
    labelled: Labelled,
    *,
    model_name: str = "",
    settings: Settings | None = None,
    n_permutations: int = N_PERMUTATIONS,
    n_controls: int = N_CONTROLS,
    risk: float = 0.1,
    calibration: Method = "platt",
    opinion: Opinion | None = None,
    tick: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Score error prediction on a labelled set with activations.

    Args:
        labelled: With activations at the candidate sites and positions.
        model_name: For the record.
        settings: Of the predictors.
        n_permutations: Label permutations, >= 1.
        n_controls: Random labelings, one label a group, >= 2.
        risk: Stated share of wrong answers, (0, 1), for coverage at a risk.
        calibration: Of the probe; `isotonic` only where a fold trains on 1,000 rows or more, else `platt`.
        opinion: What an independent model thinks of these answers, as a baseline.
        tick: Called with the name of each step as it begins.

    Raises:
        InputError: No activations, one class only, too few groups, one prompt in two groups, or an opinion of others.
    """
    settings = settings or Settings()
    if opinion is not None:
        opinion.check(labelled)
    rows = np.flatnonzero(labelled.decided)
    kept = subset(labelled, rows)
    candidates = Candidates.stack({key: kept.activations.vectors(*key) for key in kept.activations})
    y, groups = checked_labels(candidates, kept.wrong, kept.groups)
    refuse_split_duplicates(kept)
    folds = grouped_folds(y, groups, settings.n_folds, settings.seed)
    tick("nested selection, permutation test and control labels")
    rng = np.random.default_rng(settings.seed)
    controls = [control_labels(y, groups, rng) for _ in range(n_controls)]
    labels = np.stack([y, *_permuted(y, groups, folds, n_permutations, settings.seed), *controls])
    selection = nested_selection(candidates, labels, groups, folds, settings)
    search = _Search(rows, candidates, folds, selection, n_permutations)
    tick("baselines, intervals and checks")
    asked = opinion.columns(rows) if opinion is not None else {}
    held = _held_out(kept, search, y, groups, settings=settings, calibration=calibration, opinion=asked)
    checks = _checks(kept, search, held, risk, _method(calibration, folds))
    return _evaluation(labelled, model_name, search, held, checks)


def _method(calibration: Method, folds: np.ndarray) -> Method:
    """What every fold's calibration could use: isotonic only if the smallest training set allows it."""
    return method_for(calibration, len(folds) - int(np.bincount(folds).max()))


def _held_out(
    kept: Labelled,
    search: _Search,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    settings: Settings,
    calibration: Method,
    opinion: Mapping[str, np.ndarray],
) -> HeldOut:
    folds, selection = search.folds, search.selection
    probe, risk = _held_out_probe(search, y, settings, _method(calibration, folds))
    confidence = np.stack(list(confidence_columns(kept).values()), 1)
    both, both_risk = combined(probe, selection.inner_scores, confidence, y, folds)
    baselines = baseline_scores(kept, y, folds, opinion=opinion)
    return HeldOut(y, groups, probe, risk, both, both_risk, baselines)


def _checks(kept: Labelled, search: _Search, held: HeldOut, risk: float, method: Method) -> Checks:
    first_control = 1 + search.n_permutations
    picked = np.r_[0, first_control : len(search.selection.labels)]
    scores = search.selection.scores.numpy()
    confounders = {"length": length_columns(kept), "log-probability": confidence_columns(kept)}
    selectivity = compared(search.selection.labels[picked], scores[picked], held.groups)
    return check(held, confounders, selectivity, risk=risk, calibration_method=method)


def _permuted(y: np.ndarray, groups: np.ndarray, folds: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """Labels exchanged between groups of one fold, so that every fold keeps its base rate."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n):
        permuted = y.copy()
        for fold in np.unique(folds):
            inside = folds == fold
            permuted[inside] = permute_by_group(y[inside], groups[inside], rng)
        draws.append(permuted)
    return draws


def _held_out_probe(
    search: _Search, y: np.ndarray, settings: Settings, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    """Score and calibrated risk of each row by the reference pipeline that its fold chose."""
    scores, risk = np.empty(len(y)), np.empty(len(y))
    for fold, choices in enumerate(search.selection.choices):
        choice: Choice = choices[0]
        x = search.candidates.x[choice.candidate].numpy().astype(np.float64)
        train, test = search.folds != fold, search.folds == fold
        k = components(settings, int(train.sum()), x.shape[1])
        fitted = pipeline(choice.strength, k, settings.seed).fit(x[train], y[train])
        scores[test] = centred_decision(fitted, x[test])
        seen = search.selection.inner_scores[fold][train]
        risk[test] = Calibration.fit(seen, y[train], method)(scores[test])
    return scores, risk


def _evaluation(labelled: Labelled, model_name: str, search: _Search, held: HeldOut, checks: Checks) -> Evaluation:
    candidates, selection, best = search.candidates, search.selection, held.best_baseline
    quality = [auroc(held.wrong, scores.numpy()) for scores in selection.candidate_scores]
    oracle = int(np.argmax(quality))
    return Evaluation(
        task=labelled.name,
        model=model_name,
        prompt_format=labelled.prompt_format,
        outcomes=subset(labelled, search.rows).counts(),
        base_rate=held.base_rate(),
        baselines=held.baseline_aurocs,
        best_baseline=best,
        probe=held.auroc(held.probe),
        both=held.auroc(held.both),
        gain_over_baseline=held.gain(held.probe, held.baseline),
        gain_over_logprob=held.gain(held.probe, held.baselines[LOGPROB]),
        gain_of_both=held.gain(held.both, held.baseline),
        within_group=held.within_group(),
        calibration=held.calibration(),
        permutation=_permutation(search),
        chosen=preferred([choices[0] for choices in selection.choices], candidates.keys),
        oracle_best=(" ".join(candidates.keys[oracle]), quality[oracle]),
        by_site=_by_site(candidates, quality),
        scores=_scores(search.rows, held),
        checks=checks,
    )


def _scores(rows: np.ndarray, held: HeldOut) -> Scores:
    columns = (held.wrong, held.probe, held.risk, held.both, held.both_risk, held.baseline)
    return Scores(rows.tolist(), *(column.tolist() for column in columns))


def _permutation(search: _Search) -> Permutation:
    real, *null = (
        auroc(labels, scores.numpy())
        for labels, scores in zip(
            search.selection.labels[: 1 + search.n_permutations],
            search.selection.scores[: 1 + search.n_permutations],
            strict=True,
        )
    )
    drawn = np.array(null)
    p_value = (1 + int((drawn >= real).sum())) / (1 + len(drawn))
    return Permutation(float(drawn.mean()), float(drawn.std(ddof=1)), p_value, len(drawn))


def _by_site(candidates: Candidates, quality: list[float]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for (site, position), value in zip(candidates.keys, quality, strict=True):
        found.setdefault(position, []).append((site, value))
    return {position: sorted(values, key=lambda pair: _depth(pair[0])) for position, values in found.items()}


def _depth(site: str) -> tuple[bool, str, list[int]]:
    """Order of sites in a figure; a store lists them by name, where layer 10 comes before layer 2."""
    kind, *numbers = site.split(".")
    return kind != "embed", kind, [int(number) for number in numbers if number.isdigit()]
