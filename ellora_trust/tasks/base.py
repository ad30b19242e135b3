"""Questions with oracles: what a task, an example and an outcome are.

A task makes examples and decides, outside the model, whether a completion answers one. Splits are always by
`Example.group`, so near-duplicates must share a group.

    task = load_task("aliasing")
    example = task.examples(limit=1, seed=0)[0]
    task.decide(example, " [1, 2]\n")     # Outcome.CORRECT or Outcome.WRONG
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Meta = Mapping[str, str | int | float | bool | None]


class Outcome(StrEnum):
    """What an oracle says of one completion."""

    CORRECT = "correct"
    WRONG = "wrong"
    BUILD_ERROR = "build_error"
    CRASH = "crash"
    TIMEOUT = "timeout"
    FLAKY = "flaky"
    UNDECIDED = "undecided"

    @property
    def decided(self) -> bool:
        """Whether this outcome may count in a rate; flaky and undecided ones may not."""
        return self not in (Outcome.FLAKY, Outcome.UNDECIDED)


@dataclass(frozen=True)
class Example:
    """One question.

    Attributes:
        id: Unique within the task, stable across runs and machines.
        group: Problem and its near-duplicates; no split separates a group.
        prompt: Text a plain language model continues, without the task's header.
        answer: Reference answer as text, or None where only running decides.
        prefix: Source before the gap, for models with fill-in-the-middle tokens; empty where there is no gap.
        suffix: Source after the gap.
        meta: Provenance and strata (template, hops, package, licence, path ...), JSON scalars only.
    """

    id: str
    group: str
    prompt: str
    answer: str | None = None
    prefix: str = ""
    suffix: str = ""
    meta: Meta = field(default_factory=dict)


class Task(ABC):
    """A source of examples and the oracle that decides them.

    Attributes:
        name: The name on the command line.
        header: Text put before every plain prompt (few-shot examples); shared, so that its keys and values are
            computed once.
        max_new_tokens: Length limit of an answer, in tokens.
        stop: Strings that end an answer; the answer is the text before the first of them.
    """

    name: str
    header: str = ""
    max_new_tokens: int = 16
    stop: tuple[str, ...] = ("\n",)

    @abstractmethod
    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return at most `limit` examples; the same seed gives the same list.

        Groups stay whole where the limit allows, and a smaller limit gives a prefix of a larger one.
        """

    @abstractmethod
    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide one completion (text after the prompt, cut at the first stop string)."""

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Decide many completions; tasks that run programs do so on all processors."""
        return [self.decide(example, text) for example, text in zip(examples, completions, strict=True)]

    def oracle(self) -> dict[str, str]:
        """Return what decides here beside this library: compilers and their versions, the isolation of programs."""
        return {}

    @abstractmethod
    def datasheet(self) -> str:
        """What it asks, how it was built, size, licence, oracle, known limits: a few lines of Markdown."""
