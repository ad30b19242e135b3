"""What does this C or Fortran program print? Matched pairs that differ in one place, alias against copy.

Use it to ask whether a model tracks which pointers reach one object, and whether it knows where the language gives
no answer: then the answer is the word `undefined`.

    task = PointersTask()
    alias, copy = sorted(task.examples(limit=2), key=lambda example: str(example.meta["variant"]))
    task.decide(alias, copy.answer or "")     # Outcome.WRONG
"""

from __future__ import annotations

import re
from functools import cached_property

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.pointers.datasheet import datasheet_of
from ellora_trust.tasks.pointers.draw import CONSTRUCTION, Language
from ellora_trust.tasks.pointers.oracle import UNDEFINED, VARIANTS, compiler_version
from ellora_trust.tasks.pointers.pairs import TEMPLATES, Pair, Pairs, digest

_ROUNDS = 16
MAX_SIZE = 20_000
_SAMPLE_ROUNDS = 2  # of the datasheet: some 150 programs, about ten seconds where nothing is cached
_COMMENT: dict[Language, str] = {"c": "//", "fortran": "!"}
_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_UNDEFINED = (UNDEFINED, f"{UNDEFINED} behavior", f"{UNDEFINED} behaviour")

# Names that no template draws, so that no shot can be asked.
SHOTS: tuple[tuple[Language, str, str], ...] = (
    (
        "c",
        """\
#include <stdio.h>

int main(void) {
    int first = 3;
    int second = first;
    int *third = &first;
    *third = 8;
    printf("%d %d\\n", first, second);
}""",
        "8 3",
    ),
    (
        "c",
        """\
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    int *first = malloc(sizeof *first);
    *first = 6;
    free(first);
    printf("%d\\n", *first);
}""",
        UNDEFINED,
    ),
    (
        "fortran",
        """\
program main
  implicit none
  integer, target :: first = 2
  integer, pointer :: second
  allocate(second)
  second = first
  first = 7
  print '(i0)', second
end program main""",
        "2",
    ),
)


def prompt_of(program: str, language: Language) -> str:
    """Return the text in which a program is shown to a plain language model."""
    return f"{program}  {_COMMENT[language]} Output:"


def _examples_of(pair: Pair) -> list[Example]:
    members = []
    for variant, program, answer in zip(VARIANTS, pair.programs, pair.verdict.answers, strict=True):
        undefined = answer == UNDEFINED
        seen = CONSTRUCTION if pair.sketch.report == CONSTRUCTION else f"sanitizer: {pair.sketch.report}"
        meta = {
            "language": pair.sketch.language,
            "template": pair.template,
            "variant": variant,
            "pair": digest("\0".join(pair.programs)),
            "hops": pair.sketch.hops,
            "distractors": pair.sketch.distractors,
            "changes": pair.sketch.changes,
            "n_lines": program.count("\n") + 1,
            "undefined": undefined,
            "evidence": seen if undefined else "builds agree, sanitizers silent",
            "builds_differ": undefined and pair.verdict.builds_differ,
        }
        prompt = prompt_of(program, pair.sketch.language)
        members.append(Example(f"pointers-{digest(program)}", pair.group, prompt, answer, meta=meta))
    return members[::-1] if pair.flipped else members


class PointersTask(Task):
    """C and Fortran programs in matched pairs; the answer is what the compiled program prints, or `undefined`.

    In the alias the write reaches the object that is printed, in the copy it does not; where a template is about
    undefined behaviour, the alias is the undefined member. A group is all pairs whose alias members are one program
    once distractors are left out and names, numbers and lengths of number lists are forgotten.

    Args:
        box: Where programs are compiled and run; by default the best that this machine has, made on first need.
    """

    name = "pointers"
    header = "".join(f"{prompt_of(program, language)} {answer}\n\n" for language, program, answer in SHOTS)
    max_new_tokens = 12
    stop = ("\n",)

    def __init__(self, *, box: Sandbox | None = None) -> None:
        self._box = box

    @cached_property
    def box(self) -> Sandbox:
        """Where programs are compiled and run."""
        return self._box or Sandbox()

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first `limit` examples of this seed's list; without a limit, 16 pairs of every template.

        The two members of a pair are neighbours, and every template occurs once before any occurs again. Where
        there is no gfortran, the list is the same without its Fortran examples.

        Raises:
            InputError: `limit` is not in 1..`MAX_SIZE`.
            EnvironmentProblem: gcc is missing, or the machine cannot isolate programs.
        """
        if limit is not None and not 1 <= limit <= MAX_SIZE:
            raise InputError(
                f"limit {limit} is out of range; use 1..{MAX_SIZE}, or leave it out for {_ROUNDS} rounds of templates"
            )
        pairs = self._pairs(seed)
        count = _ROUNDS * pairs.round_size if limit is None else (limit + 1) // 2
        return [example for pair in pairs.first(count) for example in _examples_of(pair)][:limit]

    def _pairs(self, seed: int) -> Pairs:
        fortran = compiler_version("fortran") is not None
        return Pairs(self.box, seed, tuple(TEMPLATES) if fortran else ("c",))

    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide by the first line's numbers, or the word `undefined`; blanks and case are free.

        Raises:
            InputError: The example has no answer, so it is none of this task's.
        """
        if example.answer is None:
            raise InputError(f"example {example.id!r} has no answer; use one that PointersTask made")
        given = completion.split("\n", 1)[0]
        return Outcome.CORRECT if _reading(given) == _reading(example.answer) else Outcome.WRONG

    def oracle(self) -> dict[str, str]:
        """Return the compilers' versions and the isolation."""
        return {
            "gcc": compiler_version("c") or "not installed",
            "gfortran": compiler_version("fortran") or "not installed",
            "isolation": self.box.isolation.detail,
        }

    def datasheet(self) -> str:
        """Return what the task asks, how it was built and what it cannot tell, in numbers of a sample of seed 0."""
        pairs = self._pairs(0)
        sample = pairs.first(_SAMPLE_ROUNDS * pairs.round_size)
        found = [example for pair in sample for example in _examples_of(pair)]
        return datasheet_of(found, pairs, max_size=MAX_SIZE, rounds=_ROUNDS)


def _reading(text: str) -> tuple[str | int, ...]:
    """Return a line as its numbers by value and its other words as they stand."""
    words = text.split()
    if " ".join(words).lower() in _UNDEFINED:
        return (UNDEFINED,)
    return tuple(int(word) if _NUMBER.fullmatch(word) else word for word in words)
