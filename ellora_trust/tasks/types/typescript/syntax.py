"""Annotated functions and variables in a TypeScript file, and one annotation taken out of one of them.

Use it as `annotations` is used for Python. Comments are removed, because they often spell the type out. Nothing is run.

    unit = next(units("export function f(x: number) {\\n  return x + 1;\\n}\\n"))
    slots(unit)[0]                      # Slot(kind='param', name='x', annotation='number')
    mask(unit.source, "f", slots(unit)[0])     # ('export function f(x: ', ') {\\n  return x + 1;\\n}\\n')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tree_sitter import Node

from ellora_trust.tasks.types.typescript.tree import parse, text_of, walk, without_prose

_FUNCTIONS = frozenset({"function_declaration", "generator_function_declaration", "method_definition"})
_VALUES = frozenset({"arrow_function", "function_expression"})
_CLASSES = frozenset({"class_declaration", "abstract_class_declaration"})
_VARIABLES = frozenset({"lexical_declaration", "variable_declaration"})
Kind = Literal["param", "return", "var"]
_DECLARES = frozenset(
    "import_specifier namespace_import import_clause class_declaration abstract_class_declaration "
    "interface_declaration type_alias_declaration enum_declaration".split()
)


@dataclass(frozen=True)
class Slot:
    """One place for an annotation: a parameter, what a function returns (then the name is empty), or a variable."""

    kind: Kind
    name: str = ""
    annotation: str = ""


@dataclass(frozen=True)
class Unit:
    """A module-level function or variable, or a method of a module-level class.

    Attributes:
        qualname: `name` or `Class.method`.
        line: First line in the file, 1-based.
        end_line: Last line.
        source: Its text, with the indentation of its first line.
    """

    qualname: str
    line: int
    end_line: int
    source: str


def units(text: str) -> Iterator[Unit]:
    """Yield what can be asked about in source order; of one name used twice (overloads, accessors) nothing."""
    root, data = parse(text), text.encode()
    found = [pair for child in root.named_children for pair in _named(child)]
    times = Counter(qualname for qualname, _ in found)
    for qualname, node in found:
        if times[qualname] == 1 and not node.has_error and not node.type.endswith("_signature"):
            start = data.rfind(b"\n", 0, node.start_byte) + 1
            before = data[start : node.start_byte].decode()
            indentation = before if not before.strip() else ""
            yield Unit(qualname, node.start_point.row + 1, node.end_point.row + 1, indentation + text_of(node))


def visible_names(text: str) -> set[str]:
    """Return the names that a file imports or declares as classes, interfaces, types and enumerations."""
    names: set[str] = set()
    for node in walk(parse(text)):
        if node.type in _DECLARES:
            own = node.child_by_field_name("alias") or node.child_by_field_name("name")
            idents = [child for child in node.named_children if child.type == "identifier"]
            names |= {text_of(one) for one in ([own] if own is not None else idents)}
    return names


def slots(unit: Unit) -> list[Slot]:
    """Return the annotated slots of a unit: its own parameters and return value, and every variable named once.

    Rest parameters, patterns and `this` are left out, as are type predicates.
    """
    core = _core_of(parse(shown(unit.source, unit.qualname)))
    return [Slot(kind, name, text_of(node)) for kind, name, node in _annotations(core)]


def mask(source: str, qualname: str, slot: Slot) -> tuple[str, str]:
    """Return a unit's code before and after one annotation, without comments and blank lines.

    The code of a method stands in its class.

    Raises:
        ValueError: The unit has no such annotation.
    """
    text = without_prose(shown(source, qualname))
    core, data = _core_of(parse(text)), text.encode()
    for kind, name, node in _annotations(core):
        if (kind, name) == (slot.kind, slot.name):
            return data[: node.start_byte].decode(), data[node.end_byte :].decode()
    raise ValueError(f"{qualname} has no annotated {slot.kind} {slot.name!r}; use one that slots() gives")


def shown(source: str, qualname: str) -> str:
    """Return a unit's text as it parses alone: a method in its class."""
    owner = qualname.rpartition(".")[0]
    return f"class {owner} {{\n{source}\n}}\n" if owner else f"{source}\n"


def body_of(text: str) -> Node | None:
    """Return the body of the one unit in a text, or None where it is a plain variable."""
    function = _function(_core_of(parse(text)))
    return None if function is None else function.child_by_field_name("body")


def uses(node: Node, name: str) -> bool:
    """Whether a name occurs in code."""
    kinds = ("identifier", "shorthand_property_identifier")
    return any(part.type in kinds and text_of(part) == name for part in walk(node))


def signature_start(text: str, at: int, kind: str) -> int:
    """Return the character at which the signature begins that is annotated at `at`: of its variable or function.

    Args:
        text: A unit's code, as `mask` shows it, with some type in the gap.
        at: Character in that type.
        kind: Of the slot.
    """
    wanted = _VARIABLES if kind == "var" else _FUNCTIONS | _VARIABLES
    position = len(text[:at].encode())
    node = parse(text).descendant_for_byte_range(position, position)
    assert node is not None  # the root holds every position
    owner = node
    while node.parent is not None:
        node = node.parent
        owner = node if node.type in wanted else owner
        if node.type in wanted and kind == "var":
            break
    if owner.parent is not None and owner.parent.type == "export_statement":
        owner = owner.parent
    return len(text.encode()[: owner.start_byte].decode())


def _core_of(root: Node) -> Node:
    """Return the declaration, out of its export or its class."""
    node = next(child for child in root.named_children if child.type != "comment")
    node = _declaration(node)
    body = node.child_by_field_name("body") if node.type in _CLASSES else None
    if body is None:
        return node
    return next(child for child in body.named_children if child.type == "method_definition")


def _declaration(node: Node) -> Node:
    return (node.child_by_field_name("declaration") or node) if node.type == "export_statement" else node


def _named(node: Node) -> Iterator[tuple[str, Node]]:
    """Yield qualified name and node of what one module-level statement declares, signatures of overloads too."""
    inner = _declaration(node)
    name = inner.child_by_field_name("name")
    if inner.type in _CLASSES and name is not None:
        body = inner.child_by_field_name("body")
        for member in body.named_children if body is not None else []:
            own = member.child_by_field_name("name")
            if own is not None and member.type in ("method_definition", "method_signature"):
                yield f"{text_of(name)}.{text_of(own)}", member
    elif inner.type in _VARIABLES:
        declarators = [child for child in inner.named_children if child.type == "variable_declarator"]
        if len(declarators) == 1 and (own := declarators[0].child_by_field_name("name")) is not None:
            yield text_of(own), node
    elif name is not None and (inner.type in _FUNCTIONS or inner.type == "function_signature"):
        yield text_of(name), node


def _function(core: Node) -> Node | None:
    """Return the function that a declaration declares or assigns, or None."""
    if core.type in _FUNCTIONS:
        return core
    for declarator in core.named_children:
        value = declarator.child_by_field_name("value")
        if value is not None and value.type in _VALUES:
            return value
    return None


def _annotations(core: Node) -> Iterator[tuple[Kind, str, Node]]:
    function = _function(core)
    if function is not None:
        parameters = function.child_by_field_name("parameters")
        for node in parameters.named_children if parameters is not None else []:
            pattern, annotation = node.child_by_field_name("pattern"), _type(node, "type")
            if pattern is not None and pattern.type == "identifier" and annotation is not None:
                yield "param", text_of(pattern), annotation
        if (annotation := _type(function, "return_type")) is not None:
            yield "return", "", annotation
    declarators = [node for node in walk(core) if node.type == "variable_declarator"]
    names = Counter(text_of(node.child_by_field_name("name") or node) for node in declarators)
    for node in declarators:
        name, annotation = text_of(node.child_by_field_name("name") or node), _type(node, "type")
        if names[name] == 1 and name.isidentifier() and node.child_by_field_name("value") and annotation is not None:
            yield "var", name, annotation


def _type(node: Node, field: str) -> Node | None:
    annotation = node.child_by_field_name(field)
    if annotation is None or annotation.type != "type_annotation" or len(annotation.named_children) != 1:
        return None
    return annotation.named_children[0]
