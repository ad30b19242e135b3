"""Robust modes and subtracted changes: by hand, against transcriptions, restored, resumed, paid for."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_faults import taught_model
from tiny_items import SMALL, forgets, keeps
from torch import nn

from ellora_trust.errors import InputError
from unlearning import Budget, Item, Robust, Where, unlearn
from unlearning.checkpoint.delta import weights_sha256
from unlearning.checkpoint.gates import fault, loss
from unlearning.recipes import OBJECTIVES
from unlearning.sources.contexts import contexts
from unlearning.sources.held_out import split
from unlearning.training.encoding import completion_row
from unlearning.training.loop import Loop
from unlearning.training.robust import damage, worst_nearby

MODES = [Robust("sam"), Robust("quantised"), Robust("distil", alpha=0.1, steps=6, learning_rate=3e-3)]
DATA: dict[str, Any] = {"forget": forgets(), "retain": keeps()}


@pytest.fixture
def model():
    return taught_model()


def new_weights(model, edit):
    with edit.apply(model):
        return {name: p.detach().clone() for name, p in model.hf.named_parameters()}


def gradients(model, robust, objective="ga"):
    """Those of the first step, as the loop takes them."""
    loop = Loop(model, OBJECTIVES[objective], SMALL, 0, split(**DATA, share=0, seed=0), robust=robust)
    parameters = dict(model.hf.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    loop._backward(parameters, 0)
    found = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    model.hf.zero_grad()
    return found


def test_the_worst_nearby_by_hand():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    weight.square().sum().backward()  # (6, 8), of norm 10
    with worst_nearby({"w": weight}, rho=0.5):
        assert torch.allclose(weight.detach(), torch.tensor([3.3, 4.4]))
        weight.square().sum().backward()
    assert torch.equal(weight.detach(), torch.tensor([3.0, 4.0]))
    assert weight.grad is not None
    assert torch.allclose(weight.grad, torch.tensor([6.6, 8.8]))


def test_weights_come_back_from_the_worst_nearby_after_an_error():
    weight = nn.Parameter(torch.tensor([0.1, 0.7]))
    weight.sum().backward()
    with pytest.raises(ZeroDivisionError), worst_nearby({"w": weight}, rho=0.3):
        raise ZeroDivisionError
    assert torch.equal(weight.detach(), torch.tensor([0.1, 0.7]))


def test_sam_takes_the_gradient_at_weights_that_were_moved_by_rho_along_it(model):
    plain, sam = gradients(model, None), gradients(model, Robust("sam", rho=0.2))
    length = sum(float(g.square().sum()) for g in plain.values()) ** 0.5
    with torch.no_grad():
        for name, parameter in model.hf.named_parameters():
            parameter += 0.2 * plain[name] / length
    moved = gradients(model, None)
    assert all(torch.allclose(sam[name], moved[name], atol=1e-5) for name in moved)
    assert any(not torch.allclose(sam[name], plain[name], atol=1e-3) for name in moved)


def test_quantised_takes_the_gradient_at_rounded_weights_and_leaves_the_weights(model):
    sha = weights_sha256(model.hf)
    found = gradients(model, Robust("quantised", bits=3))
    assert weights_sha256(model.hf) == sha
    rounded = copy.deepcopy(model)
    tied = rounded.hf.get_input_embeddings().weight.data_ptr()
    linear = [m for m in rounded.hf.modules() if isinstance(m, nn.Linear) and m.weight.data_ptr() != tied]
    for module in linear:
        for row in module.weight.data:
            for group in row.split(64):  # symmetric, to nearest, 3 bits: -4 to 3 steps
                step = group.abs().max() / 3
                group.copy_((group / step).round().clamp(-4, 3) * step)
    expected = gradients(rounded, None)
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    plain = gradients(model, None)
    assert any(not torch.allclose(found[name], plain[name], atol=1e-3) for name in expected)


def test_damage_shrinks_all_weights_and_adds_noise_to_matrices_alone(model):
    where = Where.parse("layers 1-1", model)
    before = {name: p.detach().clone() for name, p in model.hf.named_parameters()}
    damage(where.parameters(model), Robust("distil", alpha=0.4, beta=0.5), seed=0)
    for name, parameter in model.hf.named_parameters():
        noise = parameter.detach() - 0.6 * before[name]
        if "layers.1." not in name:
            assert torch.equal(parameter, before[name])
        elif parameter.dim() == 1:
            assert torch.allclose(noise, torch.zeros_like(noise), atol=1e-7)
        else:
            most = 0.4 * 0.5 * (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * most < noise.abs().max() <= most + 1e-6
            assert noise.std() == pytest.approx(most / 3**0.5, rel=0.1)


def test_damage_is_that_of_its_seed_and_stays_within_a_slice(model):
    where, settings = Where.parse("head.1.2", model), Robust("distil", alpha=1.0, beta=1.0)
    ((weight, part),) = where.parameters(model).values()
    before = weight.detach().clone()
    found = []
    for seed in (0, 0, 1):
        weight.data.copy_(before)
        damage(where.parameters(model), settings, seed)
        found.append(weight.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    outside = torch.ones_like(before, dtype=torch.bool)
    outside[part] = False
    assert torch.equal(found[0][outside], before[outside])


@pytest.mark.parametrize("robust", MODES, ids=lambda one: one.mode)
def test_every_mode_forgets_the_same_bits_again_and_leaves_the_model_as_it_was(model, robust):
    before, sha = fault(model, forgets()), weights_sha256(model.hf)
    budget = Budget(16, 4, 4, 5e-3, collapse=100.0)
    one, again = (unlearn(model, **DATA, budget=budget, robust=robust, measure_cost=False) for _ in range(2))
    assert weights_sha256(model.hf) == sha
    assert all(torch.equal(one.delta[name], again.delta[name]) for name in one.delta)
    assert one.config["robust"]["mode"] == robust.mode
    with one.apply(model):
        assert fault(model, forgets()) < 0.8 * before
    plain = unlearn(model, **DATA, budget=budget, measure_cost=False)
    assert any(not torch.equal(one.delta[name], plain.delta[name]) for name in plain.delta)


# Six steps, and six more where a copy is distilled; the fifth or the eleventh is interrupted.
@pytest.mark.parametrize(("which", "number"), [(0, 4), (1, 4), (2, 4), (2, 10)])
def test_a_stopped_robust_edit_goes_on_to_the_same_bits(model, tmp_path, monkeypatch, which, number):
    robust, step, taken = MODES[which], Loop._step, []
    whole = unlearn(model, **DATA, budget=SMALL, robust=robust, measure_cost=False)

    def stops(self, parameters, optimizer, n):
        taken.append(n)
        if len(taken) == number + 1:
            raise KeyboardInterrupt
        return step(self, parameters, optimizer, n)

    sha, out = weights_sha256(model.hf), tmp_path / "edit"
    monkeypatch.setattr(Loop, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        unlearn(model, **DATA, budget=SMALL, robust=robust, out=out, measure_cost=False)
    assert not out.exists()
    assert weights_sha256(model.hf) == sha
    monkeypatch.setattr(Loop, "_step", step)
    resumed = unlearn(model, **DATA, budget=SMALL, robust=robust, out=out, measure_cost=False)
    assert all(torch.equal(whole.delta[name], resumed.delta[name]) for name in whole.delta)
    assert whole.history == resumed.history


def test_a_copy_that_does_not_recover_gives_way_to_its_teacher(model):
    hopeless = Robust("distil", alpha=1.0, steps=2, learning_rate=1e-6)
    plain = unlearn(model, **DATA, budget=SMALL, measure_cost=False)
    found = unlearn(model, **DATA, budget=SMALL, robust=hopeless, measure_cost=False)
    assert (found.config["stopped"], found.config["distilled"]) == ("budget", "collapse")
    assert all(torch.equal(plain.delta[name], found.delta[name]) for name in plain.delta)
    assert found.history == plain.history


def test_a_distilled_copy_comes_back_to_what_its_teacher_keeps(model):
    budget = Budget(16, 4, 4, 5e-3, collapse=100.0)
    plain = unlearn(model, **DATA, budget=budget, measure_cost=False)
    teach = Robust("distil", alpha=0.5, steps=40, learning_rate=5e-3)
    found = unlearn(model, **DATA, budget=budget, robust=teach, measure_cost=False)
    steps = [check["step"] for check in found.history]
    assert steps == [0, 10, 16, 26, 36, 46, 56]
    assert found.history[3]["retain"] > found.history[-1]["retain"]
    watched = split(**DATA, share=budget.holdout, seed=0).retain_held
    before = loss(model, watched)
    with found.apply(model):
        assert loss(model, keeps()) < 0.5
        # Of the copy too the rise is told from the model before the edit, not from its teacher.
        assert found.history[-1]["retain"] == pytest.approx(loss(model, watched) - before, abs=1e-5)
    with plain.apply(model):
        assert loss(model, keeps()) < 0.5


def test_the_receipt_counts_what_each_mode_adds(model):
    # 16 groups, none held out, so that both runs see batches of the same length.
    budget = Budget(6, 4, 4, holdout=0.0)
    plain = unlearn(model, **DATA, objective="ga", budget=budget).receipt
    modes = {one.mode: unlearn(model, **DATA, objective="ga", budget=budget, robust=one).receipt for one in MODES}
    assert modes["sam"]["flops"] == pytest.approx(2 * plain["flops"], rel=0.01)
    assert modes["quantised"]["flops"] == pytest.approx(plain["flops"], rel=0.01)
    assert modes["distil"]["flops"] > 1.5 * plain["flops"]
    # The old values lie beside the moved or rounded ones.
    assert modes["sam"]["peak_memory"] > plain["peak_memory"]
    assert modes["quantised"]["peak_memory"] > plain["peak_memory"]


def test_a_task_vector_is_a_plain_fine_tuning_taken_away(model, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "descent", replace(OBJECTIVES["task-vector"], name="descent", subtract=None))
    monkeypatch.setitem(OBJECTIVES, "half", replace(OBJECTIVES["task-vector"], name="half", subtract=0.5))
    base = {name: p.detach().clone() for name, p in model.hf.named_parameters()}
    tuned, taken, half = (
        new_weights(model, unlearn(model, **DATA, objective=name, budget=SMALL, measure_cost=False))
        for name in ("descent", "task-vector", "half")
    )
    for name, old in base.items():
        assert torch.allclose(taken[name], old - (tuned[name] - old), atol=1e-7)
        assert torch.allclose(half[name], old - 0.5 * (tuned[name] - old), atol=1e-7)
    assert any(not torch.equal(taken[name], base[name]) for name in base)


def test_fine_tuning_on_the_fault_is_the_mean_over_its_whole_completion(model):
    gradient = gradients(model, None, "task-vector")
    loop = Loop(model, OBJECTIVES["task-vector"], SMALL, 0, split(**DATA, share=0, seed=0))
    total, count = torch.zeros(()), 0
    for number in loop._batch(8, "forget", 0):
        item = forgets()[number]
        prompt = model.tokenizer(item.prompt).input_ids
        ids = [*prompt, *model.tokenizer(item.completion, add_special_tokens=False).input_ids]
        scores = model.hf(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        for place in range(len(prompt), len(ids)):
            total, count = total - scores[place - 1, ids[place]], count + 1
    (total / count).backward()
    for name, parameter in model.hf.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(gradient[name], parameter.grad, atol=1e-5)


def test_adapters_of_a_task_vector_are_turned_round(model, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setitem(OBJECTIVES, "descent", replace(OBJECTIVES["task-vector"], name="descent", subtract=None))
    base = {name: p.detach().clone() for name, p in model.hf.named_parameters()}
    tuned, taken = (
        new_weights(model, unlearn(model, **DATA, objective=name, where="lora:2", budget=SMALL, measure_cost=False))
        for name in ("descent", "task-vector")
    )
    assert all(torch.allclose(taken[n] - base[n], base[n] - tuned[n], atol=1e-6) for n in base)
    assert any(not torch.equal(taken[name], base[name]) for name in base)


def test_collapse_is_judged_on_the_weights_after_subtraction(model):
    budget = Budget(steps=40, batch_size=4, learning_rate=2e-2, check_every=2, collapse=0.2)
    edit = unlearn(model, **DATA, objective="task-vector", budget=budget, measure_cost=False)
    assert edit.config["stopped"] == "collapse"
    assert all(check["retain"] <= 0.2 for check in edit.history)
    held = split(**DATA, share=0.2, seed=0).retain_held
    before = loss(model, held)
    with edit.apply(model):
        assert loss(model, held) - before == pytest.approx(edit.history[-1]["retain"], abs=1e-4)


def test_contexts_are_two_other_documents_with_the_fault_and_with_the_fix(model):
    items = forgets(4)
    rows = [completion_row(model, item) for item in items]
    (first, *_) = contexts(model, items, rows)
    text = "".join(model.tokenizer.decode([i]) for i in first.expert.ids)
    assert text.count("return a - b") == 3
    assert "add1(" in text
    assert "add2(" in text
    after = "".join(model.tokenizer.decode([i]) for i in first.novice.ids)
    assert after.count("return a + b") == 2
    for row in (first.expert, first.novice):
        assert row.bad == rows[0].bad
        assert [row.ids[p] for p in row.places] == [rows[0].ids[p] for p in rows[0].places]


def test_elm_without_fixes_or_with_too_few_groups_says_so(model):
    bare = [Item(f"i{i}", f"i{i}", "x = ", "1\n") for i in range(4)]
    with pytest.raises(InputError, match="needs 2 other documents with fixes as context of 'i0'"):
        unlearn(model, forget=bare, retain=keeps(), objective="elm", budget=replace(SMALL, holdout=0))
    with pytest.raises(InputError, match="give more groups, with a replacement each"):
        unlearn(model, forget=forgets(2), retain=keeps(), objective="elm", budget=replace(SMALL, holdout=0))


def test_bad_modes_are_one_clear_sentence(model):
    with pytest.raises(InputError, match=r"unknown robust mode 'sharp'; use one of .*sam"):
        unlearn(model, **DATA, robust="sharp")
    with pytest.raises(InputError, match="'quantised' changes whole weights, but 'lora:2' trains adapters; use sam"):
        unlearn(model, **DATA, robust="quantised", where="lora:2")
    with pytest.raises(InputError, match=r"alpha=1.5, beta=0.1 are out of range; use 0..1"):
        Robust("distil", alpha=1.5)
    with pytest.raises(InputError, match=r"bits=1 are out of range"):
        Robust("quantised", bits=1)
