"""A comparison end to end: the A/A finds nothing, a real change is found, everything survives saving."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from echo_task import Echo

import ellora_trust as et
from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.suite import Asked, Suite
from ellora_trust.evaluation.comparing import compare
from ellora_trust.evaluation.comparison import Comparison
from ellora_trust.evaluation.sharing import answer_share
from ellora_trust.evaluation.shown.verdicts import harm
from ellora_trust.intervention import ActivationEdit, WeightChange
from ellora_trust.share import Share

SUITE = Suite("small", (Asked("echo"),), (), (Asked("echo", limit=30),), limit=40, margin=0.1)
WEIGHT = "model.layers.0.mlp.down_proj.weight"


def write_texts(folder: Path) -> None:
    """Texts that fit into the tiny model's context."""
    for n in range(6):
        (folder / f"text{n}.py").write_text(f"def f{n}(x):\n    return x + {n}\n\n\n" * 6)


@pytest.fixture
def suite(tmp_path) -> Suite:
    write_texts(tmp_path)
    return replace(SUITE, text=str(tmp_path))


@pytest.fixture(scope="module")
def comparison(tiny, tmp_path_factory) -> Comparison:
    changed = WeightChange({WEIGHT: tiny.hf.state_dict()[WEIGHT] * -9})
    folder = tmp_path_factory.mktemp("text")
    write_texts(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Asked, "load", lambda self: Echo())
        patch.setenv("ELLORA_TRUST_CACHE", str(tmp_path_factory.mktemp("cache")))
        return compare(tiny, {"A/A": "nothing", "changed": changed}, replace(SUITE, text=str(folder)))


def test_nothing_changes_nothing_and_is_said_so(comparison):
    same = comparison.candidates[0]
    for task in same.tasks:
        assert (task.paired.fixed, task.paired.broken, task.paired.holm_p) == (0, 0, 1.0)
        assert task.flips == []
    assert same.text is not None
    assert (same.text.kl.value, same.text.change.value, same.text.agreement.value) == (0, 0, 1)
    assert not same.changed_weights
    assert same.restored


def test_a_change_of_weights_is_found_where_it_is_and_taken_back(comparison, tiny):
    changed = comparison.candidates[1]
    assert changed.changed_weights
    assert changed.restored
    by_layer = {one.layer: one.weights for one in changed.layers}
    assert by_layer[0] is not None
    assert by_layer[0] > 0.5
    assert by_layer[1] == by_layer[-1] == 0
    task = changed.tasks[0]
    assert task.paired.fixed + task.paired.broken == len(task.flips) > 5
    assert sum(task.outcomes_after.values()) == 40
    assert task.n_groups == 20


def test_every_number_carries_interval_n_and_baseline(comparison):
    task = comparison.candidates[1].tasks[0]
    for one in (task.paired.before, task.paired.after, task.paired.difference):
        assert one.low <= one.value <= one.high
        assert one.n == 40
    assert task.paired.difference.value == pytest.approx(task.paired.after.value - task.paired.before.value)


def test_the_noise_floor_covers_batch_order_precision_and_padding(comparison):
    assert {one.variant for one in comparison.noise} == {
        "one row a batch",
        "another order",
        "bfloat16",
        "padded on the right",
    }
    assert all(one.flipped == 0 for one in comparison.noise if one.variant in ("one row a batch", "another order"))


def test_a_comparison_survives_saving(comparison, tmp_path):
    comparison.save(tmp_path / "comparison.json")
    again = Comparison.load(tmp_path / "comparison.json")
    assert again == comparison
    assert again.sentences() == comparison.sentences()


def test_a_damaged_or_newer_file_is_refused(comparison, tmp_path):
    path = tmp_path / "comparison.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="no comparison"):
        Comparison.load(path)
    path.write_text(json.dumps({**comparison.to_dict(), "schema": 99}))
    with pytest.raises(InputError, match="upgrade"):
        Comparison.load(path)


def test_not_significant_is_never_written_as_no_damage(comparison):
    task = comparison.candidates[0].tasks[1]
    undecided = replace(
        task, paired=replace(task.paired, holm_p=0.4, equivalence=replace(task.paired.equivalence, equivalent=False))
    )
    sentence = harm(undecided, 0.05)
    assert "neither damage nor absence of damage is shown" in sentence
    assert f"{undecided.paired.detectable:.1%} or more would be found" in sentence
    assert "shown unharmed" in harm(
        replace(task, paired=replace(task.paired, equivalence=replace(task.paired.equivalence, equivalent=True))), 0.05
    )
    worse = replace(undecided.paired, holm_p=0.001, difference=replace(task.paired.difference, value=-0.2))
    assert "damaged" in harm(replace(undecided, paired=worse), 0.05)


def test_the_five_questions_are_answered(comparison):
    text = "\n".join(comparison.sentences())
    for question in ("What was fixed?", "What broke?", "How sure?", "Does it last?", "Can it be undone?"):
        assert text.count(question) == 2
    assert "Not tested: this suite tries nothing" in text


def test_activation_edits_leave_the_weights_alone(tiny, echo, suite):
    found = compare(tiny, {"edit": ActivationEdit({"resid.0": lambda h, at: h * 3})}, suite, noise=False)
    one = found.candidates[0]
    assert not one.changed_weights
    assert one.restored
    assert all(layer.weights is None for layer in one.layers)
    assert one.state is None  # a function has no identity, so nothing was kept
    assert found.noise == []


def test_an_exception_in_a_candidate_leaves_the_model_as_it_was(tiny, echo):
    class Broken:
        def apply(self, model):
            return WeightChange({WEIGHT: torch.zeros(1)}).apply(model)

    before = tiny.fingerprint
    with pytest.raises(InputError, match="has shape"):
        compare(tiny, {"broken": Broken()}, SUITE, noise=False)
    assert tiny.fingerprint == before


def test_no_candidate_is_refused(tiny, echo):
    with pytest.raises(InputError, match="no candidate"):
        compare(tiny, {}, SUITE)


def test_the_name_is_lazy():
    assert et.compare is compare
    assert et.Comparison is Comparison


def test_the_clean_twin_is_found_to_lack_the_fault_of_the_testbed():
    suite = Suite("twin", (Asked("testbed", "trigger", ("P1",)),), limit=12)
    found = compare("testbed", {"clean": "testbed-clean", "A/A": "nothing"}, suite, noise=False)
    clean, same = (one.tasks[0] for one in found.candidates)
    assert clean.paired.holm_p < 0.05
    assert clean.paired.broken == 0
    assert clean.effect is not None
    assert (clean.effect.shown_before or 0) >= 10
    assert clean.effect.shown_after == 0
    assert clean.effect.adopted > clean.effect.breakage
    assert (same.paired.fixed, same.paired.broken) == (0, 0)
    assert found.provenance["testbed: isolation"]


def test_shares_answer_what_the_joining_call_then_finds(tiny, suite, tmp_path, monkeypatch):
    monkeypatch.setattr(Asked, "load", lambda self: Echo())
    changed = WeightChange({WEIGHT: tiny.hf.state_dict()[WEIGHT] * -9})
    monkeypatch.setattr("ellora_trust.evaluation.sharing.CHUNK", 16)
    asked = replace(suite, noise=False)
    results = []
    for name in ("shared", "alone"):
        monkeypatch.setenv("ELLORA_TRUST_CACHE", str(tmp_path / name))
        for share in ("2/2", "1/2") if name == "shared" else ():
            answer_share(tiny, {"changed": changed}, asked, Share.parse(share))
        results.append(compare(tiny, {"changed": changed}, asked))
    shared, alone = (one.candidates[0] for one in results)
    # An answer and a verdict an item.
    assert shared.n_cached == 2 * sum(task.n for task in shared.tasks) > alone.n_cached
    for ours, theirs in zip(shared.tasks, alone.tasks, strict=True):
        assert (ours.paired, ours.outcomes_after) == (theirs.paired, theirs.outcomes_after)
    assert sorted(path.name for path in (tmp_path / "shared").rglob("items*")) == [
        "items-1-of-2.sqlite3",
        "items-1-of-2.sqlite3",
        "items-2-of-2.sqlite3",
        "items-2-of-2.sqlite3",
    ]
