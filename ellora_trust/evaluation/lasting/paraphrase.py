"""The same Python question in another dress: variables renamed, a docstring in other words, a comment on top.

    paraphrased(example, task="synthesis", seed=0)      # an Example with the same answer, or None

Names are changed by scope, and the result must have the bytecode of the original up to names; a name that a docstring
mentions stays. Only what can be parsed is changed: programs in C and questions in words give None.
"""

from __future__ import annotations

import ast
import random
import re
from dataclasses import replace
from itertools import accumulate, chain, count
from typing import TYPE_CHECKING, TypeAlias

import libcst as cst

from ellora_trust.tasks.base import Example

if TYPE_CHECKING:
    from libcst.metadata import Scope

    Variable: TypeAlias = tuple[Scope, str]

_NAMES = (
    "thing",
    "part",
    "val",
    "entry",
    "obj",
    "piece",
    "given",
    "kept",
    "cur",
    "elem",
    "data",
    "aux",
    "extra",
    "rest",
)
_COMMENTS = ("# Taken from a larger program.", "# See the tests for how this is used.", "# Part of a small module.")
# First words of a docstring, with others that say the same.
_WORDS = {
    "Return": "Give back",
    "Returns": "Gives back",
    "Compute": "Work out",
    "Check": "Find out",
    "Find": "Look for and return",
    "Create": "Make",
    "Write": "Please write",
    "Given": "For",
}
_HOLDERS = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DOCSTRING = re.compile(r'([rRuU]?"""|[rRuU]?\'\'\')(\s*)(\w+)')


def paraphrased(example: Example, *, task: str, seed: int = 0) -> Example | None:
    """Return the question in another dress, with the same answer, or None where there is none.

    Args:
        example: The question.
        task: Its task's name; a gap is only understood in `types`.
        seed: Of names and comment.
    """
    rng = random.Random(f"{seed} {example.id}")
    comment = rng.choice(_COMMENTS)
    if not (example.prefix or example.suffix):
        changed = changed_code(example.prompt, rng)
        if changed is None:
            return None
        return replace(example, id=f"{example.id}+paraphrase", prompt=f"{comment}\n{changed}")
    if task != "types" or example.meta.get("language") != "python":
        return None
    from ellora_trust.tasks.types.questions import plain_prompt
    from steering.pairs.draft import GAP

    changed = changed_code(example.prefix + GAP + example.suffix, rng)
    if changed is None:
        return None
    prefix, _, suffix = f"{comment}\n{changed}".partition(GAP)
    prompt = plain_prompt(prefix, suffix)
    return replace(example, id=f"{example.id}+paraphrase", prompt=prompt, prefix=prefix, suffix=suffix)


def changed_code(code: str, rng: random.Random) -> str | None:
    """Return a program with other names of variables and other words in its docstring, None if nothing changed.

    Args:
        code: A program, or a function's head with its docstring.
        rng: Chooses the names.
    """
    try:
        renamed = _renamed(code, rng)
    except SyntaxError:
        return None
    reworded = _reworded(renamed)
    return None if reworded == code else reworded


def _reworded(code: str) -> str:
    """Return the program with its first docstring in other words; any other string is data and stays."""
    for start, _ in _docstrings(code)[:1]:
        if found := _DOCSTRING.match(code, start):
            return code[:start] + found[1] + found[2] + _WORDS.get(found[3], found[3]) + code[found.end() :]
    return code


def _docstrings(code: str) -> list[tuple[int, int]]:
    """Characters (start, end) of every docstring, in order."""
    lines = code.split("\n")
    begins = [0, *accumulate(len(line) + 1 for line in lines)]
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, _HOLDERS) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            places = ((text.lineno, text.col_offset), (text.end_lineno or 0, text.end_col_offset or 0))
            # ast counts columns in bytes.
            start, end = (begins[n - 1] + len(lines[n - 1].encode()[:at].decode()) for n, at in places)
            found.append((start, end))
    return sorted(found)


def _renamed(code: str, rng: random.Random) -> str:
    """Return the program with all its variables renamed, or as it is where that would change what it does."""
    from steering.pairs.bytecode import difference
    from steering.pairs.draft import Draft
    from steering.pairs.python_names import survey_of

    survey = survey_of(code)
    spoken = {word for start, end in _docstrings(code) for word in re.findall(r"\w+", code[start:end])}
    places = {key: nodes for key, nodes in survey.variables().items() if key[1] not in spoken}
    new = _fresh(places, code, rng)
    renamed = survey.module.visit(_Rename({n: new[key] for key, nodes in places.items() for n in nodes})).code
    former = {name: old for (_, old), name in new.items()}
    return code if difference(code, Draft(renamed, names=former)) else renamed


def _fresh(
    places: dict[tuple[Scope, str], list[cst.Name]], code: str, rng: random.Random
) -> dict[tuple[Scope, str], str]:
    """Return a name for each variable that the program does not hold."""
    taken = set(re.findall(r"\w+", code))
    free = [name for name in _NAMES if name not in taken]
    rng.shuffle(free)
    numbered = (name for n in count() if (name := f"item_{n}") not in taken)
    return dict(zip(places, chain(free, numbered), strict=False))


class _Rename(cst.CSTTransformer):
    def __init__(self, new: dict[cst.Name, str]) -> None:
        self._new = new

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        name = self._new.get(original_node)
        return updated_node if name is None else updated_node.with_changes(value=name)
