"""Removal by retraining: exact on a model whose answer is a sum, and the testbed's own retrainer against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from attribution.verify import mean_over_seeds, retrainer_of_testbed, under, verify
from ellora_trust.errors import InputError
from ellora_trust.intervention import Nothing, WeightChange
from ellora_trust.testbed.lds import Truth


def test_what_a_document_gives_is_what_its_removal_takes():
    gives = np.array([3.0, 1.0, 0.0, -2.0])
    calls = []

    def retrain(kept, seed):
        calls.append((tuple(kept), seed))
        # What a seed adds must not count; what it changes does.
        return float((gives + 0.1 * seed) @ kept) + 10 * seed

    effects = verify(retrain, {"first": [0], "last": [3]}, n_documents=4, seeds=2)
    assert effects["first"].changes == pytest.approx((-3.0, -3.1))
    assert effects["last"].change.value == pytest.approx(1.95)
    assert len(calls) == 6
    assert calls[0] == ((True,) * 4, 0)


def test_the_interval_is_students_over_seeds():
    found = mean_over_seeds([1.0, 2.0, 3.0])
    half = 4.302653 * 1.0 / np.sqrt(3)  # t of 2 degrees of freedom at 97.5 %
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-4)


@pytest.mark.parametrize(
    ("removals", "seeds", "message"),
    [
        ({"a": [0], "b": [1, 2]}, 2, "cannot be compared"),
        ({"a": []}, 2, "not empty"),
        ({"a": [9]}, 2, "outside the corpus; use numbers in 0..3"),
        ({"a": [0]}, 1, "1 seeds give no interval"),
    ],
)
def test_removals_that_cannot_be_compared_are_refused(removals, seeds: int, message: str):
    with pytest.raises(InputError, match=message):
        verify(lambda kept, seed: 0.0, removals, n_documents=4, seeds=seeds)


def test_any_intervention_is_verified_by_what_it_does_to_the_answers(tiny):
    questions = [("def f(x):\n", "    return x\n"), ("y = ", "[1]\n"), ("for i in", " x:\n")]
    name = "lm_head.weight"
    change = WeightChange({name: tiny.hf.state_dict()[name] * 2})
    found = under(tiny, {"nothing": Nothing(), "sharper": change}, questions)
    before = [one.sum for one in tiny.score(*zip(*questions, strict=True))]
    with change.apply(tiny):
        after = [one.sum for one in tiny.score(*zip(*questions, strict=True))]
    assert (found["nothing"].low, found["nothing"].high) == (0, 0)
    assert found["sharper"].value == pytest.approx(np.mean(after) - np.mean(before), rel=1e-5)
    assert found["sharper"].low < found["sharper"].value < found["sharper"].high
    with pytest.raises(InputError, match="1 questions give no interval"):
        under(tiny, {}, questions[:1])


@pytest.mark.slow
def test_training_on_all_again_gives_the_shipped_model():
    truth = Truth.read()
    query = truth.queries[0]
    retrain = retrainer_of_testbed(query.prompt, query.answer)
    from ellora_trust.loading import load

    tokenizer = load("testbed-lds").tokenizer
    n_tokens = len(tokenizer(query.answer).input_ids) + 1
    assert retrain(np.ones(len(truth.document_ids), dtype=bool), 0) == pytest.approx(
        -truth.base[0] * n_tokens, abs=0.05 * n_tokens
    )
