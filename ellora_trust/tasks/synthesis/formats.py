"""The row formats of function synthesis, each turned into a problem.

    humaneval_problem(Row("HumanEval.jsonl, line 1", {"task_id": ..., "prompt": ..., ...}))

A row that breaks its format is refused with its place, the field and what is allowed there. Sources: HumanEval
(arXiv:2107.03374), MBPP (arXiv:2108.07732), EvalPlus (arXiv:2305.01210).
"""

from __future__ import annotations

import ast
import builtins
import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.tasks.synthesis.judges import ByTests, ByValues
from ellora_trust.tasks.synthesis.problems import INDENT, Problem, Template

MIN_TESTS = 2  # one call is easily right by accident


@dataclass(frozen=True)
class Row:
    """One row and where it stands, such as "mbpp.jsonl, line 7"."""

    place: str
    content: Mapping[str, Any]

    def broken(self, field: str, what: str) -> InputError:
        """Return the error that names place and field."""
        return InputError(f"{self.place}, field {field!r}: {what}")

    def text(self, field: str, default: str | None = None) -> str:
        """Return a field that holds text; a missing one is `default`, or an error where that is None."""
        value = self.content.get(field, default)
        if not isinstance(value, str):
            raise self.broken(field, f"is {_kind(self.content, field)}; text must stand here")
        return value

    def texts(self, field: str, default: list[str] | None = None) -> list[str]:
        """Return a field that holds a list of text."""
        value = self.content.get(field, default)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.broken(field, f"is {_kind(self.content, field)}; a list of text must stand here")
        return value

    def parsed(self, field: str, source: str) -> ast.Module:
        """Parse Python that a field holds."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise self.broken(field, f"is no Python ({error}); correct it") from error

    def identity(self) -> str:
        """Return `task_id`, which MBPP numbers and HumanEval spells."""
        value = self.content.get("task_id")
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise self.broken("task_id", f"is {_kind(self.content, 'task_id')}; text or a number must stand here")
        return str(value)


def _kind(content: Mapping[str, Any], field: str) -> str:
    return f"of type {type(content[field]).__name__}" if field in content else "missing"


def own_template(row: Row) -> Template:
    """Read a problem of our own format; the attributes of `Template` say what its fields hold."""
    names = row.content.get("parameters")
    if not isinstance(names, list) or not names or not all(isinstance(choice, list) for choice in names):
        raise row.broken("parameters", f"is {_kind(row.content, 'parameters')}; a list of lists of names must be there")
    difficulty, tolerance = row.content.get("difficulty"), row.content.get("tolerance", 0.0)
    if type(difficulty) is not int or not 1 <= difficulty <= 4:
        raise row.broken("difficulty", f"is {difficulty!r}; use 1, 2, 3 or 4")
    if type(tolerance) not in (int, float) or not 0 <= tolerance < math.inf:
        raise row.broken("tolerance", f"is {tolerance!r}; use a number that is not negative")
    tests, expected = row.texts("tests"), row.texts("expected")
    if len(tests) != len(expected) or len(tests) < MIN_TESTS:
        raise row.broken(
            "expected", f"has {len(expected)} values for {len(tests)} tests; give {MIN_TESTS} or more each"
        )
    return Template(
        id=row.text("id"),
        group=row.text("group"),
        difficulty=difficulty,
        entry_points=row.texts("entry_points"),
        parameters=names,
        wordings=row.texts("wordings"),
        canonical_solution=row.text("canonical_solution"),
        tests=tests,
        expected=expected,
        judge=ByValues(
            [_literal(row, "tests", f"({text},)") for text in tests],
            [_literal(row, "expected", text) for text in expected],
            tolerance,
        ),
    )


def _literal(row: Row, field: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise row.broken(field, f"holds {text!r}, which is no Python literal ({error})") from error


def humaneval_problem(row: Row) -> Problem:
    """Read a row of HumanEval or HumanEval+.

    What the prompt defines beside the function (imports, helpers that the tests call) is put before the tests, so that
    a program cannot answer for it.
    """
    prompt, entry_point, test = row.text("prompt"), row.text("entry_point"), row.text("test")
    solution, identity = row.text("canonical_solution"), row.identity()
    context = row.parsed("prompt", f"{prompt}\n{INDENT}pass\n")
    if entry_point not in _functions(context):
        raise row.broken("entry_point", f"names {entry_point!r}, which the prompt does not define")
    if "check" not in _functions(row.parsed("test", test)):
        raise row.broken("test", "defines no function check(candidate)")
    around = [ast.unparse(node) for node in context.body if getattr(node, "name", None) != entry_point]
    tests = "\n".join((*around, test, f"check({entry_point})", ""))
    return Problem(
        id=identity,
        group=identity,
        prompt=prompt,
        entry_point=entry_point,
        judge=ByTests(tests, _packages(row.parsed("test", tests))),
        reference=prompt + solution,
        answer=solution,
    )


def mbpp_problem(row: Row) -> Problem | None:
    """Read a row of MBPP or MBPP+; None where the tests need a class or helper of the reference code.

    The model sees imports and signature of the reference code, the text and the first assertion, and continues with the
    body. That is easier than the paper's prompt (text and assertions, function from scratch).
    """
    code, identity = row.text("code"), row.identity()
    text = row.text("text") if "text" in row.content else row.text("prompt")
    asserts = row.texts("test_list")
    setup = "\n".join((row.text("test_setup_code", ""), *row.texts("test_imports", [])))
    tests = "\n".join((setup, row.text("test", "\n".join(asserts)), ""))
    tree, tested = row.parsed("code", code), row.parsed("test" if "test" in row.content else "test_list", tests)
    functions = _functions(tree)
    calls = [
        node.func.id for node in ast.walk(tested) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    entry_point = next((name for name in calls if name in functions), None)
    if entry_point is None or not asserts:
        raise row.broken("test_list", "calls no function that the field 'code' defines")
    if _needed(tested) - {entry_point}:
        return None
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    signature = f"def {entry_point}({ast.unparse(functions[entry_point].args)}):"
    doc = f'{INDENT}"""{_plain(text)}\n\n{INDENT}>>> {_plain(asserts[0])}\n{INDENT}"""'
    return Problem(
        id=f"mbpp/{identity}",
        group=f"mbpp/{identity}",
        prompt="\n".join((*imports, signature, doc, INDENT)),
        entry_point=entry_point,
        judge=ByTests(tests, _packages(tested)),
        reference=code,
    )


def _plain(text: str) -> str:
    # It becomes part of a docstring.
    return text.strip().replace("\\", "\\\\").replace('"""', "'''").rstrip('"')


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _needed(tree: ast.Module) -> set[str]:
    """Return the names that a program reads and neither defines nor finds among the builtins."""
    read, bound = set[str](), {*dir(builtins), "__name__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def _packages(tree: ast.Module) -> tuple[str, ...]:
    """Return what a program imports beside the standard library, sorted."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
    return tuple(sorted(modules - sys.stdlib_module_names))
