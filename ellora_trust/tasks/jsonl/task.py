"""The task `jsonl`: your own questions, one JSON object a line.

Use it to ask what the built-in tasks do not. A line has a `prompt` and what decides: an `answer`, `choices`, or `tests`
that run the completed program in the sandbox. `JsonlTask` lists the fields.

    {"prompt": "print(2 + 2)  # Output:", "answer": "4"}
    {"prompt": "Which is mutable?", "choices": ["list", "tuple"], "answer": 0}
    {"prompt": "def double(x):\\n", "tests": "assert double(2) == 4", "entry_point": "double"}
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.sandbox.calls import check
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.jsonl.answers import chosen, gives
from ellora_trust.tasks.jsonl.rows import Question, read_questions


class JsonlTask(Task):
    """Questions from a file, one JSON object a line.

    Every line has a `prompt`, and exactly one of these decides:

    - `answer`: a string or a list of accepted strings. `match` says how they are compared: "exact" (text without the
      white space at both ends), "value" (or the same Python literal in another spelling) or "contains" (anywhere in
      the completion). An answer of one line is compared to the completion's first line.
    - `choices`: 2..26 texts, and `answer`: the right one's index from 0 or its text. The completion's first line must
      be that text, its letter or its number from 1. The choices are shown below the prompt, unless `show_choices` is
      false.
    - `tests`: Python assertions, a string or a list, and `entry_point`: the function that they call. The program is
      the prompt and the completion; with a `prefix` or `suffix`, the prefix, the completion and the suffix.

    All else may be missing: `id` (default: a hash of the line); `group`, which no split separates (default: a hash of
    the prompt, so that only lines of the same prompt share one); `prefix` and `suffix`, for models that fill a gap;
    `language` ("python"); `stop` and `max_new_tokens`; `meta` (an object of strings, numbers and booleans); `licence`;
    `source`; `header`, a text before every prompt, the same on all lines.

    Attributes:
        source: The file.
        stop: The strings at which every line stops. `decide` cuts at the others of a line.
        max_new_tokens: The largest of all lines, in tokens.
    """

    name = "jsonl"

    def __init__(self, *, source: Path | None = None, box: Sandbox | None = None) -> None:
        """Read and check the file.

        Args:
            source: The file; without one the task can only be listed.
            box: Where programs run; by default a sandbox is made when the first is to be run.

        Raises:
            InputError: The file cannot be read, or a line breaks the format.
        """
        self.source = source
        self._box = box
        if source is not None:
            questions = self._questions
            self.header = questions[0].header
            self.stop = tuple(one for one in questions[0].stop if all(one in each.stop for each in questions))
            self.max_new_tokens = max(question.max_new_tokens for question in questions)

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return at most `limit` examples: whole groups, in an order that the seed decides.

        Raises:
            InputError: The limit is below 1, or there is no file.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit} is out of range; use 1 or more, or leave it out for all examples")
        groups: dict[str, list[Example]] = defaultdict(list)
        for question in self._questions:
            groups[question.example.group].append(question.example)
        order = random.Random(seed).sample(sorted(groups), len(groups))
        return [example for group in order for example in groups[group]][:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide one completion as its line says, after cutting it at the line's own stop strings.

        Raises:
            InputError: The example is none of this file's.
            EnvironmentProblem: Tests are to be run, and this machine cannot isolate them.
        """
        question = self._by_id.get(example.id)
        if question is None:
            raise InputError(f"example {example.id!r} is not in {self.source}; use one that this task made")
        text = _cut(completion, question.stop)
        if question.kind == "tests":
            return self._tested(question, text)
        if question.kind == "choices":
            picked = chosen(text, question.choices)
            right = picked is not None and question.choices[picked] in question.accepted
        else:
            right = gives(text, question.accepted, match=question.match)
        return Outcome.CORRECT if right else Outcome.WRONG

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Decide many completions, programs on all processors."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = [pool.submit(self.decide, *pair) for pair in zip(examples, completions, strict=True)]
            return [future.result() for future in futures]

    def oracle(self) -> dict[str, str]:
        """Return the isolation and the Python of programs where a line has tests; else nothing."""
        if not any(question.kind == "tests" for question in self._questions):
            return {}
        version = self._sandbox.run("import platform\nprint(platform.python_version())").stdout.strip()
        return {"python": version, "isolation": self._sandbox.isolation.detail}

    def datasheet(self) -> str:
        """Return what the file holds: sizes, groups, how lines are decided, licences seen."""
        questions = self._questions
        groups = Counter(question.example.group for question in questions)
        kinds = Counter(question.kind for question in questions)
        matches = Counter(question.match for question in questions if question.kind == "answer")
        licences = Counter(str(question.example.meta["licence"] or "not given") for question in questions)
        languages = Counter(str(question.example.meta["language"]) for question in questions)
        n_hashed = sum(not question.grouped for question in questions)
        return f"""# jsonl

- **Asks**: {len(questions):,} questions of the file `{self.source and self.source.name}`: {_listed(kinds)}; \
languages: {_listed(languages)}.
- **Built**: by the file's author; a line is a question.
- **Size**: {len(questions):,} examples in {len(groups):,} groups, the largest of {max(groups.values()):,}.
- **Groups**: {n_hashed:,} lines name no group, so theirs is a hash of the prompt: near-duplicates among them are not \
joined.
- **Oracle**: {_oracle_of(kinds, matches)}.
- **Licence**: {_listed(licences)}.
- **Limits**: answers, choices and tests are taken as they are in the file; nothing checks that they are right.
"""

    def _tested(self, question: Question, completion: str) -> Outcome:
        example = question.example
        gap = example.prefix or example.suffix
        program = f"{example.prefix}{completion}{example.suffix}" if gap else f"{example.prompt}{completion}"
        return check(self._sandbox, program, question.tests, [question.entry_point]).outcome

    @cached_property
    def _questions(self) -> list[Question]:
        if self.source is None:
            raise InputError("task 'jsonl' asks what a file holds, and none is given; use --source FILE.jsonl")
        return read_questions(self.source)

    @cached_property
    def _by_id(self) -> dict[str, Question]:
        return {question.example.id: question for question in self._questions}

    @cached_property
    def _sandbox(self) -> Sandbox:
        return self._box or Sandbox()


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())


def _oracle_of(kinds: Counter[str], matches: Counter[str]) -> str:
    how = {
        "answer": f"the completion's first line, or all of it, is compared to the accepted answers: {_listed(matches)}",
        "choices": "the completion's first line must be the right choice's text, letter or number",
        "tests": "the completed program must pass the tests of its line, in a sandbox",
    }
    return "; ".join(text for kind, text in how.items() if kinds[kind])
