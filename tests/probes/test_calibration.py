"""From score to risk: Platt and isotonic agree with their definitions, and what hides behind an ECE is found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from ellora_trust.errors import InputError
from ellora_trust.stats import brier, expected_calibration_error
from probes.fitting.calibration import MIN_ISOTONIC, Calibration, method_for
from probes.measuring.calibration_checks import bucket_collapse, ece_floor, kept_below


def stepped(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true risk is a step, which no sigmoid of a line is."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    return scores, (rng.random(n) < np.where(scores < -1, 0.05, 0.6)).astype(int)


def test_isotonic_calibration_equals_scikit_learn():
    scores, wrong = stepped(MIN_ISOTONIC)
    ours = Calibration.fit(scores, wrong, "isotonic")
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, wrong)
    fresh = np.linspace(-5, 5, 200)
    assert ours(fresh) == pytest.approx(reference.predict(fresh))
    assert (np.diff(ours(fresh)) >= 0).all()


def test_isotonic_calibration_needs_a_thousand_rows():
    assert Calibration.fit(*stepped(MIN_ISOTONIC - 1), method="isotonic").method == "platt"
    assert Calibration.fit(*stepped(MIN_ISOTONIC), method="isotonic").method == "isotonic"
    assert method_for("isotonic", MIN_ISOTONIC - 1) == "platt"
    with pytest.raises(InputError, match=r"unknown calibration 'plat'; .* did you mean 'platt'"):
        Calibration.fit(*stepped(10), method="plat")  # pyright: ignore[reportArgumentType]


def test_isotonic_calibration_fits_a_step_that_platt_cannot():
    scores, wrong = stepped(5000)
    fresh, truth = stepped(5000, seed=1)
    platt, isotonic = (Calibration.fit(scores, wrong, method)(fresh) for method in ("platt", "isotonic"))
    assert brier(isotonic, truth) < brier(platt, truth)
    assert expected_calibration_error(isotonic, truth) < expected_calibration_error(platt, truth)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibration_comes_back_from_json(method):
    found = Calibration.fit(*stepped(MIN_ISOTONIC), method=method)
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert ("interp" in again.formula) == (method == "isotonic")


def test_collapsed_risks_are_found_and_spread_ones_are_not():
    collapsed = bucket_collapse(np.array([0.31] * 97 + [0.9] * 3))
    assert collapsed.collapsed
    assert collapsed.bins[0] == "0.3..0.4"
    sentence = collapsed.sentence("probe")
    assert sentence is not None
    assert sentence.startswith("Bucket collapse: 100% of the calibrated risks of probe lie in 0.3..0.4 and 0.9..1.0")
    spread = bucket_collapse(np.linspace(0, 1, 100))
    assert not spread.collapsed
    assert spread.sentence("probe") is None
    assert spread.share == pytest.approx(0.2, abs=0.02)


def test_a_calibrated_predictor_shows_the_stated_ece_and_a_bent_one_more():
    rng = np.random.default_rng(0)
    risk, groups = rng.random(200), np.arange(200)
    floor = ece_floor(risk, groups)
    measured = [expected_calibration_error(risk, rng.random(200) < risk) for _ in range(200)]
    inside = np.mean([floor.low <= ece <= floor.high for ece in measured])
    assert 0.88 <= inside <= 0.99
    bent = np.clip(risk * 0.5, 0, 1)
    assert expected_calibration_error(bent, rng.random(200) < risk) > ece_floor(bent, groups).high


def test_the_bias_of_ece_falls_with_n():
    rng = np.random.default_rng(0)
    values = [ece_floor(rng.random(n), np.arange(n)).value for n in (50, 500, 5000)]
    assert values[0] > values[1] > values[2]


def test_what_a_threshold_keeps_is_counted_row_by_row():
    rng = np.random.default_rng(0)
    risk = rng.random(300)
    wrong = (rng.random(300) < risk).astype(int)
    found = kept_below(wrong, risk, np.arange(300) // 2, n_points=4)
    assert len(found) == 4
    for one in found:
        inside = risk < one.threshold
        assert one.n == inside.sum()
        assert one.coverage.value == pytest.approx(inside.mean())
        assert one.wrong is not None
        assert one.wrong.value == pytest.approx(wrong[inside].mean())
        assert one.wrong.low <= one.wrong.value <= one.wrong.high
    assert found[-1].n == 300


def test_too_few_groups_below_a_threshold_get_no_share():
    risk = np.r_[np.full(30, 0.1), np.full(270, 0.9)]
    groups = np.r_[np.zeros(30), np.arange(1, 271)]
    first = kept_below(np.zeros(300, dtype=int), risk, groups, n_points=4)[0]
    assert kept_below(np.zeros(300, dtype=int), risk, groups)[-1].wrong is not None
    assert (first.n, first.wrong) == (30, None)
