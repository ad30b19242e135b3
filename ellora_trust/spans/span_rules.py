"""Which syntax nodes are spans of each kind, and what they are called.

A rule takes a tree-sitter node and returns the node to report with its names, or None.

    RULES["python"]["call"](node)      # (node, ("np.sum", "sum"))
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tree_sitter import Node

from ellora_trust.spans.bindings import declared_name, text_of

Found = tuple[Node, tuple[str, ...]] | None
Rule = Callable[[Node], Found]

# Nodes that end in "_statement" and are no statement of their own, and statements that do not.
_NOT_STATEMENTS = ("compound_statement", "attributed_statement")
_OTHER_STATEMENTS = {
    "class_definition": "class",
    "declaration": "declaration",
    "decorated_definition": "decorated",
    "function_definition": "function",
    "type_definition": "typedef",
}


def _python_annotation(node: Node) -> Found:
    if node.type in ("typed_parameter", "typed_default_parameter"):
        target, of = node.child_by_field_name("type"), declared_name(node)
    elif node.type == "function_definition":
        target, of = node.child_by_field_name("return_type"), node.child_by_field_name("name")
    else:
        return None
    return (target, (text_of(of),) if of else ()) if target else None


def _c_annotation(node: Node) -> Found:
    if node.type not in ("parameter_declaration", "function_definition"):
        return None
    target, of = node.child_by_field_name("type"), declared_name(node)
    if target is None or (of is None and text_of(target) == "void"):
        return None
    return target, (text_of(of),) if of else ()


def _call(node: Node) -> Found:
    function = node.child_by_field_name("function") if node.type in ("call", "call_expression") else None
    if function is None:
        return None
    whole = text_of(function)
    return node, (whole, re.split(r"\.|->", whole)[-1].strip())


def _statement(node: Node) -> Found:
    kind = _OTHER_STATEMENTS.get(node.type)
    if node.type.endswith("_statement") and node.type not in _NOT_STATEMENTS:
        kind = node.type.removesuffix("_statement")
    in_loop_head = node.type == "declaration" and node.parent is not None and node.parent.type == "for_statement"
    return (node, (kind,)) if kind and not in_loop_head else None


def _pragma(node: Node) -> Found:
    match = re.match(r"#\s*pragma\s+(\w*)", text_of(node)) if node.type == "preproc_call" else None
    return (node, (match[1],)) if match else None


def _default(node: Node) -> Found:
    value, name = node.child_by_field_name("value"), node.child_by_field_name("name")
    wanted = node.type in ("default_parameter", "typed_default_parameter")
    return (value, (text_of(name),) if name else ()) if wanted and value else None


def _function(node: Node) -> Found:
    name = declared_name(node) if node.type == "function_definition" else None
    return (node, (text_of(name),)) if name else None


def _comment(node: Node) -> Found:
    return (node, ()) if node.type == "comment" else None


def _identifier(node: Node) -> Found:
    return (node, (text_of(node),)) if node.type.endswith("identifier") else None


_SHARED: dict[str, Rule] = {
    "call": _call,
    "comment": _comment,
    "function": _function,
    "identifier": _identifier,
    "statement": _statement,
}
RULES: dict[str, dict[str, Rule]] = {
    "python": {**_SHARED, "annotation": _python_annotation, "default": _default},
    "c": {**_SHARED, "annotation": _c_annotation, "pragma": _pragma},
}
