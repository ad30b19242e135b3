"""Studies: a vector that works is seen to work, one that does not is not, and nothing is chosen on what is judged."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from ellora_trust.errors import InputError
from ellora_trust.model import CodeModel
from ellora_trust.tasks.base import Example, Outcome, Task
from steering.measuring.folds import make_folds, right_questions
from steering.measuring.grid import Cell, Grid
from steering.measuring.needing import choose_threshold, fit_gate
from steering.measuring.report import section
from steering.measuring.result import NAMES, Study
from steering.measuring.settings import Settings
from steering.measuring.study import best_cell, study
from steering.measuring.trials import Trials
from steering.pairs import Pair, PairSet
from steering.vector import SteeringVector

WORDS = "add sub mul x y z a b return for in range print".split()
SETTINGS = Settings(grid=Grid(every=1, windows=(1, 2)), n_folds=2, n_shots=10, n_right=20, n_unrelated=2)


class Toy(Task):
    """The right answer is what the model says after one ending of a prompt; the other ending asks for it."""

    name = "toy"
    max_new_tokens = 1

    def examples(self, *, limit=None, seed=0):
        return []

    def decide(self, example: Example, completion: str) -> Outcome:
        return Outcome.CORRECT if completion == example.answer else Outcome.WRONG

    def datasheet(self) -> str:
        return "made for a test"


def toy_pairs(model: CodeModel, n: int = 100) -> PairSet:
    rng = random.Random(0)
    pairs, stayed = [], []
    for number in range(n):
        context = " ".join(rng.choices(WORDS, k=4))
        good, bad = f"{context} x[", f"{context} + b"
        right, wrong = (answer.text for answer in model.generate([good, bad], max_new_tokens=1))
        group = f"g{number // 2}"
        positive = Example(f"p{number}", group, good, right)
        pairs.append(
            Pair(positive, Example(f"n{number}", group, bad, right, meta={"edit": "toy"}), "toy", right, wrong)
        )
        stayed.append(
            Example(f"s{number}", group, good + "x[", model.generate([good + "x["], max_new_tokens=1)[0].text)
        )
    pairs = [pair for pair in pairs if pair.positive_answer != pair.negative_answer]
    return PairSet(
        "toy", {"name": model.name, "fingerprint": model.fingerprint}, tuple(pairs), tuple(stayed), {"toy": {}}
    )


@pytest.fixture(scope="module")
def pairs(tiny: CodeModel) -> PairSet:
    return toy_pairs(tiny)


@pytest.fixture(scope="module")
def found(tiny: CodeModel, pairs: PairSet) -> Study:
    other = {f"resid.{layer}": torch.randn(tiny.arch.d_model) for layer in range(tiny.arch.n_layers)}
    return study(tiny, Toy(), pairs, SETTINGS, other=other, unrelated=["def f(x):", "y = x"])


def test_a_vector_that_works_beats_its_controls(found: Study):
    assert found.estimates["recovered"].low > 0.4
    assert found.differences["random"].estimate.low > 0
    assert found.differences["shuffled"].estimate.low > 0
    assert found.estimates["random"].value < 0.3


def test_pairs_without_a_common_cause_recover_nothing(tiny: CodeModel, pairs: PairSet):
    """Positives and negatives change places in every second pair: there is no direction left to find."""
    mixed = replace(
        pairs,
        pairs=tuple(
            pair if n % 2 else Pair(pair.negative, pair.positive, "toy", pair.negative_answer, pair.positive_answer)
            for n, pair in enumerate(pairs.pairs)
        ),
    )
    mixed = replace(
        mixed, pairs=tuple(replace(p, negative=replace(p.negative, answer=p.positive_answer)) for p in mixed.pairs)
    )
    other = {f"resid.{layer}": torch.randn(tiny.arch.d_model) for layer in range(tiny.arch.n_layers)}
    result = study(tiny, Toy(), mixed, SETTINGS, other=other, unrelated=["def f(x):"] * 2)
    assert result.estimates["recovered"].value < 0.3


def test_every_estimate_is_named_and_carries_its_n(found: Study, pairs: PairSet):
    assert set(found.estimates) <= set(NAMES)
    assert found.estimates["recovered"].n == len(pairs)
    # Two pairs a group are no two draws.
    assert found.estimates["recovered"].n_groups == found.n_groups < len(pairs)
    assert found.estimates["corrupted"].n_groups < found.estimates["corrupted"].n
    assert all(one.low <= one.value <= one.high for one in found.estimates.values())
    assert len(found.chosen) == SETTINGS.n_folds
    assert sum(one.n for one in found.by_type.values()) == len(pairs)


def test_result_survives_json(found: Study, tiny: CodeModel, tmp_path):
    found.vector.save(tmp_path / "v", model=tiny)
    again = Study.from_dict(json.loads(json.dumps(found.to_dict())), tmp_path / "v")
    assert again.to_dict() == found.to_dict()
    assert again.vector.sites == found.vector.sites


def test_report_says_what_it_beats(found: Study):
    text = " ".join(block.text for block in section(found).blocks if hasattr(block, "text"))
    assert "Steering beats random directions of the same length" in text


def test_folds_separate_groups_and_hold_every_pair_out_once(pairs: PairSet):
    folds = make_folds(pairs, n=3, seed=0)
    assert sorted(i for fold in folds for i in fold.test) == list(range(len(pairs)))
    right = right_questions(pairs)
    for fold in folds:
        parts = [{pairs.pairs[i].positive.group for i in part} for part in (fold.train, fold.validation, fold.test)]
        parts = [
            part | {right[i].group for i in rest}
            for part, rest in zip(parts, (fold.right_train, fold.right_validation, fold.right_test), strict=True)
        ]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]


def test_best_cell_recovers_most_and_then_is_likeliest():
    trials = Trials(np.array([[-1.0, -3.0, -2.0]]), np.array([[False, True, True]]))
    assert best_cell(trials) == 2


def test_threshold_keeps_right_answers():
    wrong, right = np.array([3.0, 2.0, 1.0, 0.0]), np.array([2.5, 0.5, -1.0])
    recovered = np.array([True, True, True, True])
    assert choose_threshold(wrong, recovered, right, np.array([False, True, False])) == 1.0
    assert choose_threshold(wrong, recovered, right, np.array([False, False, False])) == -1.0
    assert choose_threshold(wrong, recovered, np.array([5.0]), np.array([True])) == float("inf")


def test_gate_tells_what_is_wrong_from_what_is_right():
    generator = torch.Generator().manual_seed(0)
    wrong, right = torch.randn(200, 8, generator=generator) + 1, torch.randn(200, 8, generator=generator)
    needs = fit_gate(wrong, right)
    assert float((needs(wrong) > 0).float().mean()) > 0.85
    assert float((needs(right) > 0).float().mean()) < 0.15


def test_grid_holds_only_what_fits_and_says_so():
    assert Grid(windows=(1, 3), strengths=(1.0,), every=2).cells(4) == [
        Cell(0, 1, 1.0),
        Cell(2, 1, 1.0),
        Cell(0, 3, 1.0),
    ]
    with pytest.raises(InputError, match="do not fit into 2 layers"):
        Grid(windows=(3,)).cells(2)
    with pytest.raises(InputError, match="use 10 or more"):
        Settings(n_random=3)


def test_too_few_pairs_are_refused(tiny: CodeModel, pairs: PairSet):
    few = replace(pairs, pairs=pairs.pairs[:5])
    with pytest.raises(InputError, match="5 pairs are too few"):
        study(tiny, Toy(), few, SETTINGS, other={}, unrelated=[])


def test_vector_is_fitted_on_all_pairs_with_the_validated_cell(found: Study):
    assert isinstance(found.vector, SteeringVector)
    assert found.vector.sites
    assert set(found.vector.sites) <= set(found.vector.directions)
