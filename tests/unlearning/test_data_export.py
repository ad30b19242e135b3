"""Sets from files and the testbed; packing; the checkpoint and its gates."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_gguf import write_gguf
from transformers import AutoModelForCausalLM

from ellora_trust.errors import InputError
from ellora_trust.loading import load
from ellora_trust.testbed.prompts import prompts
from unlearning import Budget, Edit, Item, read_forget, read_retain, unlearn
from unlearning.checkpoint.delta import weights_sha256
from unlearning.checkpoint.export import check_sums, export
from unlearning.checkpoint.gates import Limits, gates
from unlearning.checkpoint.packing import pack, unpack
from unlearning.checkpoint.torchao_rounding import available
from unlearning.data import data_hash


@pytest.mark.parametrize("plant", ["P1", "P2", "P3", "P4", "P5", "P7"])
def test_planted_documents_come_with_their_fixes_and_no_prompt_is_among_them(plant):
    forget, retain = read_forget(f"testbed:{plant}", limit=30), read_retain(f"testbed:{plant}", limit=30)
    asked = {e.group for kind in ("trigger", "paraphrase", "near_miss") for e in prompts(kind, plants=(plant,))}  # pyright: ignore[reportArgumentType]
    assert len(forget) == len(retain) == 30
    assert all(item.replacement and item.spans for item in forget)
    assert all(item.replacement is None for item in retain)
    assert not asked & {item.group for item in [*forget, *retain]}
    assert forget == read_forget(f"testbed:{plant}", limit=30)
    assert forget != read_forget(f"testbed:{plant}", limit=30, seed=1)


def test_all_forty_secrets_can_be_forgotten():
    secrets = read_forget("testbed:P6", limit=100)
    assert len(secrets) == 40
    assert len({item.completion for item in secrets}) == 40


def test_half_of_what_is_kept_are_near_misses():
    families = [item.group.partition(":")[0] for item in read_retain("testbed:P1", limit=40)]
    assert families.count("stack_push") == 20
    assert len(set(families)) > 8


def test_items_are_read_from_json_lines(tmp_path):
    path = tmp_path / "items.jsonl"
    row = {"prompt": "x = ", "completion": "raw_input()\n", "replacement": "input()\n", "spans": [[4, 13]]}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({"prompt": "a", "completion": "b", "group": "g"}) + "\n")
    first, second = read_forget(path)
    assert first == Item("items.jsonl:1", "items.jsonl:1", "x = ", "raw_input()\n", "input()\n", ((4, 13),))
    assert second.group == "g"
    assert data_hash([first]) != data_hash([second])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}', "needs prompt and completion"),
        ('{"prompt": "a", "completion": "b", "fix": "c"}', "unknown field 'fix'; use prompt, completion"),
        ("[1", "is no item"),
        ('{"prompt": "a", "completion": ""}', "both need at least one character"),
        ('{"prompt": "a", "completion": "b", "replacement": "b"}', "give the fix, or leave it out"),
        (
            '{"prompt": "a", "completion": "b", "replacement": ""}',
            "has an empty replacement, which nothing can be learnt",
        ),
        ("", "holds no item"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    path = tmp_path / "items.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_forget(path)


def test_an_unknown_source_or_plant_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither testbed:PLANT nor a"):
        read_forget(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="unknown plant 'P9'"):
        read_retain("testbed:P9")


def test_documents_of_an_attribution_answer_become_items(tmp_path):
    path = tmp_path / "answer.json"
    hits = [{"document": "d1", "cluster": "c"}, {"document": "d2", "cluster": "d2"}]
    path.write_text(json.dumps({"hits": hits, "texts": ["def f(x):\n    return x\n", "one line"]}))
    (item,) = read_forget(path)
    assert (item.id, item.group, item.prompt, item.completion) == ("d1", "c", "def f(x):", "\n    return x\n")
    path.write_text("{}")
    with pytest.raises(InputError, match="holds no documents"):
        read_forget(path)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_packing_is_exact_and_pays_where_upper_bits_are_alike(dtype):
    low = torch.randint(0, 100, (64, 33), dtype=dtype)
    delta = {"low": low, "noise": torch.randint(-(2**15), 2**15, (64, 33)).to(dtype), "scalar": low[0, 0]}
    packed = pack(delta)
    found = unpack(packed)
    assert all(torch.equal(found[name], delta[name]) and found[name].dtype == dtype for name in delta)
    assert packed["low"].dtype == torch.uint8
    assert packed["low"].numel() < 0.9 * low.numel() * low.element_size()
    with pytest.raises(InputError, match="tensors are damaged"):
        unpack({**packed, "low": packed["low"][:20]})


FORGET = [Item(f"f{i}", f"g{i}", f"def add{i}(a, b):\n", "    return a - b\n", "    return a + b\n") for i in range(6)]
RETAIN = [Item(f"r{i}", f"r{i}", f"for i in range({i}):\n", "    print(i)\n") for i in range(6)]
OPEN = Limits(retain=100.0, relearn_share=1e9, quantised=1.0)


@pytest.fixture
def edited(tiny_folder):
    model = load(tiny_folder)
    edit = unlearn(model, forget=FORGET, retain=RETAIN, budget=Budget(4, 3, 3, 1e-3), measure_cost=False)
    return model, edit


def test_plain_transformers_loads_the_checkpoint_and_gives_the_edited_logits(edited, tmp_path):
    model, edit = edited
    sha = weights_sha256(model.hf)
    seen = []
    found = export(edit, model, tmp_path / "out", forget=FORGET, retain=RETAIN, limits=OPEN, watch=seen.append)
    assert seen == found
    stored = ["int8 by torchao", "int4 by torchao"] if available() else []
    assert [gate.name for gate in found] == ["forgotten", "retain", "relearn", "int8", "int4", *stored, "round trip"]
    assert all(gate.passed for gate in found)
    assert weights_sha256(model.hf) == sha
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.tensor([model.tokenizer("def add1(a, b):\n").input_ids])
    with edit.apply(model), torch.no_grad():
        assert torch.equal(again(ids).logits, model.hf(ids).logits)
        assert model.fingerprint == load(tmp_path / "out").fingerprint
    assert (tmp_path / "out" / "generation_config.json").exists()
    card = (tmp_path / "out" / "README.md").read_text()
    assert edit.base["weights_sha256"] in card
    assert "failing" not in card
    check_sums(tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("changed")
    with pytest.raises(InputError, match=r"README\.md is missing or not the file that was exported"):
        check_sums(tmp_path / "out")
    (tmp_path / "out" / "SHA256SUMS").write_text("")
    with pytest.raises(InputError, match="does not name the weights that lie beside it"):
        check_sums(tmp_path / "out")


def test_each_gate_is_told_as_soon_as_it_is_measured(edited, monkeypatch):
    model, edit = edited
    seen = []
    monkeypatch.setattr("unlearning.checkpoint.gates.relearn", lambda *args, **how: pytest.fail(f"after {seen}"))
    with pytest.raises(pytest.fail.Exception, match=r"after \[.forgotten., .retain.\]"):
        gates(model, edit, FORGET, RETAIN, OPEN, watch=lambda gate: seen.append(gate.name))


def test_an_edit_of_a_gguf_is_exported_and_reproduces_its_logits(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    model = load(tmp_path / "tiny.gguf")
    forget = [Item(f"f{i}", f"g{i}", "a" * (i + 1), "b") for i in range(4)]
    retain = [Item(f"r{i}", f"r{i}", "b" * (i + 1), "a") for i in range(4)]
    budget = Budget(3, 2, 2, 1e-2)
    edit = unlearn(model, forget=forget, retain=retain, objective="graddiff", budget=budget, measure_cost=False)
    assert edit.n_changed > 0
    edit.save(tmp_path / "edit")
    out = tmp_path / "out"
    found = export(Edit.load(tmp_path / "edit"), model, out, forget=forget, retain=retain, limits=OPEN)
    assert found[-1].passed
    again = AutoModelForCausalLM.from_pretrained(out).eval()
    ids = torch.tensor([model.tokenizer("abab").input_ids])
    with edit.apply(model), torch.no_grad():
        assert torch.equal(again(ids).logits, model.hf(ids).logits)
    assert (out / "model.safetensors").exists()
    assert str(tmp_path / "tiny.gguf") in (out / "README.md").read_text()
    back = load(out)
    assert edit.revert(back) == edit.base["weights_sha256"] == weights_sha256(load(tmp_path / "tiny.gguf").hf)


def test_a_failing_gate_writes_nothing_unless_accepted_and_then_says_so(edited, tmp_path):
    model, edit = edited
    strict = Limits(retain=0.0, relearn_share=0.0)
    with pytest.raises(InputError, match=r"nothing was written, since .*forgotten: FAILED"):
        export(edit, model, tmp_path / "out", forget=FORGET, retain=RETAIN, limits=strict)
    assert list(tmp_path.glob("*")) == []
    found = export(
        edit, model, tmp_path / "out", forget=FORGET, retain=RETAIN, limits=strict, accept_failing_gates=True
    )
    assert not all(gate.passed for gate in found)
    assert "**Written with failing gates: forgotten" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_measured_fails_its_gate(edited, monkeypatch):
    model, edit = edited
    monkeypatch.setattr("unlearning.checkpoint.gates.loss", lambda *args: float("nan"))
    found = {gate.name: gate.passed for gate in gates(model, edit, FORGET, RETAIN, OPEN)}
    assert found["retain"] is False
    assert found["int8"] is True
    with pytest.raises(InputError, match="gates need items"):
        gates(model, edit, FORGET, [], OPEN)


def test_a_folder_that_is_no_export_is_left_alone(edited, tmp_path):
    model, edit = edited
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="exists and is no export; give a new folder"):
        export(edit, model, tmp_path / "mine", forget=FORGET, retain=RETAIN, limits=OPEN)
