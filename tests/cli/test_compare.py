"""`compare` on a tiny model, `compare show` from its numbers, and wrong input in one sentence."""

from __future__ import annotations

import json

import pytest
from echo_task import Echo

from ellora_trust.evaluation.asking.suite import Asked


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setattr(Asked, "load", lambda self: Echo())
    path = tmp_path / "mine.toml"
    path.write_text('targets = ["echo"]\nlimit = 40\nmargin = 0.1\n')
    return path


def test_a_comparison_is_printed_and_written_and_shown_again(go, tiny_folder, suite, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = go("compare", tiny_folder, "A/A=nothing", "bfloat16", "--suite", suite, "--out", out)
    assert code == 0
    assert "What was fixed?" in printed
    assert "A/A" in printed
    assert {one.name for one in out.iterdir()} == {"comparison.json", "report.html", "report.md"}
    code, printed, _ = go("compare", "show", out / "comparison.json", "--out", tmp_path / "again.html")
    assert code == 0
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()
    code, printed, _ = go("compare", "show", out / "comparison.json")
    assert code == 0
    assert "Can it be undone?" in printed


def test_help_says_how_models_are_given(go):
    assert "compare BASE CANDIDATE..." in " ".join(go("compare", "--help")[1].split())


def test_json_is_the_saved_comparison(go, tiny_folder, suite, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = go("compare", "--json", "--no-noise", tiny_folder, "nothing", "--suite", suite, "--out", out)
    assert code == 0
    saved = json.loads((out / "comparison.json").read_text())
    assert json.loads(printed) == saved
    code, printed, _ = go("compare", "show", out / "comparison.json", "--json", "--out", tmp_path / "again.html")
    assert json.loads(printed) == saved
    assert (tmp_path / "again.html").exists()


def test_two_candidates_of_one_name_are_told_apart(go, tiny_folder, suite, tmp_path):
    args = ("--no-noise", "--suite", suite, "--out", tmp_path / "run", "--json")
    code, printed, _ = go("compare", tiny_folder, "nothing", "nothing", *args)
    assert code == 0
    assert [one["name"] for one in json.loads(printed)["candidates"]] == ["nothing", "nothing (2)"]


def test_wrong_input_is_one_sentence(go, tiny_folder, suite, tmp_path):
    code, _, err = go("compare", tiny_folder, "nothing", "--suite", "quik")
    assert code == 2
    assert "Traceback" not in err
    assert "did you mean 'quick'" in err
    code, _, err = go("compare", "show", tmp_path / "none.json")
    assert code == 2
    assert "is no comparison" in err
    code, _, err = go("compare", tiny_folder, "nothing", "--suite", suite, "--margin", "3")
    assert code == 2
    assert "use a number between 0 and 1" in err


def test_a_share_answers_its_part_and_says_how_to_join(go, tiny_folder, suite, tmp_path):
    asked = ("compare", tiny_folder, "nothing", "--suite", suite, "--no-noise", "--out", tmp_path / "run")
    code, printed, _ = go(*asked, "--shard", "1/2")
    assert (code, "share 1/2 is done; when all are, run the same command once alone" in printed) == (0, True)
    assert not (tmp_path / "run").exists()
