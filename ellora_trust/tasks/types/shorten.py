"""Shorten a function to a number of characters so that it still parses.

Use it where a prompt shows code of any length. Whole statements are left out, `...` stands where they were, and what
encloses a statement that stays (`if`, `for`, `try`) stays too; the signature always does.

    code = "def f(x):\\n    log()\\n    y = x + 1\\n    return y\\n"
    shorten(code, max_chars=40, wanted=re.compile("return"))        # 'def f(x):\\n    ...\\n    return y\\n'
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


@dataclass(frozen=True)
class _Unit:
    """Lines that are shown or left out together: a statement, or what a compound one has outside its blocks."""

    lines: tuple[int, ...]
    owners: tuple[int, ...]  # positions of the enclosing units


def shorten(code: str, *, max_chars: int, wanted: re.Pattern[str]) -> str | None:
    """Return a function with statements left out until it fits, or None where no statement would be left.

    Args:
        code: One function, or one class with one method.
        max_chars: Length that the result does not exceed.
        wanted: What a statement holds that should stay; among equals the earlier stay.
    """
    if len(code) <= max_chars:
        return code
    function = ast.parse(code).body[0]
    if isinstance(function, ast.ClassDef):
        function = function.body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    lines = code.splitlines(keepends=True)
    first = _lines(function.body[0]).start
    units: list[_Unit] = []
    _collect(function.body, (), units)
    room = max_chars - len("".join(lines[:first]))
    kept = _chosen(units, lines, room, wanted)
    return "".join(lines[:first]) + "".join(_shown(units, lines, kept)) if kept else None


def _collect(body: Sequence[ast.stmt], owners: tuple[int, ...], units: list[_Unit]) -> None:
    for statement in body:
        blocks = list(_blocks(statement))
        inner = {line for block in blocks for child in block for line in _lines(child)}
        units.append(_Unit(tuple(line for line in _lines(statement) if line not in inner), owners))
        mine = (*owners, len(units) - 1)
        for block in blocks:
            _collect(block, mine, units)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in _BLOCKS:
        children = getattr(node, name, None) or []
        if isinstance(children, list) and children and isinstance(children[0], ast.stmt):
            yield children
        elif isinstance(children, list):  # handlers and cases hold blocks, not statements
            for child in children:
                yield from _blocks(child)


def _lines(statement: ast.stmt) -> range:
    decorators = getattr(statement, "decorator_list", [])
    start = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return range(start - 1, statement.end_lineno or statement.lineno)


def _chosen(units: list[_Unit], lines: list[str], room: int, wanted: re.Pattern[str]) -> set[int]:
    texts = ["".join(lines[line] for line in unit.lines) for unit in units]
    kept: set[int] = set()
    used = 0  # without the elisions, so a bound that spares most of the exact checks
    for position in sorted(range(len(units)), key=lambda position: (not wanted.search(texts[position]), position)):
        new = {position, *units[position].owners} - kept
        length = sum(len(texts[index]) for index in new)
        if used + length <= room and sum(map(len, _shown(units, lines, kept | new))) <= room:
            kept |= new
            used += length
    return kept


def _shown(units: list[_Unit], lines: list[str], kept: set[int]) -> Iterator[str]:
    owner = {line: position for position, unit in reversed(list(enumerate(units))) for line in unit.lines}
    last_elision: int | None = None
    for line in sorted(owner):
        position = owner[line]
        if position in kept:
            last_elision = None
            yield lines[line]
        elif line == units[position].lines[0]:
            # deeper lines belong to what the last `...` stands for, equally deep ones follow it
            depth = _indentation(lines[line])
            if last_elision is None or depth < last_elision:
                last_elision = depth
                yield lines[line][:depth] + "...\n"


def _indentation(text: str) -> int:
    return len(text) - len(text.lstrip())
