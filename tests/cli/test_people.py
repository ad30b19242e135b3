"""How the command line behaves towards people: quiet, colours, completion, exit codes, Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from ellora_trust.cli.interrupted import sentence
from ellora_trust.progress import Progress
from ellora_trust.quiet import VARIABLE, hush, is_quiet


def labels(path: Path, n: int = 40) -> Path:
    rows = [{"prompt": f"x = {i}\nprint(x) # ", "answer": str(i % 9), "wrong": i % 3 == 0} for i in range(n)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def command(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ellora_trust", *map(str, args)]
    return subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False)


def test_the_module_is_the_command():
    done = command("--help")
    assert done.returncode == 0
    assert "Find out when a code LLM is wrong" in done.stdout
    assert "--quiet" in done.stdout


def test_a_full_disk_under_the_output_is_one_sentence():
    argv = [sys.executable, "-m", "ellora_trust", "tasks"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr == "ellora-trust: cannot write the output: the disk is full\n"


def test_what_the_system_refuses_names_the_file(go, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for reason, said in ((errno.EROFS, "read-only"), (errno.EACCES, "permission is denied")):
        error = OSError(reason, "refused", str(tmp_path / "x"))
        monkeypatch.setattr("ellora_trust.cachedir.entries", Mock(side_effect=error))
        code, _, err = go("cache")
        assert code == 1
        assert f"cannot use {tmp_path / 'x'}: " in err
        assert said in err


def test_quiet_leaves_results_and_warnings_only(go, tiny_folder: Path, tmp_path: Path):
    asked = ["probe", "label", "--model", tiny_folder, "--labels", labels(tmp_path / "a.jsonl")]
    _, _, loud = go(*asked, "--out", tmp_path / "loud")
    code, out, err = go("--quiet", *asked, "--out", tmp_path / "quiet")
    assert "loading" in loud
    assert code == 0
    assert "40 answers" in out
    assert [line for line in err.splitlines() if not line.lower().startswith("warning")] == []
    assert not is_quiet()


def test_a_quiet_bar_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with Progress(3, "working", every=0.0) as bar:
        bar.advance(1)
    assert "working: 1 of 3" in capsys.readouterr().err
    with hush(), Progress(3, "working", every=0.0) as bar:
        bar.advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("args", [["tasks"], ["probe", "plan"], ["probe", "--task", "alising"], ["--help"]])
def test_no_color_leaves_no_colours_where_they_would_be(go, args: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    said = {}
    for colour in ("", "1"):
        monkeypatch.setenv("NO_COLOR", colour)
        said[colour] = "".join(go(*args)[1:])
    assert ("\x1b[" in said[""]) == (args != ["probe", "--task", "alising"])  # one plain sentence
    assert "\x1b[3" not in said["1"]
    assert re.sub(r"\x1b\[[\d;]*m", "", said[""]) == re.sub(r"\x1b\[[\d;]*m", "", said["1"]) != ""


def test_no_color_is_heard_by_the_command_itself():
    coloured = command("probe", "plan", NO_COLOR="", FORCE_COLOR="1", TERM="xterm-256color")
    plain = command("probe", "plan", NO_COLOR="1", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[31m" in coloured.stderr
    assert "\x1b[3" not in plain.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for_shells(shell: str):
    done = command("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["probe", "label", "--task", "types"],
            "answers and activations are kept; the same command goes on from there",
        ),
        (
            ["--quiet", "attribute", "index", "testbed"],
            "what was finished is kept; the same command goes on from there",
        ),
        (["attribute", "verify", "x"], "nothing of it is kept; the same command begins anew"),
        (["unlearn", "--plant", "P1"], "as of its last check; the same command goes on"),
        (["probe", "fit"], "nothing of it is kept"),
        ([], "nothing of it is kept"),
    ],
)
def test_ctrl_c_says_what_is_kept(args: list[str], said: str):
    assert said in sentence(args)


def test_ctrl_c_in_a_command_exits_with_130_and_one_sentence(go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*args: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("probes.steps.label_step", interrupted)
    code, out, err = go("probe", "label", "--labels", labels(tmp_path / "a.jsonl"), "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err == ("ellora-trust: interrupted; answers and activations are kept; the same command goes on from there\n")


@pytest.mark.slow
def test_a_real_ctrl_c_ends_a_long_command_and_the_same_command_finishes_it(tiny_folder: Path, tmp_path: Path):
    asked = ["probe", "label", "--model", tiny_folder, "--labels", labels(tmp_path / "a.jsonl", 1500)]
    argv = [sys.executable, "-m", "ellora_trust", *map(str, asked), "--out", str(tmp_path / "run")]
    env = {**os.environ, "ELLORA_TRUST_CACHE": str(tmp_path / "cache")}
    running = subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_interruptible
    )
    while running.poll() is None and not list((tmp_path / "cache").rglob("shard-*.safetensors")):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("shard-*.safetensors")}
    assert running.returncode == 130, err
    assert err.splitlines()[-1].startswith("ellora-trust: interrupted; answers and activations are kept")
    assert "Traceback" not in err
    assert 0 < len(kept) < 24
    done = command(*asked, "--out", tmp_path / "run", ELLORA_TRUST_CACHE=str(tmp_path / "cache"))
    assert "1500 answers" in done.stdout
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("args", "code"),
    [(["tasks", "nonsense"], 2), (["probe", "--bogus"], 2), (["cache"], 0), (["show", "nowhere"], 2)],
)
def test_exit_codes_say_whose_fault_it_is(go, args: list[str], code: int):
    assert go(*args)[0] == code
