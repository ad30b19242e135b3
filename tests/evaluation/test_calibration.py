"""Calibration before and after, of answers and of an error predictor."""

from __future__ import annotations

import numpy as np
import pytest

from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.judging.calibration import answer_calibration, predictor_calibration
from ellora_trust.stats import brier
from ellora_trust.tasks.base import Outcome

GROUPS = np.arange(200)


def answers(probability: np.ndarray, right: np.ndarray) -> list[Answer]:
    outcomes = (Outcome.CORRECT if one else Outcome.WRONG for one in right)
    return [Answer("", outcome, None, float(p), ()) for p, outcome in zip(probability, outcomes, strict=True)]


def test_overconfidence_after_is_found():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, 200)
    right = rng.random(200) < p
    found = answer_calibration(answers(p, right), answers(np.full(200, 0.99), right), GROUPS)
    assert found.before["brier"].value == pytest.approx(brier(p, right.astype(int)))
    assert found.change["brier"].value == pytest.approx(found.after["brier"].value - found.before["brier"].value)
    assert found.change["ece"].low > 0.2


def test_a_predictor_that_stops_ranking_is_found():
    rng = np.random.default_rng(1)
    wrong = rng.random(200) < 0.5
    good = np.clip(wrong * 0.6 + rng.uniform(0, 0.4, 200), 0, 1)
    (found,) = predictor_calibration((good, rng.random(200)), (wrong.astype(int), wrong.astype(int)), GROUPS)
    assert found.before["auroc"].value > 0.95
    assert found.change["auroc"].high < -0.2


def test_with_one_class_there_is_no_ranking_to_report():
    (found,) = predictor_calibration((np.full(200, 0.2), np.full(200, 0.3)), (np.zeros(200), np.zeros(200)), GROUPS)
    assert set(found.change) == {"ece", "brier"}
