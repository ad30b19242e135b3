"""Does the type checker accept an edited program as it accepted the original? mypy for Python, tsc for TypeScript.

Both programs are checked with the right answer in the gap. What mypy says of the original is allowed in the edited
program too, names translated back: questions show one function without its imports, so errors are common. Names that
nothing shown binds are declared: those of `typing` and `collections.abc` as what they are, others as `Any`.

mypy and not pyright: it is Python, so it comes with pip alone (pyright's wheel downloads or bundles node), one process
checks hundreds of files in seconds, and it is as strict here, since neither sees the imports. tsc has a say about files
that it accepts as they are, where it is installed.

    new_errors([(original, edited, {"__tmp0": "x"})], language="python")      # [[]]: nothing new
"""

from __future__ import annotations

import ast
import builtins
import collections.abc
import json
import re
import subprocess
import symtable
import sys
import tempfile
import typing
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from ellora_trust.cachedir import cache_dir
from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.types.typescript.compiler import installed, tsc_accepts
from ellora_trust.tasks.verified import Observed, verified

_FLAGS = ("--check-untyped-defs", "--ignore-missing-imports", "--no-error-summary", "--hide-error-context")
_FLAGS += ("--no-color-output", "--show-error-codes", "--no-pretty", "--config-file=")
# A parameter without annotation is `any`; to forbid that would be to forbid the edit.
_TSC_FLAGS = ("--noImplicitAny", "false")
_ERROR = re.compile(r"(?P<file>\w+)\.py:\d+(?::\d+)?: error: (?P<text>.*)")
_AT_ONCE = 400  # files a process; keeps its memory below a gigabyte
_TIMEOUT = 600.0  # seconds a process; four hundred short files take about ten
_UNSHOWN = "ellora_not_shown"  # a module that does not exist, so that what comes from it is Any
_ANYTHING = "ellora_anything"
_BLOCKED = "the checker gave up on this file"

Change = tuple[str, str, Mapping[str, str]]  # original, edited, new name -> old name


def new_errors(changes: Sequence[Change], *, language: str) -> list[list[str]]:
    """Return what the checker says of each edited program and did not say of its original.

    Args:
        changes: Original and edited source, complete, with the new names of the edited one.
        language: `python`, or anything else for TypeScript.

    Raises:
        EnvironmentProblem: mypy cannot be run.
    """
    if language != "python":
        return [_tsc_errors(original, edited) for original, edited, _ in changes]
    programs = [text for original, edited, _ in changes for text in _declared(original, edited)]
    found = iter(_checked(programs))
    return [
        sorted((_translated(after, former) - _translated(before, {})).elements())
        for before, after, former in ((next(found), next(found), former) for *_, former in changes)
    ]


def _declared(original: str, edited: str) -> tuple[str, str]:
    """Return both programs after the same declarations of what the original does not bind."""
    classes = _annotating(original)
    lines = [f"from typing import Any as {_ANYTHING}"]
    for name in sorted(_unbound(original)):
        if name in typing.__all__:
            lines.append(f"from typing import {name}")
        elif name in collections.abc.__all__:
            lines.append(f"from collections.abc import {name}")
        elif name in classes:
            lines.append(f"class {name}({_ANYTHING}): ...")
        else:
            lines.append(f"from {_UNSHOWN} import {name}")
    head = "".join(f"{line}\n" for line in lines)
    return head + original, head + edited


def _annotating(code: str) -> set[str]:
    """Return the names that annotations use as they are, without parameters and without a dot."""
    found: set[str] = set()
    owners: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        annotation = getattr(node, "returns", None) or getattr(node, "annotation", None)
        parts = list(ast.walk(annotation)) if isinstance(annotation, ast.expr) else []
        found |= {part.id for part in parts if isinstance(part, ast.Name)}
        owned = [part.value for part in parts if isinstance(part, ast.Subscript | ast.Attribute)]
        owners |= {part.id for part in owned if isinstance(part, ast.Name)}
    return found - owners


def _unbound(code: str) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(code, "<program>", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    looked_up = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or table is top)
    }
    return looked_up - bound - set(dir(builtins))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _translated(errors: Sequence[str], former: Mapping[str, str]) -> Counter[str]:
    def old(match: re.Match[str]) -> str:
        return former.get(match[0], match[0])

    # An alias line adds a place at which the same thing is wrong, so how often it is said does not count.
    return Counter(set(re.sub(r"\w+", old, error) for error in errors))


def _checked(programs: Sequence[str]) -> list[list[str]]:
    """Return mypy's errors on each program, from the cache where they are known."""
    found: dict[str, list[str]] = {}

    def observe(program: str) -> Observed:
        if program not in found:  # the first unknown one has all of them checked, in one process
            found.update(_run_mypy(list(dict.fromkeys(programs))))
        return {"errors": json.dumps(found[program])}

    recipe = f"mypy {_mypy_version()} {' '.join(_FLAGS)} python {sys.version_info[:2]}"
    known = verified("mypy", recipe, programs, observe, workers=1, progress=False)
    return [json.loads(str(one["errors"])) for one in known]


def _run_mypy(programs: list[str]) -> dict[str, list[str]]:
    done: dict[str, list[str]] = {}
    for start in range(0, len(programs), _AT_ONCE):
        batch = {f"p{number}": program for number, program in enumerate(programs[start : start + _AT_ONCE])}
        errors = _mypy_errors(batch)
        done |= {program: errors[name] for name, program in batch.items()}
    return done


def _mypy_errors(batch: Mapping[str, str]) -> Mapping[str, list[str]]:
    """Check a batch; a file that makes mypy stop is set aside, and the others are checked again."""
    errors: dict[str, list[str]] = defaultdict(list)
    left = dict(batch)
    while left:
        code, lines = _mypy(left)
        said: dict[str, list[str]] = defaultdict(list)
        for match in map(_ERROR.fullmatch, lines):
            if match is not None and match["file"] in left:
                # Each file is a module of its own name, which says nothing.
                said[match["file"]].append(match["text"].replace(f"{match['file']}.", ""))
        if code in (0, 1):
            return errors | said
        if not said:
            raise EnvironmentProblem(f"mypy failed: {' '.join(lines)[:300]}; reinstall mypy")
        for name, texts in said.items():
            errors[name] = [_BLOCKED, *texts]
            del left[name]
    return errors


def _mypy(files: Mapping[str, str]) -> tuple[int, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, f"{name}.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", *_FLAGS, f"--cache-dir={cache_dir() / 'mypy'}"]
        command += [f"{name}.py" for name in files]
        try:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise EnvironmentProblem(f"mypy took more than {_TIMEOUT:.0f} s; give fewer programs") from error
    return run.returncode, [*run.stdout.splitlines(), *run.stderr.splitlines()]


@cache
def _mypy_version() -> str:
    return version("mypy")


def _tsc_errors(original: str, edited: str) -> list[str]:
    box = _box() if installed() else None
    if box is None or not tsc_accepts(original, box, options=_TSC_FLAGS):
        return []
    return [] if tsc_accepts(edited, box, options=_TSC_FLAGS) else ["tsc refuses the edited program"]


@cache
def _box() -> Sandbox | None:
    try:
        return Sandbox()
    except EnvironmentProblem:
        return None
