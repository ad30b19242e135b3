"""Several answers to each question: different ones, decided as the task decides, by question and temperature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ellora_trust.errors import InputError
from ellora_trust.labeling import label
from ellora_trust.model import CodeModel
from ellora_trust.tasks.aliasing.task import AliasingTask
from ellora_trust.tasks.base import Example, Outcome, Task
from probes.fitting.success_rate import evaluate_rate
from probes.steps import extract_step, label_step
from probes.steps.job import ProbeJob
from probes.steps.run_folder import RunFolder
from probes.steps.sampling import Repeated, Sampling, label_samples, questions


class Odd(Task):
    """Right where the first character's code is odd, which a random model gets by chance; knows its examples by id."""

    name, max_new_tokens, stop = "odd", 3, ()

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        made = [Example(f"e{i}", f"g{i // 2}", f"x = {i} + {i % 7} # ", meta={"parity": i % 2}) for i in range(40)]
        return made[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        assert example.id in {f"e{i}" for i in range(40)}
        return Outcome.CORRECT if completion and ord(completion[0]) % 2 else Outcome.WRONG

    def datasheet(self) -> str:
        return "made"


def test_each_question_gets_different_answers_that_another_batching_does_not_change(tiny: CodeModel):
    found = label_samples(tiny, Odd(), Sampling(4, (0.8,)), limit=10)
    assert len(found.examples) == 40
    texts = np.array([g.text for g in found.generations]).reshape(10, 4)
    assert all(len(set(row)) > 1 for row in texts.tolist())
    again = label_samples(tiny, Odd(), Sampling(4, (0.8,)), limit=10)
    assert [g.text for g in again.generations] == texts.ravel().tolist()


def test_one_greedy_answer_is_what_label_gives(tiny: CodeModel):
    plain = label(tiny, Odd(), limit=10)
    found = label_samples(tiny, Odd(), Sampling(), limit=10)
    assert [g.text for g in found.generations] == [g.text for g in plain.generations]
    assert found.outcomes == plain.outcomes


def test_rows_know_their_question_temperature_and_group(tiny: CodeModel):
    found = label_samples(tiny, Odd(), Sampling(2, (0.5, 1.0)), limit=6, sites="resid.*", positions=["prompt_end"])
    assert len({example.id for example in found.examples}) == 24
    assert found.activations.vectors("resid.1", "prompt_end").shape[0] == 24
    assert [example.meta["temperature"] for example in found.examples] == [0.5] * 12 + [1.0] * 12
    assert found.examples[0].meta["parity"] == 0
    assert sorted(set(questions(found).tolist()))[:2] == ["e0@0.5", "e0@1.0"]
    assert {e.group for e in found.examples if e.meta["question"] == "e1"} == {"g0"}


def test_the_rate_is_predicted_from_such_rows_beside_its_baselines(tiny: CodeModel):
    found = label_samples(tiny, Odd(), Sampling(3, (1.0,)), sites="resid.*", positions=["prompt_end"])
    score = evaluate_rate(found, questions(found), n_resamples=50)
    assert len(score.rate) == 40
    by_hand = np.array([bool(bad) for bad in found.wrong]).reshape(40, 3).mean(1)
    by_name = dict(zip(score.problems, score.rate, strict=True))
    assert [by_name[f"e{i}@1.0"] for i in range(40)] == pytest.approx(by_hand)
    assert score.baseline_auroc is not None
    assert score.baseline_auroc.n == 120
    assert score.table()[0][0] == "AUROC of a sample's outcome"


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="temperature 0 gives 3 equal answers"):
        Sampling(3)
    with pytest.raises(InputError, match=r"samples=0 is out of range"):
        Sampling(0)
    with pytest.raises(InputError, match="give one or more different ones"):
        Sampling(1, (0.5, 0.5))
    with pytest.raises(InputError, match=r"answers.jsonl has answers already; --samples and --temperature"):
        ProbeJob(labels="answers.jsonl", sampling=Sampling(2, (0.8,)))


def test_a_set_of_single_answers_has_no_rate(tiny: CodeModel):
    with pytest.raises(InputError, match="odd has one answer to each question; label it with --samples 5"):
        questions(label(tiny, Odd(), limit=4))


def test_a_run_folder_labels_samples_and_takes_their_activations_again(tmp_path: Path, tiny_folder: Path):
    job = ProbeJob(model=str(tiny_folder), tasks=("aliasing",), limit=3, sampling=Sampling(2, (0.7,)))
    run = label_step(job, RunFolder(tmp_path / "run"))
    assert run.tasks["aliasing"].n == 6
    rows = [json.loads(line) for line in (tmp_path / "run" / "labels-aliasing.jsonl").read_text().splitlines()]
    assert {row["example"]["meta"]["temperature"] for row in rows} == {0.7}
    folder = RunFolder(tmp_path / "run")
    before = folder.read_labels("aliasing", activations=True).activations.vectors("resid.1", "answer")
    extract_step(folder, again=True)
    after = folder.read_labels("aliasing", activations=True).activations.vectors("resid.1", "answer")
    assert (before - after).norm() <= 1e-4 * before.norm()


def test_the_real_tasks_decide_repeated_examples_as_their_own():
    task = AliasingTask()
    own = task.examples(limit=3, seed=0)
    repeated = Repeated(task, 2, 0.8)
    asked = repeated.examples(limit=3, seed=0)
    answers = [str(own[i // 2].answer) for i in range(6)]
    assert repeated.decide_all(asked, answers) == [Outcome.CORRECT] * 6
    assert repeated.decide(asked[0], " no such value") is task.decide(own[0], " no such value")
