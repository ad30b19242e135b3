"""Where things are in source text: annotations, calls, names, statements, pragmas.

Python and C, by tree-sitter, so incomplete code works too. `token_map` turns a span into tokens and is
importable from here.

    spans = select("def f(x: int): return x", "python", "annotation('x')")
    tokens = token_map(tokenizer, "def f(x: int): return x")
    [tokens.tokens_of(span.start, span.end) for span in spans]

A selector is a kind, then optionally a name in brackets, then optionally which one: `call`, `call("foo")`,
`call("foo")[-1]`, `line(3)`, `definition("x")[0]`, `last_use("x")`, `alias_of("x")`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import tree_sitter_c
import tree_sitter_python
from numpy.typing import NDArray
from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser, Tree

from ellora_trust.errors import InputError, one_of
from ellora_trust.spans.bindings import aliases, binds, reads, text_of
from ellora_trust.spans.span_rules import RULES
from ellora_trust.spans.token_map import TokenMap, token_map
from ellora_trust.spans.token_offsets import char_of_byte

__all__ = ["Kind", "Language", "Span", "TokenMap", "find", "parse", "select", "token_map"]

Language = Literal["python", "c"]
Kind = Literal[
    "annotation",
    "call",
    "comment",
    "default",
    "function",
    "identifier",
    "line",
    "pragma",
    "statement",
    "definition",
    "last_use",
    "alias_of",
]
# Kinds that mean nothing without the name they are about.
_NAME_NEEDED = ("definition", "last_use", "alias_of")
_SELECTOR = re.compile(r"""(\w+)(?:\(\s*(?:"([^"]*)"|'([^']*)'|(\d+))\s*\))?(?:\[(-?\d+)\])?""")
_NEWLINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Span:
    """A piece of source text.

    Attributes:
        kind: What it is.
        start: First character.
        end: Character after the last.
        start_byte: First byte of the UTF-8 text.
        end_byte: Byte after the last.
        text: `source[start:end]`.
        name: What it is called, by the table of `find`; None where it has no name.
    """

    kind: str
    start: int
    end: int
    start_byte: int
    end_byte: int
    text: str
    name: str | None = None


def parse(source: str, language: Language) -> Tree:
    """Return the syntax tree; broken code gives a tree with ERROR nodes.

    Args:
        source: Source text. The parsed copy ends with one more newline, without which a last `#pragma` line
            is an error in C.
        language: `python` or `c`.

    Raises:
        InputError: An unknown language, or text with a lone surrogate.
    """
    char_of_byte(source)
    return Parser(_grammar(language)).parse((source + "\n").encode())


def find(source: str, language: Language, kind: Kind, name: str | None = None) -> list[Span]:
    """Return the spans of one kind, in the order of the source.

    | kind | span | name |
    |---|---|---|
    | annotation | type of a parameter, returned type | the parameter, the function |
    | call | whole call | the function as written, or its last part: `np.sum` or `sum` |
    | comment | with its marks | none |
    | default | default value of a parameter (Python) | the parameter |
    | function | whole definition | the function |
    | identifier | one name, attributes and fields too | itself |
    | line | without its line end | its number, from "1" |
    | pragma | `#pragma ...` with continued lines (C) | its first word: `omp` |
    | statement | with its body, if it has one | `return`, `for`, `expression`, `function` ... |
    | definition | each place that binds the name, first or again | that name, needed |
    | last_use | the last place that reads the name | that name, needed |
    | alias_of | each name bound to it directly: y of `y = x`; in C also of `y = &x` | that name, needed |

    The last three know no scopes: pass the text of one function where names are reused.

    Args:
        source: Source text, which may be incomplete.
        language: `python` or `c`.
        kind: One of the table.
        name: Only spans with this name; None for all.

    Raises:
        InputError: The language has no such kind, the kind no names, or the name is missing.
    """
    grammar_rules = RULES[_known(language)]
    if kind not in get_args(Kind):
        raise InputError(one_of(kind, get_args(Kind), what="kind of span"))
    if kind in _NAME_NEEDED and name is None:
        raise InputError(f'{kind} needs a name; write {kind}("x")')
    if kind == "comment" and name is not None:
        raise InputError(f"comments have no name, but {name!r} was given; leave it out")
    chars = char_of_byte(source)
    if kind == "line":
        return [span for span in _lines(source, chars) if name in (None, span.name)]
    tree = parse(source, language)
    if kind in _NAME_NEEDED:
        assert name is not None
        return [_span(kind, source, chars, node, name) for node in _named(tree, kind, name)]
    if kind not in grammar_rules:
        known = sorted([*grammar_rules, "line", *_NAME_NEEDED])
        raise InputError(f"{language} has no spans of kind {kind!r}; it has {', '.join(known)}")
    found = filter(None, map(grammar_rules[kind], _nodes(tree.root_node)))
    # A returned type comes after the parameters, though its node is found first.
    return sorted(
        (
            _span(kind, source, chars, node, names[0] if names else None)
            for node, names in found
            if name is None or name in names
        ),
        key=lambda span: (span.start, -span.end),
    )


def select(source: str, language: Language, selector: str) -> list[Span]:
    """Return the spans a selector names, in the order of the source; none where nothing matches.

    Args:
        source: Source text, which may be incomplete.
        language: `python` or `c`.
        selector: `kind` or `kind("name")`, optionally with `[i]` for one of them, from 0 or from the end.

    Raises:
        InputError: The selector cannot be read, or as `find`.
    """
    match = _SELECTOR.fullmatch(selector.strip())
    if match is None:
        raise InputError(f'cannot read selector {selector!r}; write kind, kind("name") or kind("name")[0]')
    kind, *names, index = match.groups()
    name = next((n for n in names if n is not None), None)
    spans = find(source, language, kind, name)  # pyright: ignore[reportArgumentType] # checked there
    if index is None:
        return spans
    return spans[int(index) :][:1] if -len(spans) <= int(index) < len(spans) else []


@lru_cache(maxsize=2)
def _grammar(language: Language) -> Grammar:
    return Grammar({"python": tree_sitter_python, "c": tree_sitter_c}[_known(language)].language())


def _known(language: Language) -> Language:
    if language not in get_args(Language):
        raise InputError(one_of(language, get_args(Language), what="language"))
    return language


def _nodes(root: Node) -> Iterator[Node]:
    """Every node that is in the text, parents first, in the order of the source."""
    # A stack of our own: generated code nests deeper than Python recurses.
    stack = [root]
    while stack:
        node = stack.pop()
        if not node.is_missing:
            yield node
        stack.extend(reversed(node.children))


def _span(kind: str, source: str, chars: NDArray, node: Node, name: str | None) -> Span:
    # The parsed copy is one newline longer than the source; pragmas and comments before CRLF hold line ends.
    start, end = int(chars[node.start_byte]), int(chars[min(node.end_byte, len(chars) - 1)])
    text = source[start:end].rstrip("\r\n")
    end_byte = node.start_byte + len(text.encode())
    return Span(kind, start, start + len(text), node.start_byte, end_byte, text, name)


def _lines(source: str, chars: NDArray) -> Iterator[Span]:
    starts = [0, *(m.end() for m in _NEWLINE.finditer(source))]
    ends = [*(m.start() for m in _NEWLINE.finditer(source)), len(source)]
    if starts[-1] == len(source):
        del starts[-1], ends[-1]
    first_byte = chars.searchsorted
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        first, last = int(first_byte(start)), int(first_byte(end))
        yield Span("line", start, end, first, last, source[start:end], str(number))


def _named(tree: Tree, kind: str, name: str) -> list[Node]:
    nodes = list(_nodes(tree.root_node))
    if kind == "alias_of":
        return sorted(aliases(nodes, name), key=lambda node: node.start_byte)
    same = [n for n in nodes if n.type == "identifier" and text_of(n) == name]
    if kind == "definition":
        return [n for n in same if binds(n)]
    return [n for n in same if reads(n)][-1:]
