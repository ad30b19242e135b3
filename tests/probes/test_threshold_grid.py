"""What no certification can reach, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from ellora_trust.errors import InputError
from probes.guarantee.certify import certify
from probes.guarantee.threshold_grid import feasibility, groups_needed, threshold_grid


@pytest.mark.parametrize(("risk", "confidence"), [(0.1, 0.95), (0.05, 0.95), (0.2, 0.9), (0.5, 0.5), (0.01, 0.99)])
def test_groups_needed_is_the_smallest_number_that_passes(risk, confidence):
    n = groups_needed(risk, confidence)
    assert (1 - risk) ** n <= 1 - confidence + 1e-12 < (1 - risk) ** (n - 1) + 2e-12


@pytest.mark.parametrize(("base", "risk"), [(0.3, 0.1), (0.1, 0.1), (0.05, 0.1), (1.0, 0.2), (0.5, 0.0)])
def test_no_choice_of_answers_keeps_more_than_the_bound_allows(base, risk):
    wrong = np.arange(1000) < round(1000 * base)
    # The best that hindsight can do: withhold wrong answers until few enough are left.
    withheld = next(k for k in range(1001) if (wrong.sum() - min(k, wrong.sum())) <= risk * max(1000 - k, 0) + 1e-9)
    assert feasibility(base, risk) == pytest.approx(withheld / 1000, abs=1e-3)
    assert feasibility(base, risk) <= withheld / 1000 + 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feasibility(1.2, 0.1), "base_risk=1.2 is out of range"),
        (lambda: feasibility(0.2, 1.0), r"risk=1.0 is out of range; use a number in \[0, 1\)"),
        (lambda: groups_needed(0.0, 0.95), r"risk=0.0 is out of range; use a number in \(0, 1\)"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_given_thresholds_share_the_level_unless_they_are_tested_in_turn() -> None:
    given = np.array([0.1, 0.2, 0.3, 0.4])
    assert threshold_grid(np.zeros(100), 0.1, 0.05, "bonferroni", given)[1] == pytest.approx(0.0125)
    assert threshold_grid(np.zeros(100), 0.1, 0.05, "fixed-sequence", given)[1] == pytest.approx(0.05)
    # 29 groups without a wrong answer are just enough for one test, and too few for four.
    scores, wrong, groups = np.full(29, 0.05), np.zeros(29), np.arange(29)
    assert certify(scores, wrong, groups, thresholds=[0.1]).threshold == 0.1
    assert certify(scores, wrong, groups, thresholds=given).threshold is None
