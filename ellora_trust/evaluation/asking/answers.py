"""What a state of a model answers to a task, item by item, and whether that is right.

    answers = answer_all(model, task, examples, cache=ItemCache(state_of(model)))
    answers[0].outcome, answers[0].text, answers[0].probability

Every answer and every verdict is kept in the cache as soon as its batch is done, so that a killed run goes on where it
stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ellora_trust.decoding import Decoding, Generation
from ellora_trust.evaluation.asking.cache import ItemCache, sha256
from ellora_trust.positions import Passage
from ellora_trust.progress import Progress
from ellora_trust.prompts import render
from ellora_trust.runs import run
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.testbed.oracle import Judgement

# Items between two writes to the cache.
CHUNK = 64
# Verdicts that depend on how busy the machine is.
_NOT_KEPT = (Outcome.TIMEOUT, Outcome.FLAKY, Outcome.UNDECIDED)


@runtime_checkable
class TellsFault(Protocol):
    """A task that tells the fault it is about from any other error."""

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Judgement]: ...


@dataclass(frozen=True)
class Answer:
    """One answer with its verdict.

    Attributes:
        text: Of the answer.
        outcome: The oracle's verdict.
        shows: Whether it does what the fault does that the task is about; None where the task cannot tell.
        probability: Geometric mean of the probabilities of its tokens, [0, 1].
        tokens: Ids of the tokens that make up the text.
    """

    text: str
    outcome: Outcome
    shows: bool | None
    probability: float
    tokens: tuple[int, ...]

    @property
    def right(self) -> bool:
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True)
class Asking:
    """How questions are put, beside what the task says.

    Attributes:
        temperature: 0 is greedy.
        seed: Of the sampling.
        header: Text put before every prompt, after the task's own.
        token_budget: Padded tokens in a batch; the model's own if None.
        chunk: Items between two writes to the cache; they share batches.
    """

    temperature: float = 0.0
    seed: int = 0
    header: str = ""
    token_budget: int | None = None
    chunk: int = CHUNK


def answer_all(
    model: CodeModel,
    task: Task,
    examples: Sequence[Example],
    *,
    cache: ItemCache,
    asking: Asking | None = None,
    progress: bool = False,
) -> list[Answer]:
    """Answer every example and decide every answer.

    Args:
        model: In the state that `cache` is of.
        task: The questions' task.
        examples: The questions.
        cache: Of this state of the model.
        asking: How they are put.
        progress: Show a progress bar.

    Raises:
        InputError: A question is longer than the model's context.
    """
    asking = asking or Asking()
    done = generate_all(model, task, examples, cache=cache, asking=asking, progress=progress)
    verdicts = decide_all(task, examples, [one.text for one in done], cache)
    return [
        Answer(one.text, outcome, shows, probability_of(one), tuple(one.tokens[: one.n_answer]))
        for one, (outcome, shows) in zip(done, verdicts, strict=True)
    ]


def probability_of(generation: Generation) -> float:
    """Return the geometric mean of the probabilities of an answer's tokens, its end included, [0, 1]."""
    values = generation.logprobs
    return math.exp(min(sum(values) / len(values), 0.0)) if values else 1.0


def generate_all(
    model: CodeModel, task: Task, examples: Sequence[Example], *, cache: ItemCache, asking: Asking, progress: bool
) -> list[Generation]:
    """Return an answer to each example, from the cache where it is known."""
    decoding = Decoding(task.max_new_tokens, task.stop, asking.temperature, asking.seed)
    texts = [render(model, example, header=task.header + asking.header).text for example in examples]
    keys = [_answer_key(text, decoding, number) for number, text in enumerate(texts)]
    known = cache.get(keys)
    missing = [i for i, key in enumerate(keys) if key not in known]
    if asking.temperature > 0 and missing:
        # A row's stream depends on its number in the run: sampled answers are made all together.
        missing = list(range(len(texts)))
    size = len(texts) if asking.temperature > 0 else asking.chunk
    with Progress(len(missing), f"answering {task.name}", enabled=progress) as bar:
        for start in range(0, len(missing), max(size, 1)):
            part = missing[start : start + size]
            passages = [Passage(texts[i]) for i in part]
            made = run(model, passages, decoding=decoding, token_budget=asking.token_budget).generations
            fresh = {keys[i]: one.to_dict() for i, one in zip(part, made, strict=True)}
            cache.put(fresh)
            known.update(fresh)
            bar.advance(len(part))
    return [Generation(**known[key]) for key in keys]


def _answer_key(text: str, decoding: Decoding, number: int) -> str:
    how = asdict(decoding)
    if decoding.temperature == 0:
        how["seed"] = number = 0
    return sha256(["answer", text, how, number])


def decide_all(
    task: Task, examples: Sequence[Example], texts: Sequence[str], cache: ItemCache
) -> list[tuple[Outcome, bool | None]]:
    """Return verdict and presence of the task's fault, from the cache where they are known."""
    from ellora_trust.artifacts import versions

    judge = {"task": task.name, "oracle": task.oracle(), "library": versions()["ellora-trust"]}
    keys = [
        sha256(["verdict", judge, example.id, example.prompt, example.answer, text])
        for example, text in zip(examples, texts, strict=True)
    ]
    known = cache.get(keys)
    missing = [i for i, key in enumerate(keys) if key not in known]
    if missing:
        found = _decide(task, [examples[i] for i in missing], [texts[i] for i in missing])
        fresh = {keys[i]: [str(outcome), shows] for i, (outcome, shows) in zip(missing, found, strict=True)}
        cache.put({key: value for key, value in fresh.items() if value[0] not in _NOT_KEPT})
        known.update(fresh)
    return [(Outcome(outcome), shows) for outcome, shows in (known[key] for key in keys)]


def _decide(task: Task, examples: Sequence[Example], texts: Sequence[str]) -> list[tuple[Outcome, bool | None]]:
    if isinstance(task, TellsFault):
        return [(one.outcome, one.shows) for one in task.judge(examples, texts)]
    return [(outcome, None) for outcome in task.decide_all(examples, texts)]
