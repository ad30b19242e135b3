"""Does a probe know more than the length, or the log-probability, of the answer? AUROC of what these do not explain.

    result = residual_auroc(wrong, scores, {"answer length": lengths}, groups)
    result.raw, result.residual, result.change

The probe's out-of-fold scores are regressed on the confounders and the residuals are scored. The regression sees no
labels, so it needs no folds. What score and confounder share is taken away from the score even where the probe has it
for good reasons: a low residual AUROC says "not shown to be more", not "nothing but".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, auroc, group_bootstrap, group_bootstraps
from ellora_trust.stats.discrimination import Groups, checked_pair

# A share of variance below this is rounding: a score that is a linear function of the confounders leaves nothing.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ResidualAuroc:
    """AUROC before and after confounders are regressed out; intervals refit the regression in every resample.

    Attributes:
        confounders: Their names.
        ranks: Whether ranks replaced values, which removes any monotone relation rather than the linear one.
        raw: AUROC of the scores.
        residual: AUROC of their residuals.
        change: residual - raw, on the same resamples.
        explained: Share of the scores' variance that the confounders explain, [0, 1].
    """

    confounders: list[str]
    ranks: bool
    raw: Estimate
    residual: Estimate
    change: Estimate
    explained: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def residual_auroc(
    wrong: ArrayLike,
    scores: ArrayLike,
    confounders: Mapping[str, ArrayLike],
    groups: Groups,
    *,
    ranks: bool = False,
    n_resamples: int = 1000,
    seed: int = 0,
) -> ResidualAuroc:
    """Return the AUROC of scores with the linear effect of confounders removed.

    Args:
        wrong: 0 or 1, (n,).
        scores: Out-of-fold, higher is riskier, (n,).
        confounders: Name to values such as tokens or nats, (n,); several are removed jointly.
        groups: Problem of each row, (n,).
        ranks: Replace scores and confounders by their ranks first.
        n_resamples: Bootstrap resamples of groups.
        seed: Of the resamples.

    Raises:
        InputError: No confounders, lengths that differ, values not finite, or as `group_bootstrap`.

    Source: residualisation for prompt length as in Di Cicco 2026, arXiv:2606.14530, which removes the linear effect
        from every hidden dimension before the probe is fitted. Here it is removed from the probe's score, so the
        probe that is judged is the one that is used.
    """
    y, s = checked_pair(wrong, scores, "scores")
    columns = _stack(confounders, len(s))
    boot = {"n_resamples": n_resamples, "seed": seed}

    def residual_and_change(labels: np.ndarray, values: np.ndarray, c: np.ndarray) -> tuple[float, float]:
        left = auroc(labels, residuals(values, c, ranks=ranks))
        return left, left - auroc(labels, values)

    used = rankdata(s) if ranks else s
    total = float(np.var(used))
    explained = 1 - float(np.var(residuals(s, columns, ranks=ranks))) / total if total else 0.0
    raw = group_bootstrap(auroc, (y, s), groups, **boot)
    residual, change = group_bootstraps(residual_and_change, (y, s, columns), groups, **boot)
    return ResidualAuroc(list(confounders), ranks, raw, residual, change, explained)


def residuals(scores: np.ndarray, confounders: np.ndarray, *, ranks: bool = False) -> np.ndarray:
    """Return what a least-squares fit on confounders leaves of scores, (n,), in their unit (or in ranks).

    Args:
        scores: (n,).
        confounders: (n, k).
        ranks: Replace all by their ranks first.
    """
    s = rankdata(scores) if ranks else np.asarray(scores, dtype=float)
    c = rankdata(confounders, axis=0) if ranks else np.asarray(confounders, dtype=float)
    s, c = s - s.mean(), c - c.mean(0)
    # Tokens and nats differ by orders of magnitude: unit columns keep the cut-off of small directions fair.
    scale = np.sqrt((c**2).sum(0))
    c = c / np.where(scale > 0, scale, 1)
    left = s - c @ np.linalg.lstsq(c, s, rcond=None)[0]
    return left if left @ left > _ROUNDING * (s @ s) else np.zeros(len(s))


def _stack(confounders: Mapping[str, ArrayLike], n: int) -> np.ndarray:
    if not confounders:
        raise InputError("no confounders were given; give at least one, such as {'answer length': lengths}")
    for name, column in confounders.items():
        values = np.asarray(column, dtype=float)
        if values.shape != (n,) or not np.isfinite(values).all():
            raise InputError(
                f"confounder {name!r} has shape {values.shape} for {n} rows, or values that are not finite; give one "
                "finite number a row"
            )
    return np.column_stack([np.asarray(column, dtype=float) for column in confounders.values()])
