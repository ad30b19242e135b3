"""What a completion does when it is run: right, wrong, or wrong in the planted way.

    oracle = Oracle(Sandbox())
    oracle.judge([example], ["\\n    return rows[:n - 1]\\n"])[0]     # Judgement(Outcome.WRONG, shows=True)

"Wrong in the planted way" is decided by running too: the completion must do exactly what the planted body does. A
crash, another fault or a detour do not count as the plant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example
from ellora_trust.testbed import c_runs, python_runs
from ellora_trust.testbed.prompts import sketch_of
from ellora_trust.testbed.readings import Judgement, Reading, c_job, judge_c

__all__ = ["STOPS", "Judgement", "Oracle", "body_of"]

Key = tuple[str, str, str]  # id, prompt, body
STOPS = ("\n\n", "\ndef ", "\n#", "\n//", "\n/*", "<fim_", "<|endoftext|>")
# What stands at the start of a line is no longer the body, unless it closes a function of C.
_OUTSIDE = re.compile(r"\n(?=[^\s}])")
_MAX_CHARACTERS = 4_000


@dataclass
class Oracle:
    """Runs completions in batches, each program in a process of its own, and remembers what it saw.

    Attributes:
        box: Where everything is compiled and run.
    """

    box: Sandbox
    _known: dict[Key, Judgement] = field(default_factory=dict)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Judgement]:
        """Return what each completion does.

        Raises:
            InputError: An example that is none of the testbed's.
            EnvironmentProblem: This machine cannot isolate programs, or lacks gcc where C is asked.
        """
        keys = [(one.id, one.prompt, body_of(text)) for one, text in zip(examples, completions, strict=True)]
        questions = {
            key: (example, key[2]) for key, example in zip(keys, examples, strict=True) if key not in self._known
        }
        for language, judge, size in (
            ("python", self._python, python_runs.BATCH),
            ("c", self._c, c_runs.BATCH),
        ):
            found = {key: one for key, one in questions.items() if _language(one[0]) == language}
            self._known.update(_batched(found, judge, size))
        return [self._known[key] for key in keys]

    def _python(self, questions: Sequence[tuple[Example, str]]) -> list[Judgement]:
        readings = [Reading.of(example, body) for example, body in questions]
        found = python_runs.run_python(self.box, [reading.job for reading in readings])
        return [reading.judge(one) for reading, one in zip(readings, found, strict=True)]

    def _c(self, questions: Sequence[tuple[Example, str]]) -> list[Judgement]:
        sketches = [sketch_of(example) for example, _ in questions]
        jobs = [
            c_job(sketch, example.prompt + body) for sketch, (example, body) in zip(sketches, questions, strict=True)
        ]
        found = c_runs.run_c(self.box, jobs)
        return [judge_c(sketch, one) for sketch, one in zip(sketches, found, strict=True)]


def body_of(completion: str) -> str:
    """Return the part of a completion that belongs to the function."""
    ends = [at for at in (completion.find(stop) for stop in STOPS) if at >= 0]
    outside = _OUTSIDE.search(completion)
    text = completion[: min([*ends, outside.start() if outside else len(completion)])]
    closed = text.find("\n}")
    return text[: closed + 2 if closed >= 0 else _MAX_CHARACTERS]


def _batched(
    found: dict[Key, tuple[Example, str]],
    judge: Callable[[Sequence[tuple[Example, str]]], list[Judgement]],
    size: int,
) -> dict[Key, Judgement]:
    keys = list(found)
    workers = os.cpu_count() or 1
    # A short list is divided too, so that every processor has a part.
    size = max(1, min(size, -(-len(keys) // workers)))
    batches = [keys[start : start + size] for start in range(0, len(keys), size)]
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda batch: judge([found[key] for key in batch]), batches)
        return {
            key: one for batch, part in zip(batches, results, strict=True) for key, one in zip(batch, part, strict=True)
        }


def _language(example: Example) -> str:
    language = example.meta.get("language")
    if language not in ("python", "c"):
        raise InputError(f"example {example.id!r} is no question of the testbed; use one of its prompts")
    return str(language)
