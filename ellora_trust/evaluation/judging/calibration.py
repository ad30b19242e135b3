"""Whether stated probabilities mean what they say before and after: of the answers, and of an error predictor.

answer_calibration(before, after, groups)
predictor_calibration((risk_before, risk_after), (wrong_before, wrong_after), groups)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.judging.results import Calibrated
from ellora_trust.stats import Estimate, auroc, brier, expected_calibration_error, group_bootstrap

Statistic = Callable[..., float]
# Few bins for few items: the error of an estimate from ten is mostly noise below some hundred items.
_ITEMS_OF_A_BIN = 20


def answer_calibration(
    before: Sequence[Answer], after: Sequence[Answer], groups: np.ndarray, confidence: float = 0.95
) -> Calibrated:
    """Compare the probability of answers with how often they are right.

    Args:
        before: Answers before.
        after: Answers to the same questions after.
        groups: Of each item, (n,).
        confidence: Of the intervals.
    """
    sides = [
        (np.array([one.probability for one in side]), np.array([one.right for one in side], dtype=int))
        for side in (before, after)
    ]
    return _calibrated("answers", sides[0], sides[1], groups, confidence)


def predictor_calibration(
    risks: tuple[np.ndarray, np.ndarray],
    wrong: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    confidence: float = 0.95,
) -> list[Calibrated]:
    """Compare an error predictor's risk with how often answers are wrong, and how well it ranks them.

    Args:
        risks: Before and after, [0, 1], (n,) each.
        wrong: Before and after, 0/1, (n,) each.
        groups: Of each item, (n,).
        confidence: Of the intervals.
    """
    return [_calibrated("error predictor", (risks[0], wrong[0]), (risks[1], wrong[1]), groups, confidence, ranks=True)]


def _calibrated(
    of: str,
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
    confidence: float,
    *,
    ranks: bool = False,
) -> Calibrated:
    bins = max(2, min(10, len(groups) // _ITEMS_OF_A_BIN))

    def ece(p: np.ndarray, y: np.ndarray) -> float:
        return expected_calibration_error(p, y, min(bins, len(p)))

    statistics: dict[str, Statistic] = {"ece": ece, "brier": brier}
    # With one class there is nothing to rank.
    if ranks and all(0 < side[1].sum() < len(groups) for side in (before, after)):
        statistics["auroc"] = lambda p, y: auroc(y, p)

    def of_side(name: str, side: tuple[np.ndarray, np.ndarray]) -> Estimate:
        return group_bootstrap(statistics[name], side, groups, n_resamples=400, confidence=confidence)

    def difference(name: str) -> Estimate:
        one = statistics[name]
        return group_bootstrap(
            lambda p, y, q, z: one(q, z) - one(p, y),
            (*before, *after),
            groups,
            n_resamples=400,
            confidence=confidence,
        )

    return Calibrated(
        of,
        {name: of_side(name, before) for name in statistics},
        {name: of_side(name, after) for name in statistics},
        {name: difference(name) for name in statistics},
    )
