"""How well errors are predicted, without a leak: nested selection, baselines on the same rows, permuted labels.

result = evaluate(labelled)
result.probe, result.baselines, result.gain_over_baseline     # each an Estimate with its interval
result.sentences()                                            # the verdict in words
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import (
    Estimate,
    auroc,
    brier,
    brier_skill,
    expected_calibration_error,
    group_bootstrap,
    paired_bootstrap,
    permute_by_group,
    within_group_auroc,
)
from probes.baselines import baseline_scores, confidence_columns
from probes.combination import combined
from probes.error_probe import Calibration, checked_labels
from probes.linear import centred_decision, pipeline
from probes.result import Evaluation, Permutation, Scores
from probes.selection import (
    Candidates,
    Choice,
    Selection,
    Settings,
    components,
    grouped_folds,
    nested_selection,
    preferred,
)

N_PERMUTATIONS = 60
N_RESAMPLES = 1000


def evaluate(
    labelled: Labelled,
    *,
    model_name: str = "",
    settings: Settings | None = None,
    n_permutations: int = N_PERMUTATIONS,
    tick: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Score error prediction on a labelled set with activations.

    Args:
        labelled: With activations at the candidate sites and positions.
        model_name: For the record.
        settings: Of the predictors.
        n_permutations: Label permutations, >= 1.
        tick: Called with the name of each step as it begins.

    Raises:
        InputError: No activations, one class only, too few groups, or one prompt in two groups.
    """
    settings = settings or Settings()
    rows = np.flatnonzero(labelled.decided)
    kept = subset(labelled, rows)
    candidates = Candidates.stack({key: kept.activations.vectors(*key) for key in kept.activations})
    y, groups = checked_labels(candidates, kept.wrong, kept.groups)
    refuse_split_duplicates(kept)
    folds = grouped_folds(y, groups, settings.n_folds, settings.seed)
    tick("nested selection and permutation test")
    labels = np.stack([y, *_permuted(y, groups, folds, n_permutations, settings.seed)])
    selection = nested_selection(candidates, labels, groups, folds, settings)
    tick("baselines and intervals")
    probe, risk = _held_out_probe(candidates, selection, y, folds, settings)
    confidence = np.stack(list(confidence_columns(kept).values()), 1)
    both, both_risk = combined(probe, selection.inner_scores, confidence, y, folds)
    baselines = baseline_scores(kept, y, folds)
    return _summary(kept, model_name, rows, y, groups, candidates, selection, baselines, (probe, risk, both, both_risk))


def subset(labelled: Labelled, rows: np.ndarray) -> Labelled:
    """Return some rows of a labelled set."""
    from ellora_trust.store import Activations

    pick = rows.tolist()
    return Labelled(
        labelled.name,
        [labelled.examples[i] for i in pick],
        [labelled.generations[i] for i in pick],
        [labelled.outcomes[i] for i in pick],
        Activations({key: labelled.activations.vectors(*key)[rows] for key in labelled.activations}),
        labelled.prompt_format,
        labelled.header,
    )


def refuse_split_duplicates(labelled: Labelled) -> None:
    """Refuse a set in which one prompt belongs to two groups.

    Raises:
        InputError: It does.
    """
    home: dict[str, str] = {}
    for example in labelled.examples:
        if home.setdefault(example.prompt, example.group) != example.group:
            raise InputError(
                f"the prompt of example {example.id!r} is in groups {home[example.prompt]!r} and {example.group!r}, "
                "which leaks its answer between folds; give equal and near-equal prompts one group"
            )


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
    candidates: Candidates, selection: Selection, y: np.ndarray, folds: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Score and calibrated risk of each row by the reference pipeline that its fold chose."""
    scores, risk = np.empty(len(y)), np.empty(len(y))
    for fold, choices in enumerate(selection.choices):
        choice: Choice = choices[0]
        x = candidates.x[choice.candidate].numpy().astype(np.float64)
        train, test = folds != fold, folds == fold
        k = components(settings, int(train.sum()), x.shape[1])
        fitted = pipeline(choice.strength, k, settings.seed).fit(x[train], y[train])
        scores[test] = centred_decision(fitted, x[test])
        risk[test] = Calibration.fit(selection.inner_scores[fold][train], y[train])(scores[test])
    return scores, risk


def _summary(
    kept: Labelled,
    model_name: str,
    rows: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    candidates: Candidates,
    selection: Selection,
    baselines: dict[str, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> Evaluation:
    probe, risk, both, both_risk = held_out
    estimates = {name: _auroc(y, scores, groups) for name, scores in baselines.items()}
    best = max(estimates, key=lambda name: estimates[name].value)
    fitted = baselines["log-probability and entropy (fitted)"]
    quality = [auroc(y, scores.numpy()) for scores in selection.candidate_scores]
    oracle = int(np.argmax(quality))
    return Evaluation(
        task=kept.name,
        model=model_name,
        prompt_format=kept.prompt_format,
        outcomes=kept.counts(),
        base_rate=group_bootstrap(_share, (y,), groups, n_resamples=N_RESAMPLES),
        baselines=estimates,
        best_baseline=best,
        probe=_auroc(y, probe, groups),
        both=_auroc(y, both, groups),
        gain_over_baseline=_gain(probe, baselines[best], y, groups),
        gain_over_logprob=_gain(probe, fitted, y, groups),
        gain_of_both=_gain(both, baselines[best], y, groups),
        within_group=_within(y, probe, groups),
        calibration=_calibration(y, groups, {"probe": risk, "both": both_risk}),
        permutation=_permutation(selection, y, groups),
        chosen=preferred([choices[0] for choices in selection.choices], candidates.keys),
        oracle_best=(" ".join(candidates.keys[oracle]), quality[oracle]),
        by_site=_by_site(candidates, quality),
        scores=Scores(
            rows.tolist(),
            y.tolist(),
            probe.tolist(),
            risk.tolist(),
            both.tolist(),
            both_risk.tolist(),
            baselines[best].tolist(),
        ),
    )


def _share(y: np.ndarray) -> float:
    return float(np.mean(y))


def _auroc(y: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Estimate:
    return group_bootstrap(auroc, (y, scores), groups, n_resamples=N_RESAMPLES)


def _gain(a: np.ndarray, b: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Estimate:
    return paired_bootstrap(auroc, a, b, y, groups, n_resamples=N_RESAMPLES)


def _within(y: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Estimate | None:
    mixed = [g for g in np.unique(groups) if len(np.unique(y[groups == g])) == 2]
    # Below this the resamples themselves often have no mixed group.
    if len(mixed) < 10:
        return None
    inside = np.isin(groups, mixed)
    index = groups[inside]

    def statistic(labels: np.ndarray, values: np.ndarray, names: np.ndarray) -> float:
        return within_group_auroc(labels, values, names)

    return group_bootstrap(statistic, (y[inside], scores[inside], index), index, n_resamples=300)


def _calibration(y: np.ndarray, groups: np.ndarray, risks: dict[str, np.ndarray]) -> dict[str, Estimate]:
    measures = {"ECE": expected_calibration_error, "Brier score": brier, "Brier skill": brier_skill}
    return {
        f"{name}, {who}": group_bootstrap(measure, (risk, y), groups, n_resamples=200)
        for who, risk in risks.items()
        for name, measure in measures.items()
    }


def _permutation(selection: Selection, y: np.ndarray, groups: np.ndarray) -> Permutation:
    real = auroc(selection.labels[0], selection.scores[0].numpy())
    null = np.array(
        [
            auroc(labels, scores.numpy())
            for labels, scores in zip(selection.labels[1:], selection.scores[1:], strict=True)
        ]
    )
    p_value = (1 + int((null >= real).sum())) / (1 + len(null))
    return Permutation(float(null.mean()), float(null.std(ddof=1)), p_value, len(null))


def _by_site(candidates: Candidates, quality: list[float]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for (site, position), value in zip(candidates.keys, quality, strict=True):
        found.setdefault(position, []).append((site, value))
    return found
