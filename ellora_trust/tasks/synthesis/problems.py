"""Problems of function synthesis: a signature with a docstring, and what decides the body.

    templates[0].first().prompt                         # the usual form: signature, docstring, two examples
    templates[0].variant(random.Random(0)).prompt       # the same question in other words

A `Problem` is one question. A `Template` is one of our own problems, from which many questions can be made.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ellora_trust.tasks.synthesis.judges import ByValues, Judge

INDENT = "    "
# The first tests of a problem are ordinary cases, any of which makes a fair example; edge cases follow them.
N_SHOWABLE = 4
# Forms of one problem that are asked at most, the usual one included; there are hundreds.
MAX_FORMS = 20


@dataclass(frozen=True)
class Problem:
    """One question and what decides it.

    Attributes:
        id: Unique within its data set; variants share it.
        group: Shared by near-duplicates.
        prompt: What the model continues.
        entry_point: Name of the function.
        judge: What decides a program.
        reference: A whole program that is right.
        answer: A right continuation of the prompt, or None where the reference does not begin with the prompt.
        difficulty: 1 (one expression) to 4 (an algorithm), or None where nobody graded it.
    """

    id: str
    group: str
    prompt: str
    entry_point: str
    judge: Judge
    reference: str
    answer: str | None = None
    difficulty: int | None = None


@dataclass(frozen=True)
class Template:
    """One of our own problems: several names and wordings of one question.

    Attributes:
        id: Unique.
        group: Shared by near-duplicates.
        difficulty: 1 (one expression) to 4 (an algorithm).
        entry_points: Names for the function; the first is the usual one.
        parameters: Names for its parameters, one list a choice.
        wordings: Docstrings in which `{a}` stands for the parameter that the first choice calls `a`.
        canonical_solution: The body with the first choice of names, indented, ending in a newline.
        tests: Arguments of each call as Python literals, such as `"[1, 2], 3"`; the first `N_SHOWABLE` may be shown.
        expected: What each call returns, as Python literals.
        judge: What decides a program: those tests.
    """

    id: str
    group: str
    difficulty: int
    entry_points: Sequence[str]
    parameters: Sequence[Sequence[str]]
    wordings: Sequence[str]
    canonical_solution: str
    tests: Sequence[str]
    expected: Sequence[str]
    judge: ByValues

    def first(self) -> Problem:
        """Return the question in its usual form, with two examples."""
        return self._problem(self.entry_points[0], self.parameters[0], self.wordings[0], shown=(0, 1))

    def variant(self, rng: random.Random) -> Problem:
        """Return the question with names, wording, examples and their order by chance."""
        return self._problem(
            rng.choice(self.entry_points),
            rng.choice(self.parameters),
            rng.choice(self.wordings),
            shown=rng.sample(range(min(N_SHOWABLE, len(self.tests))), rng.choice((1, 2))),
        )

    def _problem(self, name: str, parameters: Sequence[str], wording: str, *, shown: Sequence[int]) -> Problem:
        renamed = dict(zip(self.parameters[0], parameters, strict=True))
        examples = "".join(f"{INDENT}>>> {name}({self.tests[i]})\n{INDENT}{self.expected[i]}\n" for i in shown)
        prompt = (
            f"def {name}({', '.join(parameters)}):\n"
            f'{INDENT}"""{wording.format_map(renamed)}\n\n{examples}{INDENT}"""\n{INDENT}'
        )
        answer = self._body(renamed).removeprefix(INDENT)
        return Problem(self.id, self.group, prompt, name, self.judge, prompt + answer, answer, self.difficulty)

    def _body(self, renamed: dict[str, str]) -> str:
        names = "|".join(map(re.escape, renamed))
        return re.sub(rf"\b({names})\b", lambda match: renamed[match[0]], self.canonical_solution)
