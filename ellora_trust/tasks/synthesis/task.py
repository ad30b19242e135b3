"""Write the body of a function: our own graded problems, HumanEval, MBPP and their EvalPlus editions.

Use it to measure how often a model's functions are right (`pass_at_k` beside this module), and to predict
which are wrong: the outcome is what running the function showed, in a sandbox, against values that the function
never sees.

    task = SynthesisTask()                            # or SynthesisTask(dataset="humaneval")
    example = task.examples(limit=1, seed=0)[0]
    task.decide(example, example.answer or "")        # Outcome.CORRECT
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.near_duplicates import merge_groups
from ellora_trust.tasks.synthesis.files import OWN, humaneval_file, read_problems
from ellora_trust.tasks.synthesis.judges import ByValues, Judge
from ellora_trust.tasks.synthesis.problems import MAX_FORMS, Problem, Template

if TYPE_CHECKING:
    from ellora_trust.sandbox import Limits, Sandbox

# Where each data set comes from without a `source`; the empty ones come with a package.
_HOMES = {
    "own": "",
    "humaneval": "",
    "humaneval+": "evalplus/humanevalplus",
    "mbpp": "google-research-datasets/mbpp:full",
    "mbpp+": "evalplus/mbppplus",
}
DATASETS = tuple(_HOMES)

_ENDS = ("\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\n#", "\n```", "\nassert ", "\n>>>", "\n@", "\n\n\n")
# What stands at the start of a line is no longer the body, unless it closes a bracket.
_OUTSIDE = re.compile(r"\n(?=[^\s)\]}])")
# A problem that is never asked, in the form of those that are.
_SHOT = '''\
def seconds_in(hours, minutes):
    """Return the number of seconds in the given hours and minutes.

    >>> seconds_in(1, 2)
    3720
    >>> seconds_in(0, 5)
    300
    """
    return hours * 3600 + minutes * 60


'''

_ATTEMPTS = 100  # so many forms of one problem cannot all have been asked


class SynthesisTask(Task):
    """Function synthesis on one data set.

    Attributes:
        dataset: One of `DATASETS`.
        source: A `.jsonl` or `.jsonl.gz` file or a hub id, instead of the data set's usual place.
    """

    stop = _ENDS

    def __init__(self, *, source: Path | str | None = None, box: Sandbox | None = None, dataset: str = "own") -> None:
        """Check the name; nothing is read before the first question, and no sandbox is made before the first answer.

        Raises:
            InputError: An unknown data set.
        """
        if dataset not in DATASETS:
            raise InputError(one_of(dataset, DATASETS, what="data set"))
        self.dataset, self.source, self._given_box = dataset, source, box
        self.name = "synthesis" if dataset == "own" else dataset
        ours = dataset == "own" and source is None
        self.header = _SHOT if ours else ""
        self.max_new_tokens = 96 if ours else 256

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first `limit` examples of this seed's list; without a limit, every problem once.

        Every problem comes once, in its usual form and in an order by `seed`, before any comes again. Where the limit
        passes the number of problems, our own follow as variants, up to `MAX_FORMS` forms of each: other names,
        wording and examples.

        Raises:
            InputError: `limit` is below 1, or the source breaks its format.
            EnvironmentProblem: The data set is not installed or cannot be reached.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit} is out of range; use 1 or more, or leave it out for every problem once")
        size = len(self._problems) if limit is None else limit
        order = random.Random(seed).sample(self._problems, len(self._problems))
        found: list[Example] = []
        seen: set[str] = set()
        for number in range(MAX_FORMS):
            for problem in order:
                if len(found) == size:
                    return found
                asked = _asked(problem, number, seed, seen)
                if asked is not None:
                    seen.add(asked.prompt)
                    found.append(self._example(asked, number))
        return found

    def decide(self, example: Example, completion: str) -> Outcome:
        """Run the function and decide it; the completion counts up to the first line that is no longer its body.

        Raises:
            InputError: The example is of another task or data set.
            EnvironmentProblem: This machine cannot isolate programs.
        """
        judge = self._judges.get(str(example.meta.get("problem")))
        if judge is None:
            raise InputError(f"example {example.id!r} is no problem of {self.name!r}; use one that this task made")
        program = example.prompt + self.body_of(completion)
        return judge.decide(self.box, program, str(example.meta["entry_point"]), limits=_limits(judge))

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Decide many completions, as many at once as there are processors."""
        pairs = list(zip(examples, completions, strict=True))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda pair: self.decide(*pair), pairs))

    def body_of(self, completion: str) -> str:
        """Return the part of a completion that belongs to the function."""
        ends = [at for at in (completion.find(stop) for stop in self.stop) if at >= 0]
        outside = _OUTSIDE.search(completion)
        return completion[: min([*ends, outside.start() if outside else len(completion)])]

    @cached_property
    def box(self) -> Sandbox:
        """Where the programs run."""
        from ellora_trust.sandbox import Sandbox

        return self._given_box or Sandbox()

    def oracle(self) -> dict[str, str]:
        """Return the Python that runs the functions, and their isolation."""
        version = self.box.run("import platform; print(platform.python_version())").stdout.strip()
        return {"python": version, "isolation": self.box.isolation.detail}

    def datasheet(self) -> str:
        """Return what the task asks, how it was built, size, licence, oracle and limits."""
        from ellora_trust.tasks.synthesis.datasheet import datasheet

        source = "" if self.source is None else str(self.source)
        return datasheet(self.name, self._problems, source=source, home=_HOMES[self.dataset], shot=bool(self.header))

    @cached_property
    def _problems(self) -> list[Problem | Template]:
        home: Path | str = _HOMES[self.dataset] or OWN
        if self.source is None and self.dataset == "humaneval":
            home = humaneval_file()
        problems = read_problems(self.source or home)
        groups = merge_groups([one.group for one in problems], [_solved(one) for one in problems])
        # Ours were grouped by hand, where short functions are alike in the letter only.
        return [
            one if isinstance(one, Template) else replace(one, group=group)
            for one, group in zip(problems, groups, strict=True)
        ]

    @cached_property
    def _judges(self) -> dict[str, Judge]:
        return {problem.id: problem.judge for problem in self._problems}

    def _example(self, problem: Problem, number: int) -> Example:
        identity = f"{self.name}/{problem.id}"
        if number:
            identity += f"/{hashlib.sha256(problem.prompt.encode()).hexdigest()[:12]}"
        meta = {
            "dataset": self.dataset if self.source is None else str(self.source),
            "problem": problem.id,
            "entry_point": problem.entry_point,
            "difficulty": problem.difficulty,
            "variant": number,
            "n_tests": problem.judge.n_tests,
        }
        # Tokenizers join a line's indentation with its first word, so a prompt that ends in it is a place where no
        # text that the model has read ever broke off: SmolLM2 was right on 0 of 100 that way, on 36 of 100 this way.
        prompt = problem.prompt.rstrip()
        answer = None if problem.answer is None else problem.prompt[len(prompt) :] + problem.answer
        return Example(identity, problem.group, prompt, answer, meta=meta)


def _asked(problem: Problem | Template, number: int, seed: int, seen: set[str]) -> Problem | None:
    """Return a problem's form of this number, or None where there is none that is new."""
    if isinstance(problem, Problem):
        return problem if number == 0 else None
    if number == 0:
        return problem.first()
    rng = random.Random(f"{seed}/{problem.id}/{number}")
    drawn = (problem.variant(rng) for _ in range(_ATTEMPTS))
    return next((one for one in drawn if one.prompt not in seen), None)


def _solved(problem: Problem | Template) -> str:
    return problem.canonical_solution if isinstance(problem, Template) else problem.prompt + problem.reference


def _limits(judge: Judge) -> Limits:
    from ellora_trust.sandbox import Limits

    # Few short calls in one case, thousands of them in the other (EvalPlus).
    return Limits(wall=6.0, cpu=1.0) if isinstance(judge, ByValues) else Limits(wall=20.0, cpu=10.0)
