"""Annotated functions in a source file, and one annotation taken out of one of them.

Use it to turn code into fill-in-the-blank questions: `functions` finds what can be asked about, `mask` makes the gap.
Docstrings and comments are removed, because they often spell the type out. Nothing is imported or run.

    function = next(functions("def f(x: int):\n    return x + 1\n"))
    slots(function.node)                                 # [Slot(kind='param', name='x', annotation='int')]
    mask(function.source, Slot("param", "x"))            # ('def f(x: ', '):\n    return x + 1\n')
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_GAP = "ELLORA_GAP_"
_CLASS_LINE = "class _:\n"  # makes a method, cut out with its indentation, parse on its own
_NO_CODE = (tokenize.COMMENT, tokenize.NL)
_STATEMENT_STARTS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True)
class Slot:
    """One place for an annotation: a parameter, or what a function returns (then the name is empty)."""

    kind: Literal["param", "return"]
    name: str = ""
    annotation: str = ""


@dataclass(frozen=True)
class Function:
    """A module-level function, or a method of a module-level class.

    Attributes:
        qualname: `function` or `Class.method`.
        line: First line in the file, 1-based, decorators included.
        end_line: Last line.
        source: Those lines as they are in the file, indentation included.
        node: Its syntax tree.
    """

    qualname: str
    line: int
    end_line: int
    source: str
    node: FunctionNode = field(compare=False, repr=False)


def parse(text: str) -> ast.Module:
    """Parse a file without printing its authors' invalid escapes as warnings of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def functions(text: str, tree: ast.Module | None = None) -> Iterator[Function]:
    """Yield the functions of a file in source order, overloads left out: they are only half an answer.

    Raises:
        SyntaxError: The text is not Python.
        ValueError: The text holds a null byte.
    """
    lines = io.StringIO(text).readlines()
    for qualname, node in _function_nodes(tree or parse(text)):
        if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
            continue
        line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        end_line = node.end_lineno or node.lineno
        yield Function(qualname, line, end_line, "".join(lines[line - 1 : end_line]), node)


def slots(node: FunctionNode) -> list[Slot]:
    """Return the annotated slots of a function; `*args` and `**kwargs` are left out, theirs mean something else."""
    found = [
        Slot("param", argument.arg, ast.unparse(argument.annotation))
        for argument in _parameters(node)
        if argument.annotation is not None
    ]
    if node.returns is not None:
        found.append(Slot("return", "", ast.unparse(node.returns)))
    return found


def mask(source: str, slot: Slot) -> tuple[str, str]:
    """Return the function's code before and after one annotation, without docstrings, comments and blank lines.

    A slot that has no annotation in the source (the standard library's) gets its `: ` or ` -> ` all the same.

    Raises:
        ValueError: The function has no such parameter, or the source is not one function.
    """
    head = _CLASS_LINE if source[:1] in (" ", "\t") else ""
    text = head + source
    nodes = [node for _, node in _function_nodes(parse(text))]
    if len(nodes) != 1:
        raise ValueError(f"the source holds {len(nodes)} functions; give exactly one")
    start, end, lead = _gap(text, nodes[0], slot)
    prefix, _, suffix = _without_prose(text[:start] + lead + _GAP + text[end:]).partition(_GAP)
    return prefix.removeprefix(head), suffix


def parameter_default(node: FunctionNode, name: str) -> ast.expr | None:
    """Return the default value of a parameter, or None where it has none."""
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults = node.args.defaults
    pairs = [*zip(positional[len(positional) - len(defaults) :], defaults, strict=True)]
    for argument, default in [*pairs, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]:
        if argument.arg == name:
            return default
    return None


def _function_nodes(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    for node in tree.body:
        if isinstance(node, FunctionNode):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{item.name}", item) for item in node.body if isinstance(item, FunctionNode))


def _parameters(node: FunctionNode) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def _gap(text: str, node: FunctionNode, slot: Slot) -> tuple[int, int, str]:
    """Return the characters a gap replaces, and what has to be written before it."""
    if slot.kind == "return":
        target, annotation, lead = node, node.returns, " -> "
    else:
        arguments = {argument.arg: argument for argument in _parameters(node)}
        if slot.name not in arguments:
            raise ValueError(f"{node.name} has no parameter {slot.name!r}; use one of {', '.join(arguments)}")
        target, lead = arguments[slot.name], ": "
        annotation = target.annotation
    if annotation is not None:
        start, end = _extent(text, annotation)
        return start, end, ""
    position = _signature_colon(text, node) if slot.kind == "return" else _extent(text, target)[1]
    return position, position, lead


def _extent(text: str, node: ast.expr | ast.arg | FunctionNode) -> tuple[int, int]:
    """Return a node's first character and the one after its last; `ast` counts columns in UTF-8 bytes."""
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return _index(text, node.lineno, node.col_offset), _index(text, end_line, end_column)


def _index(text: str, line: int, column: int) -> int:
    lines = io.StringIO(text).readlines()
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _signature_colon(text: str, node: FunctionNode) -> int:
    depth, started = 0, False
    lines = io.StringIO(text).readlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        started = started or (token.string == "def" and token.start[0] >= node.lineno)
        if not started:
            continue
        depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
        if token.string == ":" and depth == 0:
            return sum(map(len, lines[: token.start[0] - 1])) + token.start[1]
    raise ValueError(f"{node.name} has no body")


def _without_prose(text: str) -> str:
    """Remove comments, strings that are whole statements, and the lines this leaves blank."""
    lines = io.StringIO(text).readlines()
    for (first, column), (last, end), instead in reversed(_prose(text)):
        kept = (lines[first - 1][:column] + instead).rstrip() + lines[last - 1][end:]
        lines[first - 1 : last] = [kept if kept.strip() else "", *[""] * (last - first)]
    return "".join(lines)


def _prose(text: str) -> list[tuple[tuple[int, int], tuple[int, int], str]]:
    """Return start, end (line from 1, column) and replacement of comments, string statements and blank lines."""
    found = []
    previous = tokenize.NEWLINE
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    code = [token.type for token in tokens if token.type not in _NO_CODE]
    n_code = 0
    for token in tokens:
        if token.type == tokenize.NL and not token.line.strip():
            found.append(((token.start[0], 0), (token.start[0], len(token.line)), ""))
        elif token.type == tokenize.COMMENT:
            found.append((token.start, token.end, ""))
        elif token.type == tokenize.STRING and previous in _STATEMENT_STARTS and code[n_code + 1] == tokenize.NEWLINE:
            # a block may hold nothing else
            alone = previous == tokenize.INDENT and code[n_code + 2] == tokenize.DEDENT
            found.append((token.start, token.end, "..." if alone else ""))
        if token.type not in _NO_CODE:
            previous = token.type
            n_code += 1
    return found
