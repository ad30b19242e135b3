"""Whether a C++ body really uses its execution model, decided on the syntax tree.

    uses_model("void f(std::vector<double> &x) {", "  // #pragma omp parallel for\\n ... }", "omp")    # False

What a comment, a string, `#if 0`, `if (false)` or a place after `return` holds does not count, nor does a directive
without work under it or one that asks for a single thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_WORK = ("assignment_expression", "update_expression", "call_expression")
_ALONE = re.compile(r"\b(num_threads|num_teams)\s*\(\s*1\s*\)|\bif\s*\(\s*(parallel\s*:)?\s*(0|false)\s*\)")
_CLAUSE = re.compile(r"\b\w+\s*\(")
_MOVES_DATA = re.compile(
    r"P?MPI_I?([bsr]?[Ss]end|[Rr]ecv|[Ss]endrecv(_replace)?|[Bb]cast|[Rr]educe(_scatter(_block)?)?|[Aa]llreduce|"
    r"[Gg]atherv?|[Aa]llgatherv?|[Ss]catterv?|[Aa]lltoall[vw]?|[Ss]can|[Ee]xscan|[Pp]ut|[Gg]et|[Aa]ccumulate)"
)
_FALSE, _TRUE = ("0", "false"), ("1", "true")
# The grammar has no place for a directive between a loop's head and its body, but one for an attribute.
_MARK = "[[region]] "
_QUOTED = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))
    |R"(?P<mark>[^()\\\s]{0,16})\(.*?(?:\)(?P=mark)"|\Z)
    |"(?:\\.|[^"\\\n])*["\n]?|\b\d[\w']*|'(?:\\.|[^'\\\n])*['\n]?""",
    re.VERBOSE | re.DOTALL,
)
_PRAGMA = re.compile(
    r'^[ \t]*#[ \t]*pragma[ \t]+omp\b(?P<line>.*)$|\b_Pragma\s*\(\s*"omp\b(?P<text>[^"]*)"\s*\)', re.MULTILINE
)
_CONDITION = re.compile(r"[ \t]*#[ \t]*(?P<word>if|ifdef|ifndef|elif|else|endif)\b(?P<rest>.*)")


def uses_model(signature: str, body: str, model: str) -> bool:
    """Return whether the body uses what its execution model is about; a serial one always does.

    Args:
        signature: C++ up to the opening brace, so that the body is read as one.
        body: From there on, with its closing brace.
        model: "serial", "omp", "mpi" or "mpi+omp", which needs both.
    """
    if model == "serial":
        return True
    root = _parser().parse(_prepared(f"{signature}{body}").encode()).root_node
    nodes = list(_live(root))
    found = {
        "omp": any(_is_parallel_region(node) for node in nodes),
        "mpi": any(_is_communication(node) for node in nodes),
    }
    return all(found[part] for part in model.split("+"))


@cache
def _parser() -> Parser:
    import tree_sitter_cpp
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_cpp.language()))


def _prepared(text: str) -> str:
    """Return the text without comments and dead preprocessor branches, with a mark at each parallel region."""
    text = re.sub(r"\\\r?\n", " ", text)
    text = _QUOTED.sub(_unquoted, text)
    return _PRAGMA.sub(_marked, "\n".join(_kept(text.split("\n"))))


def _unquoted(match: re.Match[str]) -> str:
    if match["comment"]:
        return " "
    return '""' if match["mark"] is not None else match[0]


def _kept(lines: list[str]) -> Iterator[str]:
    """Yield the lines that the preprocessor keeps, where only _OPENMP is defined; unknown conditions hold."""
    branches: list[tuple[bool, bool]] = []  # for each open #if: is this branch live, was one before
    for line in lines:
        match = _CONDITION.match(line)
        if match is None:
            if all(live for live, _ in branches):
                yield line
        elif match["word"].startswith("if"):
            holds = _holds(match["word"], match["rest"].strip())
            branches.append((holds, holds))
        elif branches:
            _, before = branches.pop()
            if match["word"] != "endif":
                holds = not before and (match["word"] == "else" or _holds("if", match["rest"].strip()))
                branches.append((holds, before or holds))


def _holds(word: str, rest: str) -> bool:
    if word == "if":
        return rest.strip("() \t") not in _FALSE
    return (rest == "_OPENMP") == (word == "ifdef")


def _marked(match: re.Match[str]) -> str:
    directive = (match["line"] or match["text"] or "").strip()
    name = _CLAUSE.split(directive, maxsplit=1)[0].split()
    opens = "parallel" in name or "teams" in name
    return _MARK if opens and not _ALONE.search(directive) else ""


def _live(node: Node) -> Iterator[Node]:
    """Yield the nodes below that can be reached, as far as that can be seen without evaluating anything."""
    yield node
    dead = _dead_children(node)
    ended = False
    for child in node.named_children:
        # What stands in the same block after an unconditional return is not reached.
        if not ended and child.id not in dead:
            yield from _live(child)
        ended = ended or (node.type == "compound_statement" and child.type == "return_statement")


def _dead_children(node: Node) -> set[int]:
    """Return the ids of the children that a constant condition rules out."""
    condition, alternative = node.child_by_field_name("condition"), node.child_by_field_name("alternative")
    if node.type not in ("if_statement", "while_statement") or condition is None:
        return set()
    text = _text(condition).strip("() \t\n")
    other = {alternative.id} if alternative else set()
    if text in _FALSE:
        return {child.id for child in node.named_children} - {condition.id, *other}
    return other if text in _TRUE else set()


def _is_parallel_region(node: Node) -> bool:
    """Whether a marked loop's body or block changes or calls anything."""
    if node.type != "attributed_statement" or not _text(node).startswith(_MARK.strip()):
        return False
    statement = node.named_children[-1]
    body = statement.child_by_field_name("body") or statement
    return any(below.type in _WORK for below in _live(body))


def _is_communication(node: Node) -> bool:
    if node.type != "call_expression":
        return False
    called = node.child_by_field_name("function")
    return called is not None and _MOVES_DATA.fullmatch(_text(called)) is not None


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
