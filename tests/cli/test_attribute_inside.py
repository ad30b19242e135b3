"""`attribute tokens` and `attribute components`: tables, pages, JSON, and one sentence for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attribution.inside.matched import MATCHED, matched_pairs
from attribution.prompt.job import own_answer
from ellora_trust.hooks import capture
from ellora_trust.loading import load

LISTS = "# Map each short tag to its upper case.\ndef map_short_tags(items: list) ->"
DICTS = "# Tally each of the short tags.\ndef tally_short_tags(items: list) ->"
PAIR = (LISTS, "--against", DICTS, "--answer", " list", "--foil", " dict")


def test_tokens_explains_the_models_own_first_line_and_writes_a_page(go, tmp_path: Path):
    page = tmp_path / "tokens.html"
    code, text, errors = go(
        "attribute", "tokens", LISTS, "--model", "testbed", "--method", "ablation", "--curves", "-n", 3, "--out", page
    )
    assert code == 0, errors
    assert text.startswith(f"{LISTS}▸ list:\n")
    assert "ablation of log p(' list:')" in text
    assert "20 random orders of the same units" in text
    assert text.count("│ mark ") + text.count("│ identifier ") + text.count("│ comment ") + text.count("│ word ") == 3
    html = page.read_text()
    assert "map_short_tags" in html
    assert "What in the prompt speaks for &#39;list:&#39;; testbed itself answers it." in html
    assert "Is the ranking right about the model?" in html
    assert 'src="http' not in html


def test_tokens_as_json_adds_up_to_the_target_and_holds_the_curves(go):
    code, text, errors = go(
        "attribute", "tokens", LISTS, "--answer", " list", "--foil", " dict", "--model", "testbed",
        "--method", "integrated-gradients", "--steps", 128, "--units", "expression", "--curves", "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = json.loads(text)
    total = sum(unit["score"] for unit in found["units"])
    assert total - (found["value"] - found["absent"]) == pytest.approx(found["convergence_delta"], abs=1e-5)
    assert abs(found["convergence_delta"]) < 0.05 * abs(found["value"] - found["absent"])
    assert found["own_answer"] is False
    assert "".join(LISTS[unit["start"] : unit["end"]] for unit in found["units"]) == LISTS
    curves = found["curves"]
    assert len(curves["taken"]) == len(curves["shares"]) == len(curves["random_taken"][0])
    means = [sum(row) / len(row) for row in curves["random_taken"]]
    mine = sum(curves["taken"]) / len(curves["taken"])
    assert curves["random_orders_as_good"]["comprehensiveness"] == sum(mean >= mine for mean in means)


def test_the_prompt_may_stand_in_a_file_and_its_escape_sequences_are_not_obeyed(go, tiny_folder: Path, tmp_path: Path):
    source = tmp_path / "prompt.py"
    source.write_text("# \x1b[31mred\ndef f(a):")
    code, text, errors = go(
        "attribute", "tokens", f"@{source}", "--answer", " a", "--model", tiny_folder, "--units", "line",
        "--method", "gradient-x-input",
    )  # fmt: skip
    assert code == 0, errors
    assert "# \ufffd[31mred\ndef f(a):▸ a" in text
    assert "\x1b[31m" not in text


def test_the_own_answer_ends_with_its_first_line_that_has_text():
    model = load("testbed")
    body = own_answer(model, "# Sum the red rows.\ndef sum_red_rows(rows):")
    (whole,) = model.generate(["# Sum the red rows.\ndef sum_red_rows(rows):"], max_new_tokens=24)
    assert whole.text.startswith(body)
    assert body.strip()
    assert body.lstrip().count("\n") == 0 < body.count("\n")


def test_components_ranks_a_pair_and_names_sites_that_can_be_read_and_edited(go):
    code, text, errors = go("attribute", "components", *PAIR, "--model", "testbed", "-n", 3, "--json")
    assert code == 0, errors
    found = json.loads(text)
    assert found["n_pairs"] == 1
    assert found["total"] > 5
    assert found["sites"] == [one["site"] for one in found["components"][:3]]
    # One pair has no interval, and none is made up.
    assert "low" not in found["components"][0]
    seen = capture(load("testbed"), [LISTS], found["sites"], "last")
    assert all(len(seen[site, "last"]) == 1 for site in found["sites"])


def test_components_of_a_task_has_intervals_a_picture_and_full_patching_beside_it(go, tmp_path: Path):
    page = tmp_path / "components.html"
    asked = ("attribute", "components", "--task", "testbed", "--limit", 4, "--model", "testbed", "--check")
    code, text, errors = go(*asked, "-n", 2, "--out", page)
    assert code == 0, errors
    assert "full patching" in text
    assert "Pearson" in text
    assert "mean over 4 pairs, with a 95 % interval" in text
    html = page.read_text()
    assert "layer %{y}, %{x}" in html
    assert "attribution_patching with full patching over 20 sites" in html
    code, text, _ = go(*asked, "--json")
    found = json.loads(text)
    first = found["components"][0]
    assert first["low"] <= first["value"] <= first["high"]
    assert found["check"]["pearson"] == pytest.approx(found["check"]["intervals"]["pearson"]["value"])
    assert found["check"]["pearson"] > 0.9


def test_one_pair_is_checked_without_an_interval(go, tiny_folder: Path):
    code, text, errors = go("attribute", "components", *PAIR, "--model", tiny_folder, "--check", "--method", "direct")
    assert code == 0, errors
    assert "(one group of pairs, so no interval)" in text


@pytest.mark.parametrize("task", MATCHED)
def test_matched_pairs_differ_in_prompt_and_answer_and_a_smaller_limit_gives_the_first_ones(task: str):
    pairs = matched_pairs(task, limit=6)
    assert len(pairs) == 6
    assert all(pair.clean != pair.corrupt and pair.answer != pair.foil for pair in pairs)
    assert len({pair.clean for pair in pairs}) == 6
    assert matched_pairs(task, limit=2) == pairs[:2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("tokens", "def f():", "--method", "lime"), "unknown method 'lime'"),
        (("tokens", "def f():", "--answer", "x", "--units", "word"), "unknown division into units 'word'"),
        (("tokens", "def f():", "--answer", "x", "--language", "cobol"), "cobol"),
        (("tokens", "def f():", "--answer", "x", "--foil", "x"), "answer and foil are both 'x'"),
        (("tokens", "def f():", "--answer", "x", "--samples", "0"), "0 samples were given"),
        (("tokens", "  ", "--answer", "x"), "the prompt has no text"),
        (("tokens", "@nowhere.py", "--answer", "x"), "there is no file nowhere.py"),
        (("components",), "lacks PROMPT, --against, --answer, --foil"),
        (("components", "a", "--answer", "x"), "lacks --against, --foil"),
        (("components", "a", "--task", "testbed"), "brings its own pairs"),
        (("components", "--task", "types"), "unknown task with matched pairs 'types'"),
        (("components", "--task", "testbed", "--limit", "0"), "limit 0 is out of range"),
        (("components", *PAIR, "--method", "guess"), "unknown method 'guess'"),
        (("components", *PAIR, "--sites", "head.9.0"), "out of range"),
        (("components", *PAIR, "--method", "activation-patching", "--check"), "is full patching itself"),
        (("components", "a", "--against", "a", "--answer", "x", "--foil", "y"), "must be two texts that differ"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_page(go, monkeypatch, tmp_path: Path, args, message: str):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"
    code, text, errors = go("attribute", *args, "--model", "testbed", "--out", page)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not text
    assert not page.exists()


def test_a_list_of_no_units_is_refused_by_the_command_line_itself(go):
    code, _, errors = go("attribute", "tokens", "x", "--top", 0)
    assert code == 2
    assert "--top" in errors
