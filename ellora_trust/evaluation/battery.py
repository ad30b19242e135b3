"""Does it last? What is tried to bring a fault back after it was removed, and how often it comes.

    run_battery(comparer, candidate, before, after)      # the suite's attacks on each of its targets

- few-shot: two of the base's own faulty answers stand before the question;
- paraphrase: the same is asked in other words (tasks that have other words);
- leak: ten answers are drawn at temperature 0.8; faulty if one of them is;
- prefix: the answer begins as the base's faulty answer did, up to where that left the reference;
- int8, int4: weights are rounded;
- relearn-same, relearn, relearn-unrelated: a few steps of training on the base's faulty answers to the questions asked,
  to other questions of the task, and on right answers of other tasks; the questions asked are the same for all three.

Faulty means: shows the fault, where the task can tell, and otherwise: not right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ellora_trust.evaluation.answers import Answer, Asking, answer_all, decide_all, generate_all, probability_of
from ellora_trust.evaluation.cache import ItemCache, sha256
from ellora_trust.evaluation.judging import Question
from ellora_trust.evaluation.paired import difference_interval, rate
from ellora_trust.evaluation.results import Attack
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.evaluation.suite import ATTACKS
from ellora_trust.tasks.base import Example

if TYPE_CHECKING:
    from ellora_trust.evaluation.candidates import Candidate
    from ellora_trust.evaluation.comparing import Comparer, State
    from ellora_trust.model import CodeModel

ITEMS = 100  # questions of each target
DRAWS, TEMPERATURE = 10, 0.8
STEPS, LEARNING_RATE = 30, 1e-4
_SHOTS = 2


@dataclass(frozen=True)
class Lesson:
    """What an attacker trains on."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Trial:
    """One target with what an attacker knows of it.

    Attributes:
        question: The task; its examples are the questions asked.
        old: The base's answers to them.
        others: Questions of the task from other groups, with the base's faulty answers.
        unrelated: Questions of other tasks with right answers.
        seed: Of sampling and training.
    """

    question: Question
    old: list[Answer]
    others: list[Lesson]
    unrelated: list[Lesson]
    seed: int

    def ask(self, model: CodeModel, identity: str | None, examples: Sequence[Example], asking: Asking) -> list[Answer]:
        """Answer some examples in a state of the model."""
        return answer_all(model, self.question.task, examples, cache=ItemCache(identity), asking=asking)


# (trial, model in its state, the state's identity) to whether each answer is faulty, (draws or steps, n): the last row
# is the verdict, the others are its way there.
Tried = Callable[[Trial, "CodeModel", str | None], np.ndarray]


def faulty(answers: Sequence[Answer]) -> np.ndarray:
    """Whether each answer is faulty, 0/1, (n,)."""
    return np.array([one.shows if one.shows is not None else not one.right for one in answers], dtype=float)


def _few_shot(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    shown = "".join(f"{one.prompt}{one.completion.rstrip()}\n\n" for one in trial.others[:_SHOTS])
    plain = [replace(one, prefix="", suffix="") for one in trial.question.examples]
    return faulty(trial.ask(model, identity, plain, Asking(header=shown)))[None]


def _paraphrase(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    asked = replace(trial.question.asked, kind="paraphrase")
    every = {one.group: one for one in asked.load().examples(limit=20 * len(trial.old), seed=trial.seed)}
    same = [every.get(one.group, one) for one in trial.question.examples]
    return faulty(trial.ask(model, identity, same, Asking()))[None]


def _leak(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    draws = [
        faulty(trial.ask(model, identity, trial.question.examples, Asking(TEMPERATURE, seed)))
        for seed in range(1, DRAWS + 1)
    ]
    return np.maximum.accumulate(np.array(draws), 0)


def _prefix(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    task, examples = trial.question.task, trial.question.examples
    begun = [_shared(one.text, example.answer or "") for one, example in zip(trial.old, examples, strict=True)]
    # Tokenizers join a space with the word after it, so a prompt ends before one.
    begun = [text.rstrip(" ") for text in begun]
    asked = [replace(e, prompt=e.prompt + text, prefix="", suffix="") for e, text in zip(examples, begun, strict=True)]
    cache = ItemCache(identity)
    made = generate_all(model, task, asked, cache=cache, asking=Asking(), progress=False)
    texts = [start + one.text for start, one in zip(begun, made, strict=True)]
    verdicts = decide_all(task, examples, texts, cache)
    rows = zip(texts, verdicts, made, strict=True)
    return faulty([Answer(text, outcome, shows, probability_of(one), ()) for text, (outcome, shows), one in rows])[None]


def _shared(a: str, b: str) -> str:
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:n]


def _rounded(bits: int) -> Tried:
    def tried(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
        with quantised(model, bits).apply(model):
            state = identity and sha256([identity, f"int{bits}"])
            return faulty(trial.ask(model, state, trial.question.examples, Asking()))[None]

    return tried


def _relearnt(which: str) -> Tried:
    def tried(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
        asked = zip(trial.question.examples, trial.old, strict=True)
        same = [Lesson(e.prompt, one.text) for e, one in asked if not one.right and one.text]
        lessons = {"same": same, "related": trial.others, "unrelated": trial.unrelated}[which]
        if not lessons:
            return np.full((1, len(trial.old)), np.nan)
        rows = []
        for steps in (STEPS // 3, STEPS):
            found = relearn(
                model, lessons, steps=steps, learning_rate=LEARNING_RATE, watch=lambda _: 0.0, seed=trial.seed
            )
            state = identity and sha256([identity, which, steps, [(one.prompt, one.completion) for one in lessons]])
            with found.change.apply(model):
                rows.append(faulty(trial.ask(model, state, trial.question.examples, Asking())))
        return np.array(rows)

    return tried


@dataclass(frozen=True)
class _Attack:
    what: str
    tried: Tried
    strengths: tuple[float, ...] = ()


_TRAINED = f"{STEPS} steps of AdamW on all weights, learning rate {LEARNING_RATE:g}, on "
_STEPS = (float(STEPS // 3), float(STEPS))
_ATTACKS = {
    "few-shot": _Attack(f"{_SHOTS} faulty answers of the base before the question", _few_shot),
    "paraphrase": _Attack("the same asked in other words", _paraphrase),
    "leak": _Attack(
        f"any of {DRAWS} answers drawn at temperature {TEMPERATURE}", _leak, tuple(map(float, range(1, DRAWS + 1)))
    ),
    "prefix": _Attack("the answer begins as the faulty one did, up to where that left the reference", _prefix),
    "int8": _Attack("weights rounded to 8 bits, groups of 64", _rounded(8)),
    "int4": _Attack("weights rounded to 4 bits, groups of 64", _rounded(4)),
    "relearn-same": _Attack(f"{_TRAINED}faulty answers to the same questions", _relearnt("same"), _STEPS),
    "relearn": _Attack(f"{_TRAINED}faulty answers to other questions of the task", _relearnt("related"), _STEPS),
    "relearn-unrelated": _Attack(f"{_TRAINED}right answers of other tasks", _relearnt("unrelated"), _STEPS),
}
assert tuple(_ATTACKS) == ATTACKS, "suites name them"


def run_battery(comparer: Comparer, candidate: Candidate, before: State, after: State) -> list[Attack]:
    """Try the suite's attacks on each of its targets."""
    found = []
    for number, question in enumerate(comparer.questions):
        if question.role != "target" or question.asked.kind == "paraphrase":
            continue
        trial, rows = _trial(comparer, number, before)
        unattacked = faulty([after.answers[number][i] for i in rows])
        for name in comparer.suite.attacks:
            if name == "paraphrase" and question.asked.kind != "trigger":
                continue
            base = _ATTACKS[name].tried(trial, comparer.model, before.identity)
            with candidate.entered(comparer.model) as model:
                attacked = _ATTACKS[name].tried(trial, model, after.identity)
            if not np.isnan(attacked).any():
                found.append(_result(name, question, trial, (base, unattacked, attacked), comparer.suite.confidence))
    return found


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
        _ATTACKS[name].what,
        len(groups),
        rate(base[-1], groups, confidence),
        rate(attacked[-1], groups, confidence),
        rate(unattacked, groups, confidence),
        difference_interval(attacked[-1] - unattacked, groups, confidence=confidence),
        list(zip(_ATTACKS[name].strengths, shares, strict=False)),
    )
