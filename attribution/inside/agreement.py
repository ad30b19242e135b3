"""How far two methods agree on which components carry an answer: correlations of their effects over sites.

exact = attribute_components(model, pairs, method="activation_patching")
agreement(exact, attribute_components(model, pairs)).pearson
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from attribution.components import ComponentAttribution, FloatArray
from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, group_bootstrap


@dataclass(frozen=True)
class Agreement:
    """How far two methods agree on the same sites and pairs.

    Attributes:
        pearson: Correlation over sites of the effects averaged over pairs, [-1, 1].
        spearman: The same of their ranks.
        pearson_each: Mean over pairs of the correlation over sites within one pair.
        spearman_each: The same of ranks.
    """

    pearson: Estimate
    spearman: Estimate
    pearson_each: Estimate
    spearman_each: Estimate


def agreement(one: ComponentAttribution, other: ComponentAttribution) -> Agreement:
    """Correlate the effects of two methods; intervals are over groups of pairs.

    Raises:
        InputError: They are not about the same sites and pairs, or about fewer than 3 sites, or two groups.
    """
    _comparable(one, other)
    both = (one.effects, other.effects)
    each = np.array([(_correlation(a, b), _correlation(rankdata(a), rankdata(b))) for a, b in zip(*both, strict=True)])
    return Agreement(
        group_bootstrap(lambda a, b: _correlation(a.mean(0), b.mean(0)), both, one.groups),
        group_bootstrap(lambda a, b: _correlation(rankdata(a.mean(0)), rankdata(b.mean(0))), both, one.groups),
        group_bootstrap(np.mean, (each[:, 0],), one.groups),
        group_bootstrap(np.mean, (each[:, 1],), one.groups),
    )


def correlations(one: ComponentAttribution, other: ComponentAttribution) -> tuple[float, float]:
    """Return Pearson and Spearman of the mean effects, without intervals; for a single pair.

    Raises:
        InputError: They are not about the same sites and pairs, or about fewer than 3 sites.
    """
    _comparable(one, other)
    return _correlation(one.mean, other.mean), _correlation(rankdata(one.mean), rankdata(other.mean))


def _comparable(one: ComponentAttribution, other: ComponentAttribution) -> None:
    if one.sites != other.sites or one.groups != other.groups:
        raise InputError("the two results are about different sites or pairs; score the same ones with both methods")
    if len(one.sites) < 3:
        raise InputError(f"{len(one.sites)} sites carry no correlation; score at least 3")


def _correlation(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else float("nan")
