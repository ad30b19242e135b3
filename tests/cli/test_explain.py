"""`ellora-trust explain` on the reduced testbed: real documents, a real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_probes import made_probe

from ellora_trust.loading import load
from unlearning import read_forget, read_retain

PROMPT = "// Sum the red rows in parallel.\nint sum_red_rows(const int *a, int n) {"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from attribution.asking import build
    from attribution.corpora import Corpus
    from attribution.documents.building import Plan

    folder = tmp_path_factory.mktemp("made")
    model = load("testbed-lds")
    build(model, Corpus.open("testbed-lds", limit=200), folder / "index", plan=Plan(bits=1024))
    made_probe(model).save(folder / "probe", model=model)
    return folder


def test_one_case_end_to_end_names_risk_words_documents_and_the_edit_that_would_follow(go, made: Path, tmp_path: Path):
    out = tmp_path / "case"
    asked = ("explain", PROMPT, "--probe", made / "probe", "--index", made / "index", "--language", "c", "--out", out)
    code, text, errors = go(*asked)
    assert code == 0, errors
    assert text.startswith(PROMPT + "▸")
    for part in ("that this answer is wrong", "Riskiest run of tokens", "ablation of log p(", "No foil was given"):
        assert part in text
    assert "of 200 documents" in text.lower()
    assert "No steering vector was given." in text
    saved = json.loads((out / "results.json").read_text())
    assert saved["model"] == "testbed-lds"
    targets = [hit["document"] for hit in saved["documents"]["hits"] if hit["basis"] != "weak"]
    assert targets
    # The documents carry a plant of the testbed, which knows its right form.
    assert "They carry P3" in text
    assert f"unlearn --model testbed-lds --forget testbed:P3 --retain testbed:P3 --out {out}/edit" in text
    assert saved["unlearning"]["objective"] == "replace"
    # What is written is what an edit reads, and no document is on both sides.
    forget, retain = read_forget(out / "forget.json"), read_retain(out / "retain.json")
    assert {item.id for item in forget} <= set(targets)
    assert not {item.id for item in forget} & {item.id for item in retain}
    assert 'src="http' not in (out / "report.html").read_text()


def test_json_is_what_is_saved(go, tmp_path: Path):
    code, text, errors = go("explain", PROMPT, "--model", "testbed-lds", "--language", "c", "--out", tmp_path, "--json")
    assert code == 0, errors
    assert json.loads(text) == json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((" ", "--model", "testbed-lds"), "the prompt has no text"),
        (("@nowhere.py",), "there is no file nowhere.py"),
        ((PROMPT, "--model", "testbed-lds", "--foil", "@nowhere.c"), "there is no file nowhere.c"),
        ((PROMPT, "--model", "testbed-lds", "--language", "cobol"), "cobol"),
        ((PROMPT, "--model", "testbed-lds", "--index", "nowhere"), "nowhere"),
        ((PROMPT, "--probe", "nowhere"), "nowhere"),
        ((PROMPT, "--model", "testbed-lds", "--steer", "nowhere"), "nowhere"),
        ((PROMPT, "--model", "testbed-lds", "--format", "poem"), "unknown prompt format 'poem'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(go, args: tuple[str, ...], message: str, tmp_path: Path):
    code, _, errors = go("explain", *args, "--out", tmp_path / "out")
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
