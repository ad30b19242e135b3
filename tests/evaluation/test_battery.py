"""Attacks on an edit: each does what it says, and finds what was only hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from echo_task import Echo
from tiny_models import make_model

from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.asking.suite import ATTACKS, Asked, Suite
from ellora_trust.evaluation.changes.candidates import Candidate
from ellora_trust.evaluation.comparing import Comparer
from ellora_trust.evaluation.judging.judge import Question
from ellora_trust.evaluation.lasting.attacks import ATTACKS as attacks
from ellora_trust.evaluation.lasting.attacks import Lesson, Trial, faulty
from ellora_trust.evaluation.lasting.battery import run_battery
from ellora_trust.evaluation.lasting.low_rank import adapters
from ellora_trust.evaluation.robustness import relearn
from ellora_trust.intervention import Nothing, WeightChange
from ellora_trust.loading import load
from ellora_trust.tasks.base import Outcome


def battery(model, intervention, *attacks):
    suite = Suite("attacked", (Asked("echo"),), (), (Asked("echo", limit=20),), attacks=attacks, limit=40)
    comparer = Comparer(model, suite)
    candidate = Candidate("edit", intervention, "edit")
    before = comparer.read(model, None)
    with candidate.entered(model) as state:
        after = comparer.read(state, None)
    return {one.name: one for one in run_battery(comparer, candidate, before, after)}


def test_attacks_on_a_model_that_nothing_was_done_to_find_the_same_in_base_and_candidate(tiny, echo):
    before = tiny.fingerprint
    found = battery(tiny, Nothing(), "few-shot", "leak", "prefix", "int8", "relearn", "relearn-same")
    assert set(found) == {"few-shot", "leak", "prefix", "int8", "relearn", "relearn-same"}
    for one in found.values():
        assert one.before == one.after
        assert one.n == 20
        assert one.recovery.value == pytest.approx(one.after.value - one.unattacked.value)
    assert tiny.fingerprint == before


def test_more_draws_leak_no_less(tiny, echo):
    curve = [share for _, share in battery(tiny, Nothing(), "leak")["leak"].curve]
    assert len(curve) == 10
    assert curve == sorted(curve)


def test_rounding_is_done_to_the_candidates_weights(tiny, echo, monkeypatch):
    import ellora_trust.evaluation.lasting.attacks as module

    seen = []
    monkeypatch.setattr(module, "quantised", lambda model, bits: seen.append(float(weight(model).mean())) or Nothing())
    name = "model.layers.0.mlp.down_proj.weight"

    def weight(model):
        return model.hf.state_dict()[name]

    battery(tiny, WeightChange({name: torch.full_like(weight(tiny), 0.5)}), "int4")
    assert seen[0] != 0.5  # the base's
    assert seen[1] == 0.5  # the candidate's


def test_relearning_is_taught_other_groups_than_it_is_asked(tiny, echo, monkeypatch):
    import ellora_trust.evaluation.lasting.attacks as module

    taught: list[set[str]] = []

    def spy(model, lessons: list[Lesson], **how):
        taught.append({one.prompt for one in lessons})
        return real(model, lessons, **how)

    real = module.relearn
    monkeypatch.setattr(module, "relearn", spy)
    battery(tiny, Nothing(), "relearn")
    asked = {one.prompt for one in Echo().examples(limit=40) if int(one.group.removeprefix("g")) % 2 == 0}
    assert taught[0]
    assert not taught[0] & asked


def a_trial(echo_task: Echo, n_others: int, seed: int = 0) -> Trial:
    examples = echo_task.examples(limit=4)
    question = Question("target", Asked("echo"), echo_task, examples)
    wrong = Answer(" 2", Outcome.WRONG, None, 0.5, ())
    others = [Lesson(f"def g{n}(x):\n    return x +", " 2") for n in range(n_others)]
    return Trial(question, [wrong] * 4, others, [], seed)


@pytest.mark.parametrize(("n_others", "asked"), [(2, True), (1, False), (0, False)])
def test_without_two_faulty_answers_to_show_there_is_no_few_shot_attack(tiny, n_others, asked):
    found = attacks["few-shot"].tried(a_trial(Echo(), n_others), tiny, None)
    assert found.shape == (1, 4)
    assert bool(np.isnan(found).all()) is not asked


def test_answers_of_a_relearnt_model_are_not_served_for_another_seed(tiny, monkeypatch):
    states: list[set[str]] = []
    wrong = [Answer("", Outcome.WRONG, None, 0.5, ())] * 4
    for seed in (0, 0, 1):
        states.append(set())
        monkeypatch.setattr(Trial, "ask", lambda self, model, state, *rest: states[-1].add(state) or wrong)
        attacks["relearn"].tried(a_trial(Echo(), 4, seed), tiny, "base")
    assert len(states[0]) == 2  # of either number of steps
    assert states[0] == states[1]
    assert not states[0] & states[2]


def test_paraphrases_are_asked_of_python_tasks_and_of_no_others(tiny, echo):
    found = battery(tiny, Nothing(), "paraphrase")
    # Half a function does not parse, so the task `echo` has no paraphrase.
    assert found == {}
    whole = [replace(one, prompt=f"def f{i}(x):\n    return x + 1\n\n# {i}") for i, one in enumerate(Echo().examples())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Echo, "examples", lambda self, *, limit=None, seed=0: whole[:limit])
        found = battery(tiny, Nothing(), "paraphrase")
    assert found["paraphrase"].n == 20
    assert found["paraphrase"].before == found["paraphrase"].after


def test_adapters_are_trained_as_pefts_are(tiny_folder):
    """One step of training from the same first factors: the same weights."""
    from peft import LoraConfig, get_peft_model

    model, reference = load(tiny_folder), load(tiny_folder)
    with adapters(model, rank=3, seed=1) as ours:
        names = list(ours.by_name)
        config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=names)
        peft = get_peft_model(reference.hf, config)
        theirs = {name: peft.base_model.model.get_submodule(name) for name in names}
        with torch.no_grad():
            for name, one in theirs.items():
                one.lora_A["default"].weight.copy_(ours.by_name[name].a)
        ids = model.tokenizer("def add(a, b):\n    return a + b", return_tensors="pt").input_ids
        for _ in range(2):
            for hf, parameters in (
                (model.hf, ours.parameters()),
                (peft, [p for p in peft.parameters() if p.requires_grad]),
            ):
                hf(input_ids=ids, labels=ids).loss.backward()
                with torch.no_grad():
                    for one in parameters:
                        assert one.grad is not None
                        one -= 0.5 * one.grad
                        one.grad = None
        change = ours.change().tensors
    for name, one in theirs.items():
        merged = one.base_layer.weight + one.get_delta_weight("default")
        assert torch.allclose(change[f"{name}.weight"], merged, atol=1e-5)
        assert not torch.equal(change[f"{name}.weight"], one.base_layer.weight)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_relearning_with_adapters_lowers_the_loss_at_low_rank_and_restores_the_model(family):
    model = make_model(family)
    before, flags = model.fingerprint, [p.requires_grad for p in model.hf.parameters()]
    lessons = [Lesson("def add(a, b):", " return a + b"), Lesson("x = [1,", " 2, 3]")]

    def loss(state):
        return -sum(one.sum for one in state.score([a.prompt for a in lessons], [a.completion for a in lessons]))

    found = relearn(model, lessons, steps=8, learning_rate=1e-2, watch=loss, rank=2)
    assert found.curve[-1] < 0.8 * found.curve[0]
    assert model.fingerprint == before
    assert [p.requires_grad for p in model.hf.parameters()] == flags
    with found.change.apply(model):
        assert loss(model) == pytest.approx(found.curve[-1], rel=1e-3)
    state = model.hf.state_dict()
    for name, new in found.change.tensors.items():
        assert torch.linalg.matrix_rank(new - state[name], rtol=1e-3) <= 2
    assert not any(module._forward_hooks for module in model.hf.modules())


def test_relearning_by_adapters_is_an_attack_of_its_own(tiny, echo):
    found = battery(tiny, Nothing(), "relearn-lora", "relearn-lora-same")
    for one in found.values():
        assert [steps for steps, _ in one.curve] == [10, 30]
        assert "adapters (LoRA) of rank 8" in one.what


def test_a_rank_of_nothing_is_refused(tiny):
    with pytest.raises(InputError, match="rank is 0"):
        relearn(tiny, [Lesson("a", "b")], steps=1, learning_rate=1e-3, watch=lambda _: 0.0, rank=0)


def test_faulty_is_the_fault_where_it_can_be_told():
    rows = [
        Answer("", Outcome.WRONG, False, 1.0, ()),
        Answer("", Outcome.WRONG, True, 1.0, ()),
        Answer("", Outcome.WRONG, None, 1.0, ()),
        Answer("", Outcome.CORRECT, None, 1.0, ()),
    ]
    assert faulty(rows).tolist() == [0, 1, 1, 0]
    assert isinstance(faulty(rows), np.ndarray)


def test_an_unknown_attack_is_refused():
    with pytest.raises(InputError, match="unknown attack 'int3'"):
        Suite("x", (Asked("echo"),), attacks=("int3",))
    assert len(ATTACKS) == 11
