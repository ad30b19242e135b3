"""Control labels find a planted leak, and nothing where groups are kept whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ellora_trust.errors import InputError
from probes import Settings
from probes.measuring.control import control_labels, selectivity

QUICK = Settings(strengths=(0.1,), n_components=24)


def one_hot(n_groups: int = 24, size: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that say which group a row is of, and nothing about the labels."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size)
    x = np.eye(n_groups)[groups] + 0.05 * rng.normal(size=(len(groups), n_groups))
    return x, (rng.random(len(groups)) < 0.4).astype(int), groups


def test_a_group_id_in_the_features_is_a_leak_only_where_folds_split_groups():
    x, wrong, groups = one_hot()
    leaky = selectivity(x, wrong, groups, fold_groups=np.arange(len(groups)), settings=QUICK, n_resamples=200)
    assert leaky.control.value > 0.9
    assert leaky.leaks
    assert leaky.selectivity.high < 0
    whole = selectivity(x, wrong, groups, settings=QUICK, n_controls=40, n_resamples=200)
    assert abs(whole.control.value - 0.5) < 0.07
    assert not whole.leaks


def test_a_real_signal_is_selective_and_an_absent_one_is_not():
    rng = np.random.default_rng(0)
    wrong, groups = (rng.random(240) < 0.4).astype(int), np.arange(240) // 3
    noise = rng.normal(size=(240, 12))
    real = selectivity(noise + 1.2 * wrong[:, None], wrong, groups, settings=QUICK, n_resamples=200)
    assert real.selectivity.low > 0.2
    assert not real.leaks
    assert real.selectivity.value == pytest.approx(real.real.value - real.control.value)
    absent = [
        selectivity(rng.normal(size=(240, 12)), wrong, groups, settings=QUICK, n_resamples=200).selectivity
        for _ in range(6)
    ]
    assert sum(one.low < 0 < one.high for one in absent) >= 5


def test_the_interval_of_control_labels_holds_one_half_where_nothing_leaks():
    leaks = [
        selectivity(*one_hot(seed=seed), settings=QUICK, n_controls=10, n_resamples=20).leaks for seed in range(20)
    ]
    assert sum(leaks) <= 3


def test_control_labels_are_one_a_group_at_the_base_rate():
    wrong = np.random.default_rng(0).random(900) < 0.3
    groups = np.repeat([f"g{i}" for i in range(300)], 3)
    drawn = control_labels(wrong.astype(int), groups, np.random.default_rng(1))
    assert all(len(set(drawn[groups == group])) == 1 for group in np.unique(groups))
    assert drawn.mean() == pytest.approx(wrong.mean(), abs=1 / 300)
    assert 0 < control_labels(np.zeros(4, dtype=int), np.arange(4), np.random.default_rng(0)).sum() < 4


def test_the_same_seed_gives_the_same_numbers_in_plain_values():
    x, wrong, groups = one_hot()
    first, again = (selectivity(x, wrong, groups, settings=QUICK, n_controls=3, n_resamples=20) for _ in range(2))
    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_controls": 1}, "n_controls=1 is out of range"),
        ({"fold_groups": [1, 2]}, r"fold_groups has shape \(2,\) for 240 rows; give one name a row"),
        ({"groups": ["one"] * 240}, "1 group was given; control labels need at least 2"),
        ({"groups": None}, "fit needs groups="),
    ],
)
def test_bad_input_is_one_clear_sentence(change, message):
    x, wrong, groups = one_hot()
    with pytest.raises(InputError, match=message):
        selectivity(x, wrong, **{"groups": groups, **change})
