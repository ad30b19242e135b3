"""An independent model's opinion is its own log-probability of the very same answers, kept and never mixed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_model

from ellora_trust.errors import InputError
from ellora_trust.labeling import label_given
from ellora_trust.model import CodeModel
from ellora_trust.tasks.base import Example
from probes import Settings, evaluate
from probes.fitting.opinion import Opinion, opinion_of
from probes.steps import eval_step, label_step, stored_job
from probes.steps.job import ProbeJob
from probes.steps.opinion import opinion_step
from probes.steps.run_folder import RunFolder

QUICK = Settings(strengths=(0.01, 0.1), n_components=8)
N = 80


@pytest.fixture(scope="module")
def judge() -> CodeModel:
    """Another family with other random weights."""
    return make_model("gpt2", seed=3)


@pytest.fixture(scope="module")
def labelled(tiny: CodeModel):
    examples = [Example(f"e{i}", f"g{i // 2}", f"x = {i} + {i % 7} # ") for i in range(N)]
    answers = [f"{i * 37 % 100}" for i in range(N)]
    wrong = [i * 7 % 5 < 2 for i in range(N)]
    return label_given(tiny, "made", examples, answers, wrong, sites="resid.*", positions=["prompt_end", "answer"])


def by_hand(model: CodeModel, prompt: str, answer: str) -> float:
    """Log-probability of an answer in one plain forward pass."""
    first, second = (model.tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, answer))
    ids = torch.tensor([[*first, *second]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model.hf(ids).logits[0], -1)
    return sum(float(logprobs[len(first) + i - 1, token]) for i, token in enumerate(second))


def test_an_opinion_is_the_log_probability_of_a_plain_forward_pass(labelled, judge: CodeModel):
    opinion = opinion_of(judge, labelled)
    columns = opinion.columns(np.arange(N))
    expected = [by_hand(judge, e.prompt, g.text) for e, g in zip(labelled.examples, labelled.generations, strict=True)]
    assert columns["opinion of tiny-gpt2 (sum)"] == pytest.approx(-np.array(expected), abs=1e-3)
    lengths = [len(one) for one in opinion.logprobs]
    assert columns["opinion of tiny-gpt2 (mean)"] == pytest.approx(-np.array(expected) / lengths, abs=1e-3)


def test_an_opinion_differs_from_the_answering_models_own(labelled, judge: CodeModel):
    own = np.array([-sum(g.logprobs) for g in labelled.generations])
    theirs = opinion_of(judge, labelled).columns(np.arange(N))["opinion of tiny-gpt2 (sum)"]
    assert abs(np.corrcoef(own, theirs)[0, 1]) < 0.9


def test_it_is_a_baseline_on_the_very_rows_of_the_probe_and_wins_where_it_knows(labelled, judge: CodeModel):
    plain = evaluate(labelled, settings=QUICK, n_permutations=2, n_controls=2)
    assert not any("opinion" in name for name in plain.baselines)
    # A judge that knows: what is wrong is improbable to it.
    knowing = replace(opinion_of(judge, labelled), logprobs=[[-1.0 - 5.0 * bad] for bad in labelled.wrong])
    told = evaluate(labelled, settings=QUICK, n_permutations=2, n_controls=2, opinion=knowing)
    assert told.best_baseline == "opinion of tiny-gpt2 (sum)"
    assert told.baselines[told.best_baseline].value == 1.0
    assert told.baselines[told.best_baseline].n == told.probe.n == N
    assert told.gain_over_baseline.high < 0
    assert told.probe == plain.probe


def test_an_opinion_of_other_answers_is_refused(labelled, judge: CodeModel):
    other = replace(opinion_of(judge, labelled), sha256="of other answers")
    with pytest.raises(InputError, match=r"the opinion of tiny-gpt2 is about 80 other answers than these 80 of made"):
        evaluate(labelled, settings=QUICK, opinion=other)


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path, labelled) -> RunFolder:
    rows = [
        {"prompt": e.prompt, "answer": g.text, "wrong": bool(bad), "group": e.group}
        for e, g, bad in zip(labelled.examples, labelled.generations, labelled.wrong, strict=True)
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    job = ProbeJob(model=str(tiny_folder), labels=str(tmp_path / "answers.jsonl"), permutations=2)
    label_step(job, RunFolder(tmp_path / "run"))
    return RunFolder(tmp_path / "run")


@pytest.fixture
def judge_folder(tmp_path: Path, judge: CodeModel) -> str:
    judge.hf.save_pretrained(tmp_path / "small-judge")
    judge.tokenizer.save_pretrained(tmp_path / "small-judge")
    return str(tmp_path / "small-judge")


def test_a_run_folder_keeps_the_opinion_and_asks_once(
    folder: RunFolder, judge_folder: str, monkeypatch: pytest.MonkeyPatch
):
    job = replace(stored_job(folder), permutations=2, opinion=judge_folder)
    found = eval_step(folder, job)[0]
    assert {"opinion of small-judge (sum)", "opinion of small-judge (mean)"} <= set(found.baselines)
    kept = Opinion.from_dict(json.loads((folder.path / "opinion-answers.json").read_text()))
    assert len(kept.logprobs) == N

    def asked_again(*_, **__):
        raise AssertionError("this opinion is in the folder")

    monkeypatch.setattr("probes.steps.opinion.opinion_of", asked_again)
    said: list[str] = []
    assert opinion_step(folder, judge_folder, say=said.append)["answers"] == kept
    assert said == ["answers: the opinion of small-judge is there already"]
    # Evaluations with and without it are different ones.
    assert eval_step(folder, job, say=said.append)[0].baselines.keys() == found.baselines.keys()
    assert "is evaluated already" in said[-1]
    assert "opinion of small-judge (sum)" not in eval_step(folder, replace(job, opinion=None))[0].baselines


def test_a_damaged_opinion_is_taken_again(folder: RunFolder, judge_folder: str):
    first = opinion_step(folder, judge_folder)["answers"]
    (folder.path / "opinion-answers.json").write_text("{")
    assert opinion_step(folder, judge_folder)["answers"] == first


def test_the_model_that_answered_is_no_independent_one(folder: RunFolder):
    with pytest.raises(InputError, match="is the model that answered; its own log-probability is among the baselines"):
        opinion_step(folder, stored_job(folder).model)
