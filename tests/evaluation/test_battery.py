"""Attacks on an edit: each does what it says, and finds what was only hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from echo_task import Echo

from ellora_trust.errors import InputError
from ellora_trust.evaluation.answers import Answer
from ellora_trust.evaluation.battery import Lesson, faulty, run_battery
from ellora_trust.evaluation.candidates import Candidate
from ellora_trust.evaluation.comparing import Comparer
from ellora_trust.evaluation.suite import ATTACKS, Asked, Suite
from ellora_trust.intervention import Nothing, WeightChange
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
    import ellora_trust.evaluation.battery as module

    seen = []
    monkeypatch.setattr(module, "quantised", lambda model, bits: seen.append(float(weight(model).mean())) or Nothing())
    name = "model.layers.0.mlp.down_proj.weight"

    def weight(model):
        return model.hf.state_dict()[name]

    battery(tiny, WeightChange({name: torch.full_like(weight(tiny), 0.5)}), "int4")
    assert seen[0] != 0.5  # the base's
    assert seen[1] == 0.5  # the candidate's


def test_relearning_is_taught_other_groups_than_it_is_asked(tiny, echo, monkeypatch):
    import ellora_trust.evaluation.battery as module

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
    assert len(ATTACKS) == 9
