"""`unlearn`, `unlearn export`, `revert` and `show` on a tiny random model."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def items(tmp_path):
    forget, retain = tmp_path / "forget.jsonl", tmp_path / "retain.jsonl"
    rows = [
        {"prompt": f"def add{i}(a, b):\n", "completion": "    return a - b\n", "replacement": "    return a + b\n"}
        for i in range(6)
    ]
    forget.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"prompt": f"for i in range({i}):\n", "completion": "    print(i)\n"} for i in range(6)]
    retain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return forget, retain


@pytest.fixture
def run(go, items, tiny_folder, tmp_path):
    forget, retain = items

    def call(*more):
        options = ("--steps", 3, "--batch-size", 2, "--learning-rate", 0.001, "--out", tmp_path / "edit")
        return go("unlearn", "--model", tiny_folder, "--forget", forget, "--retain", retain, *options, *more)

    return call


def test_an_edit_is_made_shown_exported_and_taken_back(go, run, tmp_path, tiny_folder):
    code, out, err = run()
    assert code == 0, err
    assert "probability of the fault" in out
    assert {p.name for p in (tmp_path / "edit").iterdir()} >= {"artifact.json", "results.json", "report.html"}
    code, out, _ = go("unlearn", "show", tmp_path / "edit", "--json")
    assert code == 0
    assert json.loads(out)["config"]["objective"] == "replace"
    assert 0 < json.loads(out)["receipt"]["flops"] < 4
    code, out, err = go("unlearn", "export", tmp_path / "edit", tmp_path / "fixed", "--accept-failing-gates", "--json")
    assert code == 0, err
    assert json.loads(out)["gates"][-1] == {
        "name": "round trip",
        "passed": True,
        "value": 0.0,
        "limit": 0.0,
        "unit": "largest difference of logits",
    }
    code, out, err = go("unlearn", "revert", tmp_path / "edit", tmp_path / "fixed", "--out", tmp_path / "base")
    assert code == 0, err
    assert "has the weights of" in out
    original, back = (folder / "model.safetensors" for folder in (tiny_folder, tmp_path / "base"))
    assert original.read_bytes() == back.read_bytes()


def test_the_same_command_reads_the_finished_edit(run):
    first = json.loads(run("--json")[1])
    assert json.loads(run("--json")[1]) == first


def test_a_checkpoint_without_the_edit_cannot_be_reverted(go, run, tmp_path, tiny_folder):
    run()
    code, _, err = go("unlearn", "revert", tmp_path / "edit", tiny_folder)
    assert code == 2
    assert "give the model that holds exactly this edit" in err


def test_a_closed_gate_stops_the_export(go, run, tmp_path):
    run()
    code, _, err = go("unlearn", "export", tmp_path / "edit", tmp_path / "fixed")
    assert code == 2
    assert "nothing was written" in err
    assert "--accept-failing-gates" in err
    assert not (tmp_path / "fixed").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--objective", "npoo"), "unknown objective 'npoo'"),
        (("--where", "attic"), "cannot read --where 'attic'"),
        (("--steps", 0), "use 1 or more of each"),
        (("--forget", "nowhere.jsonl"), "neither testbed:PLANT nor"),
        (("--forget", "testbed:P9"), "unknown plant 'P9'"),
    ],
)
def test_bad_input_is_a_sentence_and_writes_nothing(run, tmp_path, more, message):
    code, _, err = run(*more)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "edit").exists()


def test_an_edit_of_other_settings_is_refused(run):
    assert run()[0] == 0
    code, _, err = run("--seed", 1)
    assert code == 2
    assert "use another --out or the same settings" in err
