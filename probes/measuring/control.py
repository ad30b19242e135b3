"""Control labels: does the probe learn errors, or would it learn anything? One random label a group, same procedure.

    found = selectivity(features, wrong, groups)
    found.real, found.control, found.selectivity       # AUROC, AUROC on control labels, their difference

With folds that keep groups whole a control label cannot be learnt, and its AUROC is 0.5; more is a leak between folds.
Give the coarsest units you know of as `groups` (near-duplicate clusters) and what folds keep whole as `fold_groups`
(problems): a control AUROC above 0.5 then says that the folds are too fine. `fold_groups=range(n)` gives the setting of
the paper, where rows of one group lie on both sides: how much the probe memorises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, auroc, group_bootstrap
from ellora_trust.stats.discrimination import check_range, group_index
from probes.error_probe import Features, checked_labels
from probes.fitting.selection import Candidates, Settings, grouped_folds, nested_selection


@dataclass(frozen=True)
class Selectivity:
    """AUROC on real and on control labels by the same nested selection.

    Attributes:
        real: On the real labels; bootstrap over groups.
        control: Mean over the control labelings. They are independent draws, so the interval is Student's t over them;
            it is about these rows and folds, as a leak is.
        selectivity: real - control.
        control_sd: Standard deviation over the control labelings.
        n_controls: Control labelings drawn.
    """

    real: Estimate
    control: Estimate
    selectivity: Estimate
    control_sd: float
    n_controls: int

    @property
    def leaks(self) -> bool:
        """Whether control labels are predicted better than by chance: rows of one group lie in several folds."""
        return self.control.low > 0.5

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def selectivity(
    features: Features,
    wrong: ArrayLike,
    groups: ArrayLike | None,
    *,
    fold_groups: ArrayLike | None = None,
    settings: Settings | None = None,
    n_controls: int = 20,
    n_resamples: int = 1000,
) -> Selectivity:
    """Return how much better real labels are predicted than labels drawn at random for each group.

    Args:
        features: As for `ErrorProbe.fit`.
        wrong: 0 or 1, (n,).
        groups: Unit of the control labels and of the bootstrap, (n,); required.
        fold_groups: What folds keep whole, (n,); None takes `groups`.
        settings: Of the predictors; its seed also draws the control labels.
        n_controls: Control labelings, >= 2.
        n_resamples: Bootstrap resamples of groups, for the real labels.

    Raises:
        InputError: As `ErrorProbe.fit`, or fewer than 2 control labelings.

    Source: Hewitt & Liang 2019, arXiv:1909.03368: control task and selectivity. Theirs gives each word type a random
        output and compares accuracies; here each group has one and AUROCs are compared.
    """
    check_range("n_controls", n_controls, 2, float("inf"))
    settings = settings or Settings()
    mapping = features if isinstance(features, Mapping) else {("given", "given"): features}
    candidates = Candidates.stack(mapping)
    y, g = checked_labels(candidates, wrong, groups)
    units = g if fold_groups is None else np.asarray(fold_groups)
    if units.shape != y.shape:
        raise InputError(f"fold_groups has shape {units.shape} for {len(y)} rows; give one name a row")
    rng = np.random.default_rng(settings.seed)
    labels = np.stack([y, *(control_labels(y, g, rng) for _ in range(n_controls))])
    folds = grouped_folds(y, units, settings.n_folds, settings.seed)
    scores = nested_selection(candidates, labels, units, folds, settings).scores.numpy()
    return compared(labels, scores, g, n_resamples=n_resamples, seed=settings.seed)


def control_labels(wrong: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one label for each group, (n,); the share of groups labelled 1 is the share of rows that are wrong.

    Args:
        wrong: 0 or 1, (n,).
        groups: (n,).
        rng: Source of randomness.

    Raises:
        InputError: Fewer than two groups.
    """
    index = group_index(groups, len(wrong))
    n_groups = int(index.max()) + 1
    if n_groups < 2:
        raise InputError(f"{n_groups} group was given; control labels need at least 2")
    ones = int(np.clip(round(float(np.mean(wrong)) * n_groups), 1, n_groups - 1))
    return rng.permutation(np.arange(n_groups) < ones)[index].astype(int)


def compared(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, n_resamples: int = 1000, seed: int = 0
) -> Selectivity:
    """Return the selectivity of scores that a procedure gave for several labelings of the same rows.

    Args:
        labels: 0 or 1, (1 + n_controls, n); the first is the real one.
        scores: Out-of-fold, same shape.
        groups: (n,).
        n_resamples: Bootstrap resamples of groups, for the real labels.
        seed: Of the resamples.
    """
    real = group_bootstrap(auroc, (labels[0], scores[0]), groups, n_resamples=n_resamples, seed=seed)
    drawn = np.array([auroc(y, s) for y, s in zip(labels[1:], scores[1:], strict=True)])
    mean, sd = float(drawn.mean()), float(drawn.std(ddof=1))
    half = float(student_t.ppf(0.975, len(drawn) - 1)) * sd / math.sqrt(len(drawn))
    control = Estimate(mean, mean - half, mean + half, real.n, real.n_groups, method="t over control labelings")
    return Selectivity(real, control, _difference(real, control), sd, len(drawn))


def _difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b, whose errors are independent, with the interval that theirs imply.

    Source: Zou & Donner 2008, doi:10.1002/sim.3095 (method of variance estimates recovery).
    """
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, value - low, value + high, a.n, a.n_groups, a.confidence, "MOVER", a.n_undefined)
