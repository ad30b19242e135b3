"""`ellora-trust attribute tasks` on the testbed: table, page, JSON, a folder used again, and what does not fit."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from ellora_trust import cli

PROMPT = "# Return the mean of the red rows.\ndef mean_red_rows(rows):"
SMALL = ("--model", "testbed", "--n-fit", 4, "--n-held", 2, "--n-trials", 1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command printed, and the folder that it wrote."""
    folder, said = tmp_path_factory.mktemp("tasks") / "vectors", io.StringIO()
    args = ("attribute", "tasks", *SMALL, "--prompt", PROMPT, "--out", folder)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", ["ellora-trust", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return said.getvalue(), folder


@pytest.fixture
def folder(measured: tuple[str, Path]) -> Path:
    return measured[1]


def test_it_prints_who_tells_the_task_and_what_a_vector_does_and_saves_both(measured: tuple[str, Path]):
    text, folder = measured
    for part in (
        "bag of words",
        "chosen heads",
        "last layer",
        "random vector",
        "another task's vector",
        "Chance is 3.6%",
    ):
        assert part in text
    assert f"{PROMPT}▸" in text
    assert f"--tasks {folder}" in text
    html = (folder / "report.html").read_text()
    assert "Does a vector make it do the task?" in html
    assert 'src="http' not in html
    assert (folder / "tensors.safetensors").exists()


def test_a_saved_folder_names_a_prompts_task_without_a_fit(go, folder: Path):
    code, text, errors = go("attribute", "tasks", "--use", folder, "--prompt", PROMPT, "--json")
    assert code == 0, errors
    found = json.loads(text)
    assert found["model"] == "testbed"
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert {one["method"] for one in found["identification"]} >= {"chosen heads", "bag of words", "last layer"}
    assert found["causal"][0]["rate"]["n"] > 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--tasks", "poems"), "unknown source of tasks 'poems'"),
        (("--tasks", "aliasing"), "nothing to tell apart"),
        (("--n-fit", 1), "n_fit is 1"),
        (("--n-held", 0), "n_held is 0"),
        (("--prompt", " "), "the prompt has no text"),
        (("--use", "nowhere", "--prompt", "x"), "nowhere is not an artifact"),
        (("--use", "nowhere"), "give --prompt"),
        (("--use", "nowhere", "--tasks", "testbed", "--prompt", "x"), "leave out --tasks, or --use"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(go, args: tuple, message: str):
    code, _, errors = go("attribute", "tasks", *args)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
