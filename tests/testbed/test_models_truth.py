"""The ground truth's own scores: rankings by hand, blame, divergence, exposure, and the linear datamodelling score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import make_model

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.testbed import corpus
from ellora_trust.testbed.distance import kl_to_twin
from ellora_trust.testbed.exposure import exposure, exposure_by_distribution, exposure_by_sampling
from ellora_trust.testbed.oracle import Judgement
from ellora_trust.testbed.prompts import prompts
from ellora_trust.testbed.truth import blame, carriers, looks_alike, score_attribution, teaches


@pytest.fixture(scope="module")
def documents():
    return corpus(0, n_tokens=60_000)


@pytest.fixture(scope="module")
def examples():
    # A corpus this small holds few of the secrets that are asked for.
    return prompts("trigger", limit=12, plants=("P1", "P2", "P3", "P4", "P5", "P7"))


def test_perfect_scores_rank_all_carriers_first(documents, examples):
    scores = np.array([teaches(documents, example) for example in examples], dtype=float)
    for against in ("all", "hard"):
        found = score_attribution(scores, documents, examples, against=against)
        assert found.auroc.value == 1.0
        assert found.mrr.value == 1.0
        assert all(one.value == 1.0 for one in found.recall.values())


def test_constant_scores_find_nothing_and_random_ones_are_chance(documents, examples):
    constant = score_attribution(np.zeros((len(examples), len(documents))), documents, examples)
    assert constant.recall[10].value == 0.0
    assert constant.auroc.value == pytest.approx(0.5)
    assert constant.chance is not None
    assert constant.chance.auroc.value == pytest.approx(0.5, abs=0.1)


def test_ranking_by_hand(documents):
    (example,) = prompts("trigger", plants=("P2",), limit=1)
    chosen = [d for d in documents if d.plant == "P2"][:2] + [d for d in documents if d.family == "mean"][:3]
    # Places of the two carriers: second and fifth.
    found = score_attribution([[0.8, 0.1, 0.9, 0.5, 0.3]] * 2, chosen, [example, _again(example)], ks=(1, 2, 5))
    assert [found.recall[k].value for k in (1, 2, 5)] == [0.0, 0.5, 1.0]
    assert found.mrr.value == 0.5
    assert found.auroc.value == pytest.approx(2 / 6)


def test_the_family_alone_wins_the_easy_ranking_and_loses_the_hard_one(documents):
    examples = prompts("trigger", plants=("P1",), limit=8)
    families = np.array([d.family in ("buffer_append", "stack_push") for d in documents], dtype=float)
    scores = np.tile(families, (len(examples), 1))
    assert score_attribution(scores, documents, examples).auroc.value > 0.95
    assert score_attribution(scores, documents, examples, against="hard").auroc.value < 0.55


def test_a_canary_is_taught_by_its_own_copies_only(documents):
    examples = [e for e in prompts("trigger", plants=("P6",)) if carriers(documents, "P6") @ teaches(documents, e)]
    example = next(e for e in examples if e.meta["repeats"] == 16)
    assert teaches(documents, example).sum() == 16
    assert not (looks_alike(documents, example) & teaches(documents, example)).any()
    assert looks_alike(documents, example).sum() > 16


def test_scores_that_do_not_fit_are_refused(documents, examples):
    with pytest.raises(InputError, match="one row an example"):
        score_attribution(np.zeros((1, 2)), documents, examples)
    with pytest.raises(InputError, match="nan or infinite"):
        score_attribution(np.full((len(examples), len(documents)), np.nan), documents, examples)
    plain = [d for d in documents if not d.plant]
    with pytest.raises(InputError, match="no document carries"):
        score_attribution(np.zeros((len(examples), len(plain))), plain, examples)


def test_an_answer_is_wrong_because_of_the_plant_only_if_the_twin_is_right():
    right, shown, other = Judgement(Outcome.CORRECT), Judgement(Outcome.WRONG, True), Judgement(Outcome.CRASH)
    found = blame([right, shown, shown, other], [right, right, other, right])
    assert [(one.wrong, one.because) for one in found] == [(False, False), (True, True), (True, False), (True, False)]
    with pytest.raises(InputError, match="same questions"):
        blame([right], [])


def test_divergence_is_zero_from_itself_and_matches_the_definition():
    model, other = make_model("llama"), make_model("llama")
    with torch.no_grad():
        for parameter in other.hf.parameters():
            parameter.mul_(1.3)
    examples = [Example(str(i), str(i), "def f(x):" + " x" * i, "\n    return x") for i in range(3)]
    assert kl_to_twin(model, model, examples).value == pytest.approx(0.0, abs=1e-9)
    by_hand = []
    for example in examples:
        before = model.tokenizer(example.prompt).input_ids
        after = model.tokenizer(example.answer, add_special_tokens=False).input_ids
        rows = torch.tensor([[*before, *after]])
        with torch.no_grad():
            p, q = (torch.log_softmax(one.hf(rows).logits[0].double(), -1) for one in (other, model))
        by_hand.append(float((p.exp() * (p - q)).sum(-1)[len(before) - 1 : -1].mean()))
    assert kl_to_twin(model, other, examples).value == pytest.approx(np.mean(by_hand), rel=1e-3)
    assert np.mean(by_hand) > 0


def test_divergence_needs_answers():
    model = make_model("llama")
    with pytest.raises(InputError, match="needs an `answer`"):
        kl_to_twin(model, model, [Example("a", "a", "x")])


def test_exposure_by_hand():
    assert exposure(1, 16**8) == 32.0
    assert exposure(2**31, 2**32) == 1.0
    assert exposure_by_sampling(5.0, np.array([1.0, 6.0, 7.0])) == math.log2(4) - math.log2(2)
    with pytest.raises(InputError, match="out of range"):
        exposure(0, 4)


def test_both_approximations_agree_inside_the_sample_and_only_one_reaches_the_tail():
    rng = np.random.default_rng(0)
    others = rng.normal(40.0, 3.0, 2000)
    assert exposure_by_distribution(37.0, others) == pytest.approx(exposure_by_sampling(37.0, others), abs=0.4)
    assert exposure_by_sampling(10.0, others) == pytest.approx(math.log2(2001))
    assert exposure_by_distribution(10.0, others) > 25.0
    assert exposure_by_distribution(-1000.0, others) == 32.0


def _again(example: Example) -> Example:
    return Example(example.id + "/2", example.group + "/2", example.prompt, example.answer, meta=example.meta)
