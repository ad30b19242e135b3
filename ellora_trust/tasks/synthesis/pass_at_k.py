"""pass@k: how likely is it that one of k samples is right? Unbiased, with an interval over problem groups.

    drawn = sample(model, SynthesisTask(), n=10, temperature=0.8)
    print(drawn.pass_at_k(1), drawn.pass_at_k(10))     # each with its interval
    pass_at_k([3, 0, 10], n=10, k=1)                   # 0.4333...

For k = 1 every sample counts alike, so pass@1 is the share of right samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.stats.pass_at_k import pass_at_k as one_problem
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from ellora_trust.decoding import Generation
    from ellora_trust.model import CodeModel
    from ellora_trust.prompts import Format


def pass_at_k_each(correct: Sequence[int], n: int | Sequence[int], k: int) -> NDArray[np.float64]:
    """Return pass@k of each problem, (n_problems,), in [0, 1].

    Args:
        correct: Right samples of each problem, 0..n.
        n: Samples, of every problem or of each, at least k.
        k: How many samples may be tried, >= 1.

    Raises:
        InputError: No problem, or a number out of range.
    """
    samples = [n] * len(correct) if isinstance(n, int) else list(n)
    if not correct or len(samples) != len(correct):
        raise InputError(f"{len(correct)} counts for {len(samples)} problems; give one count a problem, at least one")
    return np.array([one_problem(total, c, k) for c, total in zip(correct, samples, strict=True)], dtype=np.float64)


def pass_at_k(correct: Sequence[int], n: int | Sequence[int], k: int) -> float:
    """Return pass@k, the mean of `pass_at_k_each` over the problems, in [0, 1]."""
    return float(pass_at_k_each(correct, n, k).mean())


@dataclass(frozen=True)
class Samples:
    """Several answers to each question, with their outcomes.

    Attributes:
        name: The task.
        examples: The questions, (n_problems,).
        generations: The answers to each, (n_problems, n).
        outcomes: The oracle's verdicts, (n_problems, n).
        temperature: At which they were drawn.
        seed: Of the sampling.
        prompt_format: How the questions were put, such as `plain`.
    """

    name: str
    examples: list[Example]
    generations: list[list[Generation]]
    outcomes: list[list[Outcome]]
    temperature: float
    seed: int = 0
    prompt_format: str = "plain"

    @property
    def correct(self) -> list[int]:
        """Right answers to each question."""
        return [sum(outcome is Outcome.CORRECT for outcome in row) for row in self.outcomes]

    @property
    def decided(self) -> list[int]:
        """Answers to each question whose outcome counts; flaky and undecided ones do not."""
        return [sum(outcome.decided for outcome in row) for row in self.outcomes]

    def pass_at_k(self, k: int, *, n_resamples: int = 1000, seed: int = 0, confidence: float = 0.95) -> Estimate:
        """Return pass@k with a percentile interval over resampled problem groups.

        Questions with fewer than k decided answers are left out; `Estimate.n` says how many remain. The interval
        covers the choice of problems, not the luck of the n samples of each.

        Args:
            k: How many samples may be tried, >= 1.
            n_resamples: Resamples of the groups.
            seed: Of the resamples.
            confidence: Coverage, (0, 1).

        Raises:
            InputError: k exceeds the decided answers of every question, or fewer than 2 groups remain.
        """
        kept = [i for i, decided in enumerate(self.decided) if decided >= k]
        if not kept:
            most = max(self.decided, default=0)
            raise InputError(f"k={k} needs {k} decided samples of a problem, and there are at most {most}; draw more")
        values = pass_at_k_each([self.correct[i] for i in kept], [self.decided[i] for i in kept], k)
        groups = [self.examples[i].group for i in kept]
        settings = {"n_resamples": n_resamples, "seed": seed}
        return group_bootstrap(np.mean, [values], groups, confidence=confidence, **settings)


def sample(
    model: CodeModel,
    task: Task,
    *,
    n: int,
    temperature: float = 0.8,
    limit: int | None = None,
    seed: int = 0,
    format: Format = "auto",
    store: Path | None = None,
    progress: bool = False,
) -> Samples:
    """Draw n answers to each of a task's questions and decide them.

    Plain sampling from the softmax; the paper adds nucleus sampling (top-p 0.95) and the best temperature for each k.

    Args:
        model: The model.
        task: The questions and their oracle.
        n: Answers to each, >= 1.
        temperature: Above 0 where n is above 1, since greedy answers are all the same.
        limit: At most this many questions; None takes all.
        seed: Of the choice of questions and of sampling.
        format: How the question is put.
        store: Folder for shards, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: n or the temperature is out of range, the task has no examples, or a question is too long.
    """
    if n < 1:
        raise InputError(f"n={n} samples are no sample; use at least 1")
    if n > 1 and temperature <= 0:
        raise InputError(f"temperature {temperature} gives {n} equal answers; use a number above 0, or n=1")
    from ellora_trust.decoding import Decoding
    from ellora_trust.positions import Passage
    from ellora_trust.prompts import render
    from ellora_trust.runs import run

    examples = task.examples(limit=limit, seed=seed)
    if not examples:
        raise InputError(f"task {task.name!r} has no examples here; see: ellora-trust tasks {task.name}")
    rendered = [render(model, example, format=format, header=task.header) for example in examples]
    passages = [Passage(one.text) for one in rendered for _ in range(n)]
    decoding = Decoding(task.max_new_tokens, task.stop, temperature, seed)
    drawn = run(
        model, passages, decoding=decoding, store=store, progress=progress, label=f"sampling {task.name}"
    ).generations
    generations = [drawn[i : i + n] for i in range(0, len(drawn), n)]
    outcomes = _outcomes(task, examples, generations)
    formats = ", ".join(sorted({one.format for one in rendered}))
    return Samples(task.name, examples, generations, outcomes, temperature, seed, formats)


def _outcomes(
    task: Task, examples: Sequence[Example], generations: Sequence[Sequence[Generation]]
) -> list[list[Outcome]]:
    """Decide every answer, and equal answers to one question once."""
    texts = [[generation.text for generation in row] for row in generations]
    different = list(dict.fromkeys((i, text) for i, row in enumerate(texts) for text in row))
    decided = task.decide_all([examples[i] for i, _ in different], [text for _, text in different])
    found = dict(zip(different, decided, strict=True))
    return [[found[i, text] for text in row] for i, row in enumerate(texts)]
