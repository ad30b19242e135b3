"""TypeScript as a syntax tree: parse, walk, and code without its comments.

[node.type for node in walk(parse("let x = 1;"))][:2]         # ['program', 'lexical_declaration']
without_prose("let x = 1; // one\\n")                         # 'let x = 1;\\n'
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tree_sitter import Language, Node, Parser

_HEAD = "type _ = "
_JOINED = ("union_type", "intersection_type")


@cache
def _parser() -> Parser:
    import tree_sitter_typescript

    return Parser(Language(tree_sitter_typescript.language_typescript()))


def parse(text: str) -> Node:
    """Return the root of a text's syntax tree; what is no TypeScript shows as errors in it."""
    return _parser().parse(text.encode()).root_node


def text_of(node: Node) -> str:
    """Return the text of a node."""
    return (node.text or b"").decode()


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, in the order of the text."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def without_prose(text: str) -> str:
    """Remove comments, and blank lines outside template strings."""
    data = text.encode()
    for node in reversed([node for node in walk(parse(text)) if node.type == "comment"]):
        before, after = data[: node.start_byte], data[node.end_byte :]
        # What stands on both sides of a comment must not become one word.
        data = before.rstrip(b" \t") + (b" " if after[:1] not in (b"", b"\n", b"\r") else b"") + after
    templates = [node for node in walk(parse(data.decode())) if node.type == "template_string"]
    kept, at = [], 0
    for line in data.splitlines(keepends=True):
        if line.strip() or any(node.start_byte < at < node.end_byte for node in templates):
            kept.append(line)
        at += len(line)
    return b"".join(kept).decode()


def type_node(annotation: str) -> Node | None:
    """Return the syntax tree of a text that is one type and nothing else, or None."""
    text = annotation.strip()
    if not text or any("\ud800" <= char <= "\udfff" for char in text):
        return None
    root = parse(f"{_HEAD}{text};\n")
    if root.has_error or [child.type for child in root.named_children] != ["type_alias_declaration"]:
        return None
    value = root.named_children[0].child_by_field_name("value")
    if value is None or value.start_byte != len(_HEAD) or value.end_byte != len(_HEAD) + len(text.encode()):
        return None
    wide = next((node for node in walk(value) if _is_wide(node)), None)
    return value if wide is None else type_node(_narrowed(text, wide))


def _is_wide(node: Node) -> bool:
    return node.type == "readonly_type" and node.named_children[0].type in _JOINED


def _narrowed(text: str, wide: Node) -> str:
    """Put what `readonly` goes with into parentheses: the grammar (0.23.2) takes all of `readonly A[] | B` for it."""
    inner = wide.named_children[0]
    while inner.type in _JOINED:
        inner = inner.named_children[0]
    data = text.encode()
    start, end = wide.start_byte - len(_HEAD), inner.end_byte - len(_HEAD)
    return (data[:start] + b"(" + data[start:end] + b")" + data[end:]).decode()
