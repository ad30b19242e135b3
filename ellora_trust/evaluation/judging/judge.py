"""From answers before and after to results: one task's, and the unrelated text's.

question = Question.ask("target", Asked.parse("testbed:trigger"), suite)
task_result(question, before, after, suite)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.asking.cache import sha256
from ellora_trust.evaluation.asking.suite import Asked, Role, Suite
from ellora_trust.evaluation.asking.text import Piece, pieces_hash
from ellora_trust.evaluation.judging.calibration import answer_calibration, predictor_calibration
from ellora_trust.evaluation.judging.effect import target_effect
from ellora_trust.evaluation.judging.measures import StateReading, divergence
from ellora_trust.evaluation.judging.paired import pair, rate
from ellora_trust.evaluation.judging.results import Flip, TaskResult, TextResult
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.tasks.base import Example, Task

# Flipped items that are kept with their answers, each way.
MAX_FLIPS = 20
Risks = np.ndarray | None


@dataclass(frozen=True)
class Question:
    """A task with the questions that are asked of it.

    Attributes:
        role: What part it plays.
        asked: How it is named.
        task: Its oracle.
        examples: The questions.
    """

    role: Role
    asked: Asked
    task: Task
    examples: list[Example]

    @classmethod
    def ask(cls, role: Role, asked: Asked, suite: Suite) -> Question:
        """Take the task's questions.

        Raises:
            InputError: The task has fewer than two groups of them.
        """
        task = asked.load()
        examples = task.examples(limit=asked.limit or suite.limit, seed=suite.seed)
        if len({one.group for one in examples}) < 2:
            raise InputError(
                f"task {asked.name!r} has {len(examples)} questions here in fewer than 2 groups; raise the limit, or "
                "leave it out"
            )
        return cls(role, asked, task, examples)

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self.asked.name


class Posed(Protocol):
    """What a task's result says of the questions."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def examples(self) -> list[Example]: ...


def task_result(
    question: Posed,
    before: Sequence[Answer],
    after: Sequence[Answer],
    suite: Suite,
    risks: tuple[Risks, Risks] = (None, None),
) -> TaskResult:
    """Compare the answers to one task.

    Raises:
        InputError: Fewer than two groups of items were decided both times.
    """
    kept = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.outcome.decided and b.outcome.decided]
    examples = [question.examples[i] for i in kept]
    a, b = ([side[i] for i in kept] for side in (before, after))
    groups = np.array([one.group for one in examples])
    if len(set(groups.tolist())) < 2:
        raise InputError(f"of {question.name} only {len(kept)} items were decided; see its oracle")
    paired = pair(_right(a), _right(b), groups, margin=suite.margin, confidence=suite.confidence, seed=suite.seed)
    # What the harness generates comes without probabilities.
    known = not any(math.isnan(one.probability) for one in (*a, *b))
    calibration = [answer_calibration(a, b, groups, suite.confidence)] if known else []
    if risks[0] is not None and risks[1] is not None:
        both = risks[0][kept], risks[1][kept]
        calibration += predictor_calibration(both, (1 - _right(a), 1 - _right(b)), groups, suite.confidence)
    return TaskResult(
        question.name,
        question.role,
        len(kept),
        len(set(groups.tolist())),
        len(before) - len(kept),
        _counts(before),
        _counts(after),
        paired,
        target_effect(examples, a, b) if question.role == "target" else None,
        calibration,
        _flips(examples, a, b),
        sha256([(one.id, one.prompt) for one in question.examples]),
    )


def _right(answers: Sequence[Answer]) -> np.ndarray:
    return np.array([one.right for one in answers], dtype=int)


def _counts(answers: Sequence[Answer]) -> dict[str, int]:
    return dict(Counter(str(one.outcome) for one in answers).most_common())


def _flips(examples: Sequence[Example], before: Sequence[Answer], after: Sequence[Answer]) -> list[Flip]:
    found = [
        Flip(one.id, one.prompt, a.text, b.text, str(a.outcome), str(b.outcome), one.answer)
        for one, a, b in zip(examples, before, after, strict=True)
        if a.right != b.right
    ]
    fixed, broken = ([one for one in found if one.fixed is way][:MAX_FLIPS] for way in (True, False))
    return fixed + broken


def text_result(suite: Suite, pieces: Sequence[Piece], before: StateReading, after: StateReading) -> TextResult:
    """Compare bits per byte and next tokens on unrelated text, with intervals over its sources."""
    groups = np.array([piece.group for piece in pieces])
    kl, same = divergence(before, after)
    size, level = before.n_bytes, suite.confidence

    def bootstrap(statistic: Callable[..., float], *arrays: np.ndarray) -> Estimate:
        return group_bootstrap(statistic, arrays, groups, confidence=level, seed=suite.seed)

    return TextResult(
        suite.text,
        len(pieces),
        bootstrap(_ratio, before.bits, size),
        bootstrap(_ratio, after.bits, size),
        bootstrap(_relative, before.bits, after.bits),
        bootstrap(_mean, kl),
        rate(same, groups, level),
        pieces_hash(pieces),
    )


def _ratio(bits: np.ndarray, size: np.ndarray) -> float:
    return float(bits.sum() / size.sum())


def _relative(before: np.ndarray, after: np.ndarray) -> float:
    return float(after.sum() / before.sum() - 1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean())
