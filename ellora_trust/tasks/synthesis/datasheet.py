"""What the datasheet of function synthesis says, for our own problems and for others'.

print(datasheet("humaneval", problems, source="", home="", shot=False))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ellora_trust.tasks.synthesis.files import HUMANEVAL_PACKAGE
from ellora_trust.tasks.synthesis.problems import MAX_FORMS, Problem, Template

_LICENCES = {"synthesis": "Apache-2.0", "humaneval": "MIT", "humaneval+": "Apache-2.0", "mbpp": "CC-BY-4.0"}
_BY_VALUES = (
    "What it returns is compared with stored values: exact types, floats to a relative and absolute 1e-9 (an int may "
    "stand for a float). A wrong value anywhere is wrong; otherwise a call that runs out of time or raises decides."
)
_BY_TESTS = "The data set's own tests call it from another sandbox."
_OUR_LIMITS = (
    "short functions on plain builtins; the examples shown are among the tests; variants of a problem are no "
    "independent questions; prompts are plain text, in no chat format."
)
_OTHER_LIMITS = (
    "a model may have seen the problems in training; tests that pass keyword arguments, functions or objects, or that "
    "look at changed arguments, cannot be run from outside; MBPP is asked with the signature of its reference code, "
    "and its problems whose tests need a class or helper of that code are left out; prompts are plain text."
)
_ORIGINS = {
    "synthesis": "problems written for this library, with two or more names, wordings and sets of parameter names each",
    "humaneval": f"the data file of {HUMANEVAL_PACKAGE} (Chen et al. 2021, arXiv:2107.03374); prompts lose their last "
    "line break",
}

_DATASHEET = """\
## {name}

- **Asks**: the body of a Python function whose signature and docstring are shown{shot}.
- **Built from**: {origin}.
- **Size**: {problems} problems in {groups} groups; {variants}. Difficulty: {difficulty}.
- **Groups**: a problem with its variants and near-duplicates.
- **Oracle**: the function runs in a sandbox, twice, with different hash seeds. {oracle} Expected values never enter \
the process that holds the function. Other values the second time: flaky; values that cannot be compared from outside: \
undecided; neither counts in a rate.
- **Licence**: {licence}.
- **Limits**: {limits}
"""


def datasheet(name: str, problems: Sequence[Problem | Template], *, source: str, home: str, shot: bool) -> str:
    """Return the datasheet.

    Args:
        name: Of the task.
        problems: All of them.
        source: The file or hub id that the user gave, or empty.
        home: Hub id of the data set, or empty where a package holds it.
        shot: Whether a solved function stands before every prompt.
    """
    graded = Counter(problem.difficulty for problem in problems if problem.difficulty)
    templates = any(isinstance(problem, Template) for problem in problems)
    return _DATASHEET.format(
        name=name,
        shot=", after one solved function" if shot else "",
        origin=source or _ORIGINS.get(name, f"{home} on the Hugging Face hub"),
        problems=len(problems),
        groups=len({problem.group for problem in problems}),
        variants=f"a larger limit adds variants, up to {MAX_FORMS} forms of each" if templates else "no variants",
        difficulty=", ".join(f"{n} of grade {grade}" for grade, n in sorted(graded.items())) or "not graded",
        oracle=_BY_VALUES if templates else _BY_TESTS,
        licence="see its source" if source else _LICENCES.get(name, "see its source"),
        limits=_OUR_LIMITS if templates else _OTHER_LIMITS,
    )
