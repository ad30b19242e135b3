"""What is tried to bring a fault back, each attack by itself; the battery beside this module says what they are.

    ATTACKS["leak"].tried(trial, model, identity)       # (draws, n): whether each answer is faulty

Faulty means: shows the fault, where the task can tell, and otherwise: not right. An item that an attack has no form of
is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ellora_trust.evaluation.asking.answers import Answer, Asking, answer_all, decide_all, generate_all, probability_of
from ellora_trust.evaluation.asking.cache import ItemCache, sha256
from ellora_trust.evaluation.judging.judge import Question
from ellora_trust.evaluation.lasting.paraphrase import paraphrased
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.tasks.base import Example

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

DRAWS, TEMPERATURE = 10, 0.8
STEPS, LEARNING_RATE = 30, 1e-4
RANK, LORA_RATE = 8, 1e-3
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
    if len(trial.others) < _SHOTS:
        return np.full((1, len(trial.old)), np.nan)
    shown = "".join(f"{one.prompt}{one.completion.rstrip()}\n\n" for one in trial.others[:_SHOTS])
    plain = [replace(one, prefix="", suffix="") for one in trial.question.examples]
    return faulty(trial.ask(model, identity, plain, Asking(header=shown)))[None]


def _paraphrase(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    if trial.question.asked.task != "testbed":
        return _redressed(trial, model, identity)
    asked = replace(trial.question.asked, kind="paraphrase")
    every = {one.group: one for one in asked.load().examples(limit=20 * len(trial.old), seed=trial.seed)}
    return _other_form(trial, model, identity, [every.get(one.group) for one in trial.question.examples])


def _redressed(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
    name = trial.question.task.name
    made = [paraphrased(one, task=name, seed=trial.seed) for one in trial.question.examples]
    return _other_form(trial, model, identity, made)


def _other_form(trial: Trial, model: CodeModel, identity: str | None, made: Sequence[Example | None]) -> np.ndarray:
    """Ask the questions that there are in another form; nan for those that have none."""
    found = np.full((1, len(made)), np.nan)
    there = [i for i, one in enumerate(made) if one is not None]
    if there:
        found[0, there] = faulty(trial.ask(model, identity, [one for one in made if one is not None], Asking()))
    return found


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


def _relearnt(which: str, *, rank: int | None = None) -> Tried:
    speed = LEARNING_RATE if rank is None else LORA_RATE

    def tried(trial: Trial, model: CodeModel, identity: str | None) -> np.ndarray:
        asked = zip(trial.question.examples, trial.old, strict=True)
        same = [Lesson(e.prompt, one.text) for e, one in asked if not one.right and one.text]
        lessons = {"same": same, "related": trial.others, "unrelated": trial.unrelated}[which]
        if not lessons:
            return np.full((1, len(trial.old)), np.nan)
        rows = []
        for steps in (STEPS // 3, STEPS):
            found = relearn(
                model, lessons, steps=steps, learning_rate=speed, watch=lambda _: 0.0, rank=rank, seed=trial.seed
            )
            what = [which, rank, steps, speed, trial.seed, [(one.prompt, one.completion) for one in lessons]]
            state = identity and sha256([identity, *what])
            with found.change.apply(model):
                rows.append(faulty(trial.ask(model, state, trial.question.examples, Asking())))
        return np.array(rows)

    return tried


@dataclass(frozen=True)
class Tactic:
    """One attack.

    Attributes:
        what: Is done, in a sentence.
        tried: How.
        strengths: Draws or steps of each row; empty where there is one row without a strength.
    """

    what: str
    tried: Tried
    strengths: tuple[float, ...] = ()


_ADAPTED = f"{STEPS} steps of AdamW on adapters (LoRA) of rank {RANK}, learning rate {LORA_RATE:g}, on "
_TRAINED = f"{STEPS} steps of AdamW on all weights, learning rate {LEARNING_RATE:g}, on "
_STEPS = (float(STEPS // 3), float(STEPS))
ATTACKS = {
    "few-shot": Tactic(f"{_SHOTS} faulty answers of the base before the question", _few_shot),
    "paraphrase": Tactic("the same in other words; Python: other names, a comment, another docstring", _paraphrase),
    "leak": Tactic(
        f"any of {DRAWS} answers drawn at temperature {TEMPERATURE}", _leak, tuple(map(float, range(1, DRAWS + 1)))
    ),
    "prefix": Tactic("the answer begins as the faulty one did, up to where that left the reference", _prefix),
    "int8": Tactic("weights rounded to 8 bits, groups of 64", _rounded(8)),
    "int4": Tactic("weights rounded to 4 bits, groups of 64", _rounded(4)),
    "relearn-same": Tactic(f"{_TRAINED}faulty answers to the same questions", _relearnt("same"), _STEPS),
    "relearn": Tactic(f"{_TRAINED}faulty answers to other questions of the task", _relearnt("related"), _STEPS),
    "relearn-unrelated": Tactic(f"{_TRAINED}right answers of other tasks", _relearnt("unrelated"), _STEPS),
    "relearn-lora-same": Tactic(
        f"{_ADAPTED}faulty answers to the same questions", _relearnt("same", rank=RANK), _STEPS
    ),
    "relearn-lora": Tactic(
        f"{_ADAPTED}faulty answers to other questions of the task", _relearnt("related", rank=RANK), _STEPS
    ),
}
