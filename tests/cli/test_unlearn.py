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
        (("--steps", 0), "is out of range; use 1 or more"),
        (("--forget", "nowhere.jsonl"), "neither testbed:PLANT nor"),
        (("--forget", "testbed:P9"), "unknown plant 'P9'"),
        (("--only", "loop"), "unknown mask 'loop'; use one of annotation, call, difference, pragma"),
        (("--only", "annotation"), "and its replacement differ in no annotation; use another mask"),
        (("--retain-weight", -1), "retain_weight=-1.0, retain_bound=0.02 must be finite and not negative"),
        (("--retain-weight", "nan"), "must be finite and not negative"),
        (("--retain-bound", "inf"), "must be finite and not negative"),
        (("--retain-bound", "much"), "Invalid value for '--retain-bound'"),
        (("--robust", "armour"), "'armour'; use one of distil, quantised, sam"),
        (("--where", "components:nowhere"), "nowhere holds no results.json; give a folder that"),
        (("--where", "vector:nowhere"), "nowhere is not an artifact"),
    ],
)
def test_bad_input_is_a_sentence_and_writes_nothing(run, tmp_path, more, message):
    code, _, err = run(*more)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "edit").exists()


def test_a_place_that_attribution_chose_is_edited_beside_a_random_one(go, run, tmp_path, tiny_folder):
    prompts = ("x = [1]\ny = ", "--against", "x = {1}\ny = ", "--answer", "list", "--foil", "dict")
    asked = ("attribute", "components", *prompts, "--sites", "mlp.*", "--model", tiny_folder)
    code, out, err = go(*asked, "--out", tmp_path / "where")
    assert code == 0, err
    assert f"open {tmp_path / 'where' / 'report.html'}" in out
    best = json.loads((tmp_path / "where" / "results.json").read_text())["sites"]
    code, out, err = run("--where", f"components:{tmp_path / 'where'}:1")
    assert code == 0, err
    assert f"the control: the same edit at random, {best[1]}" in err
    assert "at random" in out
    assert "the place was chosen by components:" in out
    code, out, err = go("unlearn", "show", tmp_path / "edit", "--picture", tmp_path / "edit.svg")
    assert code == 0, err
    assert f"replace on {best[0]}, 3 steps" in out
    assert "Held-out items" in out
    assert "chosen_by: components:" in out
    assert "<svg" in (tmp_path / "edit.svg").read_text()
    code, out, err = go("unlearn", "export", tmp_path / "edit", tmp_path / "fixed", "--accept-failing-gates")
    assert code == 0, err
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("gate ")][:3] == [
        "gate forgotten",
        "gate retain",
        "gate relearn",
    ]
    card = (tmp_path / "fixed" / "README.md").read_text()
    assert f"the same edit at random, {best[1]}" in card
    assert "| what | before | after | at random |" in card


def test_a_file_is_no_folder_for_components(go, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = go("attribute", "components", "--task", "testbed", "--out", tmp_path / "taken")
    assert code == 2
    assert "is a file; give a .html file or a folder" in err


def test_a_mask_and_its_weights_are_kept_and_used_by_the_gates(go, run, tmp_path):
    options = ("--only", "difference", "--retain-weight", 2, "--retain-bound", 0.5, "--recompute", "--robust", "sam")
    code, out, err = run(*options, "--json")
    assert code == 0, err
    config = json.loads(out)["config"]
    assert config["sources"]["only"] == "difference"
    assert (config["budget"]["retain_weight"], config["budget"]["retain_bound"]) == (2.0, 0.5)
    assert config["recompute"] is True
    assert config["robust"]["mode"] == "sam"
    code, out, err = go("unlearn", "show", tmp_path / "edit")
    assert "(only its difference)" in out
    code, _, err = go("unlearn", "export", tmp_path / "edit", tmp_path / "fixed", "--accept-failing-gates")
    assert code == 0, err
    assert "of each, only its difference" in (tmp_path / "fixed" / "README.md").read_text()


@pytest.mark.parametrize(("name", "message"), [("edit.txt", "has no picture's suffix"), ("no/edit.png", None)])
def test_a_picture_is_drawn_where_it_can_be(go, run, tmp_path, name, message):
    run()
    code, _, err = go("unlearn", "show", tmp_path / "edit", "--picture", tmp_path / name)
    assert code == (2 if message else 0)
    assert (tmp_path / name).exists() is (message is None)
    assert message is None or message in err


def test_an_edit_of_other_settings_is_refused(run):
    assert run()[0] == 0
    code, _, err = run("--seed", 1)
    assert code == 2
    assert "use another --out or the same settings" in err
