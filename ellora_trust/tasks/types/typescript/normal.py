"""One spelling per TypeScript type: normalise an annotation, and cut one out of what a model wrote.

Use it as `type_normal` is used for Python: `Array<T>` and `T[]`, the members of a union in any order become equal;
`readonly T[]` and `T[]` do not.

    normalise("undefined | Array<string>")         # 'string[] | undefined'
    same_type("(x: number) => void", "(y: number)=>void")     # True
    leading_annotation(" Map<string, number> = new Map()")    # 'Map<string, number>'
"""

from __future__ import annotations

import re
from string import ascii_lowercase

from tree_sitter import Node

from ellora_trust.tasks.types.typescript.tree import text_of, type_node

_LONGEST = 200  # characters of a completion that are looked at
# What goes on with these was a longer type, cut short or wrong; its beginning is not the answer.
_GOES_ON = re.compile(r"\s*([|&\[<.]|=>|extends\b)")
_IN_WORD = re.compile(r"[\w$]{2}")
_LAST = {"null": 1, "undefined": 2}


def normalise(annotation: str) -> str | None:
    """Return the one spelling of a type, or None where the text is not a type, or of a kind that is not asked for.

    Unions and intersections are flattened, deduplicated and sorted, `null` and `undefined` last; parentheses go;
    `Array<T>` is `T[]`, `ReadonlyArray<T>` is `readonly T[]`, an index signature alone is a `Record`; parameters of
    function types are renamed, tuple labels go; dotted names keep their last part. Conditional, mapped, template and
    constructor types are not read.
    """
    node = type_node(annotation)
    try:
        normal = None if node is None else _rendered(node)
        # An intersection whose members turn out equal can be a union, which then has to be flattened.
        return normal if normal in (None, annotation) else normalise(normal)
    except (ValueError, RecursionError):
        return None


def same_type(first: str, second: str) -> bool:
    """Whether two annotations name the same type; text that is no type equals nothing."""
    normal = normalise(first)
    return normal is not None and normal == normalise(second)


def leading_annotation(completion: str) -> str | None:
    """Return the longest type that a completion starts with, as written, or None where it starts with none."""
    text = completion.strip().strip("`").partition("\n")[0].strip()[:_LONGEST]
    for end in range(len(text), 0, -1):
        if not _IN_WORD.fullmatch(text[end - 1 : end + 1]) and normalise(text[:end]) is not None:
            return None if _GOES_ON.match(text[end:]) else text[:end].rstrip()
    return None


def type_names(annotation: str) -> set[str]:
    """Return the first part of every name that a type refers to."""
    node = type_node(annotation)
    return set() if node is None else set(_names(node))


def _names(node: Node) -> list[str]:
    if node.type == "nested_type_identifier":
        return [text_of(node).partition(".")[0].strip()]
    if node.type == "type_identifier":
        return [text_of(node)]
    return [name for child in node.named_children for name in _names(child)]


def _rendered(node: Node) -> str:
    """Return the normal form of a type's node.

    Raises:
        ValueError: It is of a kind that is not read.
    """
    reader = _READERS.get(node.type)
    if reader is None:
        raise ValueError(f"{text_of(node)!r} is not read; use names, unions, arrays, objects and functions")
    return reader(node)


def _joined(node: Node) -> str:
    members = {_rendered(member) for member in _members(node, node.type)}
    if node.type == "intersection_type":
        alone = len(members) == 1
        return " & ".join(sorted(one if alone or not re.search(r" \| |=>", one) else f"({one})" for one in members))
    if {"true", "false"} <= members:
        members = members - {"true", "false"} | {"boolean"}
    ordered = sorted(members, key=lambda member: (_LAST.get(member, 0), member))
    return " | ".join(f"({one})" if "=>" in one and len(ordered) > 1 else one for one in ordered)


def _members(node: Node, kind: str) -> list[Node]:
    if node.type in (kind, "parenthesized_type"):
        inner = [member for child in node.named_children for member in _members(child, kind)]
        return inner if node.type == kind or len(inner) > 1 else [_bare(node)]
    return [node]


def _bare(node: Node) -> Node:
    while node.type == "parenthesized_type":
        node = node.named_children[0]
    return node


def _array(element: str) -> str:
    depth, text = 0, element.replace("=>", "")
    for char in text:
        depth += (char in "<[({") - (char in ">])}")
        if char == " " and depth == 0:  # of a union, a function, an operator
            return f"Array<{element}>"
    return f"{element}[]" if re.match(r"[\w$]", text) else f"Array<{element}>"


def _readonly(node: Node) -> str:
    (inner,) = node.named_children
    if inner.type == "array_type":
        return _readonly_array(_rendered(inner.named_children[0]))
    if inner.type == "tuple_type":
        return f"readonly {_tuple(inner)}"
    raise ValueError("readonly goes with arrays and tuples")


def _readonly_array(element: str) -> str:
    array = _array(element)
    return f"readonly {array}" if array.endswith("[]") else f"Readonly{array}"


def _generic(node: Node) -> str:
    name, arguments = node.named_children
    rendered = [_rendered(argument) for argument in arguments.named_children]
    base = _last_part(name)
    if len(rendered) == 1 and base in ("Array", "ReadonlyArray"):
        return _array(rendered[0]) if base == "Array" else _readonly_array(rendered[0])
    return f"{base}<{', '.join(rendered)}>"


def _last_part(node: Node) -> str:
    return text_of(node).rpartition(".")[2].strip()


def _tuple(node: Node) -> str:
    return f"[{', '.join(map(_element, node.named_children))}]"


def _element(node: Node) -> str:
    if node.type in ("required_parameter", "optional_parameter"):  # labelled
        mark = "?" if node.type == "optional_parameter" else ""
        rest = "..." if _pattern(node).type == "rest_pattern" else ""
        return f"{rest}{_annotated(node)}{mark}"
    if node.type in ("optional_type", "rest_type"):
        inner = _rendered(node.named_children[0])
        return f"{inner}?" if node.type == "optional_type" else f"...{inner}"
    return _rendered(node)


def _pattern(node: Node) -> Node:
    return node.child_by_field_name("pattern") or node.child_by_field_name("name") or node


def _annotated(node: Node, field: str = "type") -> str:
    """Return what stands behind a colon; without annotation anything goes."""
    annotation = node.child_by_field_name(field)
    if annotation is None:
        return "any"
    return _rendered(annotation.named_children[0] if annotation.type == "type_annotation" else annotation)


def _function(node: Node) -> str:
    if node.child_by_field_name("type_parameters") is not None:
        raise ValueError("generic function types are not read")
    return f"{_parameters(node)} => {_annotated(node, 'return_type')}"


def _parameters(node: Node) -> str:
    parameters = node.child_by_field_name("parameters")
    found = parameters.named_children if parameters is not None else []
    if len(found) > len(ascii_lowercase) or any("parameter" not in one.type for one in found):
        raise ValueError("not a list of parameters")
    shown = []
    for letter, one in zip(ascii_lowercase, found, strict=False):
        rest = "..." if _pattern(one).type == "rest_pattern" else ""
        mark = "?" if one.type == "optional_parameter" else ""
        shown.append(f"{rest}{letter}{mark}: {_annotated(one)}")
    return f"({', '.join(shown)})"


def _object(node: Node) -> str:
    members = node.named_children
    if len(members) == 1 and members[0].type == "index_signature":
        return _index(members[0])
    return f"{{ {'; '.join(sorted(map(_member, members)))} }}" if members else "{}"


def _index(node: Node) -> str:
    key = node.child_by_field_name("index_type")
    if key is None or text_of(node).startswith(("readonly", "-", "+")):
        raise ValueError("not an index signature that is read")
    return f"Record<{_rendered(key)}, {_annotated(node)}>"


def _member(node: Node) -> str:
    name = node.child_by_field_name("name")
    if name is None or node.type not in ("property_signature", "method_signature"):
        raise ValueError(f"a {node.type} is not read")
    marks = {child.type for child in node.children if not child.is_named}
    is_method = node.type == "method_signature"
    kind = f"{_parameters(node)} => {_annotated(node, 'return_type')}" if is_method else _annotated(node)
    if is_method and marks & {"get", "set"}:
        raise ValueError("accessors are not read")
    return f"{'readonly ' if 'readonly' in marks else ''}{text_of(name)}{'?' if '?' in marks else ''}: {kind}"


def _literal(node: Node) -> str:
    text = text_of(node)
    if text.startswith("'") and '"' not in text and "\\" not in text:
        return f'"{text[1:-1]}"'
    return text


_READERS = {
    **dict.fromkeys(("predefined_type", "type_identifier", "identifier", "this_type"), text_of),
    "union_type": _joined,
    "intersection_type": _joined,
    "parenthesized_type": lambda node: _rendered(_bare(node)),
    "array_type": lambda node: _array(_rendered(node.named_children[0])),
    "readonly_type": _readonly,
    "generic_type": _generic,
    "nested_type_identifier": _last_part,
    "tuple_type": _tuple,
    "function_type": _function,
    "object_type": _object,
    "literal_type": _literal,
    "type_query": lambda node: " ".join(text_of(node).split()),
    "index_type_query": lambda node: f"keyof {_rendered(node.named_children[0])}",
}
