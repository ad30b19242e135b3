"""Does it last? What is tried to bring a fault back after it was removed, and how often it comes.

    run_battery(comparer, candidate, before, after)      # the suite's attacks on each of its targets

- few-shot: two of the base's own faulty answers stand before the question;
- paraphrase: the same is asked in other words: the testbed's own, and of Python programs other names of variables, a
  comment and another wording of the docstring (`ellora_trust.evaluation.lasting.paraphrase`);
- leak: ten answers are drawn at temperature 0.8; faulty if one of them is;
- prefix: the answer begins as the base's faulty answer did, up to where that left the reference;
- int8, int4: weights are rounded;
- relearn-same, relearn, relearn-unrelated: a few steps of training on the base's faulty answers to the questions asked,
  to other questions of the task, and on right answers of other tasks; the questions asked are the same for all three;
- relearn-lora-same, relearn-lora: the first two by low-rank adapters, as most who fine-tune a model would.

Faulty means: shows the fault, where the task can tell, and otherwise: not right.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ellora_trust.evaluation.asking.suite import ATTACKS
from ellora_trust.evaluation.judging.judge import Question
from ellora_trust.evaluation.judging.paired import difference_interval, rate
from ellora_trust.evaluation.judging.results import Attack
from ellora_trust.evaluation.lasting import attacks
from ellora_trust.evaluation.lasting.attacks import Lesson, Trial, faulty

if TYPE_CHECKING:
    from ellora_trust.evaluation.changes.candidates import Candidate
    from ellora_trust.evaluation.comparing import Comparer, State

ITEMS = 100  # questions of each target
assert tuple(attacks.ATTACKS) == ATTACKS, "suites name them"


def run_battery(comparer: Comparer, candidate: Candidate, before: State, after: State) -> list[Attack]:
    """Try the suite's attacks on each of its targets."""
    found = []
    for number, question in enumerate(comparer.questions):
        if question.role != "target" or question.asked.kind == "paraphrase":
            continue
        trial, rows = _trial(comparer, number, before)
        unattacked = faulty([after.answers[number][i] for i in rows])
        for name in comparer.suite.attacks:
            if name == "paraphrase" and question.asked.task == "testbed" and question.asked.kind != "trigger":
                continue
            base = attacks.ATTACKS[name].tried(trial, comparer.model, before.identity)
            with candidate.entered(comparer.model) as model:
                attacked = attacks.ATTACKS[name].tried(trial, model, after.identity)
            kept = np.asarray(~np.isnan(attacked).any(0))
            told = _of(trial, kept)
            if len({one.group for one in told.question.examples}) > 1:
                rows = base[:, kept], unattacked[kept], attacked[:, kept]
                found.append(_result(name, question, told, rows, comparer.suite.confidence))
    return found


def _of(trial: Trial, kept: np.ndarray) -> Trial:
    """Return the trial with the questions that an attack had a form of."""
    examples = [one for one, there in zip(trial.question.examples, kept, strict=True) if there]
    return replace(trial, question=replace(trial.question, examples=examples))


def _trial(comparer: Comparer, number: int, before: State) -> tuple[Trial, list[int]]:
    """Return the trial of one target and the rows asked: of every second group; relearning is taught the others."""
    question, answers = comparer.questions[number], before.answers[number]
    groups = list(dict.fromkeys(one.group for one in question.examples))
    asked = set(groups[::2])
    rows = [i for i, one in enumerate(question.examples) if one.group in asked][:ITEMS]
    others = [
        Lesson(one.prompt, answer.text)
        for one, answer in zip(question.examples, answers, strict=True)
        if one.group not in asked and answer.text and faulty([answer])[0]
    ]
    unrelated = [
        Lesson(one.prompt, answer.text)
        for other, given in zip(comparer.questions, before.answers, strict=True)
        if other.role == "collateral"
        for one, answer in zip(other.examples, given, strict=True)
        if answer.right and answer.text
    ]
    chosen = replace(question, examples=[question.examples[i] for i in rows])
    trial = Trial(chosen, [answers[i] for i in rows], others, unrelated[: len(others)], comparer.suite.seed)
    return trial, rows


def _result(
    name: str,
    question: Question,
    trial: Trial,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    confidence: float,
) -> Attack:
    base, unattacked, attacked = rows
    groups = np.array([one.group for one in trial.question.examples])
    shares = attacked.mean(1).tolist()
    return Attack(
        name,
        question.asked.name,
        attacks.ATTACKS[name].what,
        len(groups),
        rate(base[-1], groups, confidence),
        rate(attacked[-1], groups, confidence),
        rate(unattacked, groups, confidence),
        difference_interval(attacked[-1] - unattacked, groups, confidence=confidence),
        list(zip(attacks.ATTACKS[name].strengths, shares, strict=False)),
    )
