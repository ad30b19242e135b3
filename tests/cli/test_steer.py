"""`steer`, `steer export` and `generate --steer` on a tiny random model and a task that renaming breaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import steering.job
from ellora_trust.loading import load
from ellora_trust.tasks.base import Example, Outcome, Task
from steering import SteeringVector


class Fragile(Task):
    """Annotations, answered rightly as long as no variable is renamed, whatever the answer is."""

    name = "types"
    max_new_tokens = 2

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        made = []
        for number in range(60):
            prefix, suffix = f"def f{number}(x: ", f"):\n    y: str = str(x)\n    return y + '{number}'\n"
            meta = {"language": "python", "kind": "param", "name": "x", "type": "int"}
            made.append(Example(f"t{number}", f"g{number // 2}", prefix + suffix + prefix, "int", prefix, suffix, meta))
        return made[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        return Outcome.WRONG if "__tmp" in example.prompt else Outcome.CORRECT

    def datasheet(self) -> str:
        return ""


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering.job, "load_task", lambda name, *, source=None: Fragile())


def at_layer_1(folder: Path) -> None:
    """Save the vector again as one of layer 1: llama.cpp's format has no place for layer 0."""
    saved = SteeringVector.load(folder)
    assert saved.artifact is not None
    moved = replace(saved, sites=("resid.1",))
    moved.save(folder, model=load(saved.artifact.model["name"]), data=saved.artifact.data, metrics={})


def test_steer_from_pairs_to_report_then_resumed_exported_and_generated_with(
    go, fragile: None, tiny_folder: Path, tmp_path: Path
):
    out = tmp_path / "run"
    asked = ("steer", "--model", tiny_folder, "--edit", "rename_vars", "--every", 2, "--strengths", 1, "--out", out)
    code, text, errors = go(*asked)
    assert code == 0, errors
    assert "random directions" in text
    results = json.loads((out / "results.json").read_text())
    (found,) = results["studies"]
    assert found["edit"] == "rename_vars"
    assert found["n_pairs"] == found["counts"]["pairs"] >= 30
    # Nothing that is renamed counts as right, so steering must be seen to do nothing.
    assert found["estimates"]["recovered"]["value"] == 0
    assert {"random", "shuffled", "other", "two examples"} <= set(found["differences"])
    assert "<svg" in (out / "report.html").read_text() or "<img" in (out / "report.html").read_text()

    before = (out / "study-rename_vars.json").read_bytes()
    code, text, errors = go(*asked, "--json")
    assert code == 0
    assert "rename_vars: done before" in errors
    assert json.loads(text)[0]["n_pairs"] == found["n_pairs"]
    assert (out / "study-rename_vars.json").read_bytes() == before

    vector, exported = out / "vector-rename_vars", tmp_path / "vector.gguf"
    at_layer_1(vector)
    code, text, errors = go("steer", "export", vector, exported, "--json")
    assert code == 0, errors
    assert json.loads(text)["file"] == str(exported)
    assert exported.stat().st_size > 0
    asked = ("generate", "def f(x):", "--max-new-tokens", 4, "--json")
    code, text, errors = go(*asked, "--steer", f"{vector}:0")
    assert code == 0, errors
    answers = json.loads(text)
    assert answers["steered"] == answers["plain"]
    code, text, _ = go(*asked, "--steer", f"{vector}:200")
    assert json.loads(text)["steered"] != answers["plain"]
    code, text, _ = go(*asked, "--steer", exported, "--model", tiny_folder)
    assert code == 0
    assert json.loads(text)["plain"] == answers["plain"]


def test_other_settings_in_a_used_folder_are_refused(go, fragile: None, tiny_folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    out.mkdir()
    go("steer", "--model", tiny_folder, "--edit", "nothing", "--out", out)
    assert list(out.iterdir()) == [], "a slip is found before anything is done"
    go("steer", "--model", tiny_folder, "--edit", "rename_vars", "--draws", 0, "--out", out)
    go("steer", "--model", tiny_folder, "--edit", "rename_vars", "--limit", 4, "--seed", 0, "--out", out)
    code, _, errors = go(
        "steer", "--model", tiny_folder, "--edit", "rename_vars", "--limit", 4, "--seed", 1, "--out", out
    )
    assert code == 2
    assert "holds a run with seed 0, now 1 was asked" in errors


def test_pairs_of_another_model_of_the_same_name_are_refused(go, fragile: None, tiny_folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    asked = ("steer", "--model", tiny_folder, "--edit", "rename_vars", "--limit", 4, "--out", out)
    go(*asked)
    pairs = out / "pairs-rename_vars.jsonl"
    head, *rows = pairs.read_text().splitlines()
    said = json.loads(head)
    said["model"]["fingerprint"] = "0" * 64
    pairs.write_text("\n".join([json.dumps(said), *rows]) + "\n")
    code, _, errors = go(*asked)
    assert code == 2
    assert "(fingerprint 000000000000), but" in errors
    assert "use another --out" in errors


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--task", "races"), "has no contrast pairs; use types, aliasing"),
        (("--edit", "rename"), "unknown edit 'rename'"),
        (("--method", "median"), "unknown method 'median'; use one of"),
        (("--edit", "rename_vars", "--limit", "4"), "too few for 3 folds"),
        (("--strengths", "much"), "--strengths 'much' are no numbers"),
        (("--draws", "0"), "edit each original at least once"),
    ],
)
def test_bad_input_is_one_sentence(go, fragile: None, tiny_folder: Path, tmp_path: Path, args, message: str):
    code, _, errors = go("steer", "--model", tiny_folder, "--out", tmp_path / "run", *args)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_a_file_of_no_model_needs_one(go, tiny_folder: Path, tmp_path: Path):
    code, _, errors = go("generate", "x", "--steer", tmp_path / "none")
    assert code == 2
    assert str(tmp_path / "none") in errors
