"""Answers under watch from the command line: streamed, as JSON, from a file that a killed run can go on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tiny_probes import made_probe
from typer.testing import CliRunner

from ellora_trust.cli.generate import generate
from ellora_trust.cli.probe_score import score
from ellora_trust.cli.risk_colours import RiskWriter, colour, visible
from ellora_trust.errors import InputError
from ellora_trust.loading import load
from probes.watching.answer_file import answer_file, done_ids, read_prompts
from probes.watching.answering import Guard, pieces_of

PROMPTS = ["def add(a, b):\n    return", "x = 1", "y = x[:]", "é = '日本'"]
app = typer.Typer()
app.command("generate")(generate)
app.command("score")(score)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A probe saved for the model in `tiny_folder`."""
    model = load(tiny_folder)
    data = {"task": "aliasing", "n": 40, "prompt_format": "plain"}
    made_probe(model, position="answer").save(tmp_path / "probe", model=model, data=data)
    return tmp_path / "probe"


def go(*args: object, text: str | None = None, terminal: bool = False) -> str:
    """Run a command in this process and return its output, or raise what it raises."""
    done = CliRunner(env={"FORCE_COLOR": "1"} if terminal else {}).invoke(app, [str(a) for a in args], input=text)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_streamed_answer_is_the_answer_and_ends_with_the_verdict(folder: Path, tiny_folder: Path):
    for prompt in PROMPTS:
        out = go("generate", prompt, "--probe", folder, "--max-new-tokens", 8)
        expected = load(tiny_folder).generate([prompt], max_new_tokens=8)[0].text
        streamed, _, verdict = out.removesuffix("\n").rpartition("\n")
        assert streamed == expected
        assert "that this answer is wrong" in verdict
        assert "Calibrated on task aliasing (40 examples), read at resid.1 answer" in verdict


def test_colours_are_for_terminals_and_for_those_who_want_them(folder: Path, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = go("generate", PROMPTS[2], "--probe", folder, "--max-new-tokens", 8)
    coloured = go("generate", PROMPTS[2], "--probe", folder, "--max-new-tokens", 8, terminal=True)
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in go("generate", PROMPTS[2], "--probe", folder, "--max-new-tokens", 8, terminal=True)
    assert [colour(risk) for risk in (0.1, 0.3, 0.6, 0.9)] == ["", "yellow", "red", "bold red"]


def test_generated_text_cannot_command_the_terminal(capsys):
    assert visible("a\x1b[2Jb\x07\tc\n") == "a\ufffd[2Jb\ufffd\tc\n"
    writer = RiskWriter()
    writer.write("one ", 0.9)
    writer.finish("one two three", ["one ", "two ", "three"], [0.1, 0.2, 0.3])
    assert capsys.readouterr().out == "one two three\n"


def test_json_gives_each_token_its_risk(folder: Path):
    found = json.loads(go("generate", PROMPTS[0], "--probe", folder, "--max-new-tokens", 8, "--json"))
    assert "".join(token["text"] for token in found["tokens"]) == found["answer"]
    assert all(0 <= token["risk"] <= 1 for token in found["tokens"])
    assert found["finish"] in ("eos", "length")
    assert "verdict" in found


def test_abstaining_and_resampling_from_the_command_line(folder: Path):
    settings = ("--probe", folder, "--max-new-tokens", 8, "--json")
    stopped = json.loads(go("generate", PROMPTS[2], *settings, "--policy", "abstain", "--threshold", 0))
    assert stopped["finish"] == "abstain"
    assert len(stopped["tokens"]) == 4
    assert "stopped after 4 tokens at risk" in stopped["verdict"]
    drawn = ("--temperature", 1, "--samples", 4)
    first = json.loads(go("generate", PROMPTS[2], *settings, *drawn))
    best = json.loads(go("generate", PROMPTS[2], *settings, *drawn, "--policy", "resample", "--threshold", 0))
    assert best["risk"] <= first["risk"]


def test_a_killed_run_over_a_file_goes_on_and_gives_the_same_answers(folder: Path, tmp_path: Path):
    rows = [{"prompt": p, "id": f"p{i}"} if i else {"prompt": p} for i, p in enumerate(PROMPTS)]
    source = tmp_path / "prompts.jsonl"
    source.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    args = ("--probe", folder, "--max-new-tokens", 6, "--input")
    go("generate", *args, source, "--out", whole)
    answers = [json.loads(line) for line in whole.read_text().splitlines()]
    assert [a["id"] for a in answers] == ["1", "p1", "p2", "p3"]
    kept = whole.read_text().splitlines()[:2]
    # As after a kill: two whole lines and a half.
    cut.write_text("\n".join(kept) + '\n{"id": "p2", "answ')
    go("generate", *args, "-", "--out", cut, text=source.read_text())
    again = [json.loads(line) for line in cut.read_text().splitlines()]
    assert [a["answer"] for a in again] == [a["answer"] for a in answers]
    assert [a["risk"] for a in again] == pytest.approx([a["risk"] for a in answers], abs=1e-5)
    before = cut.read_text()
    go("generate", *args, source, "--out", cut)
    assert cut.read_text() == before
    printed = [json.loads(line) for line in go("generate", *args, source).splitlines()]
    assert [row["answer"] for row in printed] == [a["answer"] for a in answers]


def test_source_files_get_a_risk_a_line_and_the_shift_is_said(folder: Path, tmp_path: Path):
    path = tmp_path / "code.py"
    path.write_text("def f(x):\n    return x\n")
    out = go("score", path, "--probe", folder)
    assert "    2" in out
    assert "return x" in out
    assert "fitted on generated answers to task aliasing, not on source files" in out
    found = json.loads(go("score", path, "--probe", folder, "--json"))[str(path)]
    assert [line["line"] for line in found["lines"]] == [1, 2]
    assert {one["kind"] for one in found["statements"]} == {"function", "return"}


def test_characters_of_several_tokens_are_held_until_they_are_whole(tiny):
    ids = tiny.tokenizer("a日本é").input_ids
    pieces = pieces_of(tiny, ids)
    assert "".join(pieces) == "a日本é"
    assert all("\ufffd" not in piece for piece in pieces)
    assert "" in pieces


def test_the_prompt_format_of_the_probe_is_kept_or_its_change_is_said(tiny, folder: Path):
    from probes import ErrorProbe

    probe = ErrorProbe.load(folder)
    assert Guard(probe, tiny).used_format == "plain"
    with pytest.raises(InputError, match="has no chat template; use --format plain"):
        Guard(probe, tiny, format="chat", force=True).answer(["a"])
    chatty = Guard(probe, tiny, format="chat")
    answered = Guard(probe, tiny, force=True, max_new_tokens=3).answer(["x = 1"])[0]
    assert "Those prompts were plain, this one is chat." in chatty.verdict(answered)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["generate"], "give either a prompt or --input FILE"),
        (["generate", "a", "--out", "x.jsonl"], "--out is for many prompts"),
        (["generate", "--input", "none.jsonl"], "there is no file none.jsonl"),
        (["generate", "a", "--policy", "ask"], "unknown policy 'ask'"),
        (["generate", "a", "--format", "fim"], "unknown prompt format 'fim'"),
        (["generate", "a", "--threshold", "3"], "threshold is 3.0"),
        (["score", "none.py"], "there is no file none.py"),
    ],
)
def test_bad_input_is_one_clear_sentence(folder: Path, args, message: str):
    with pytest.raises(InputError, match=message):
        go(*args, "--probe", folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f is empty"),
        ("{", "f, line 1: not JSON"),
        ('{"prompt": "a"}\n{"prompt": 3}', 'f, line 2: give an object with a text "prompt"'),
        ('{"prompt": "a", "id": 2}\n{"prompt": "b"}', "f: id '2' is given twice"),
    ],
)
def test_a_file_of_prompts_that_does_not_fit_is_named_by_line(text: str, message: str):
    with pytest.raises(InputError, match=message):
        read_prompts(text, "f")


def test_a_file_that_holds_something_else_is_not_written_to(tmp_path: Path, tiny):
    out = tmp_path / "notes.txt"
    out.write_text("my notes\nmore\n")
    with pytest.raises(InputError, match="line 1: not an answer of this command; choose another --out"):
        answer_file(Guard(made_probe(tiny), tiny), read_prompts('{"prompt": "a"}', "f"), out)
    assert out.read_text() == "my notes\nmore\n"
    assert done_ids(tmp_path / "none") == set()
