"""What the names of a TypeScript program stand for, through tree-sitter: a small resolver of scopes.

It knows `let`, `const` and `var`, parameters, patterns, `catch`, functions, classes, imports, types and type
parameters. Function bodies share the scope of their parameters, which is stricter than the language.

    names = names_of("function f(x: number) { return x; }")
    [(name.text, name.binding) for name in names if name.is_value]      # f and both x, the x with one binding
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

from ellora_trust.tasks.types.typescript.tree import parse, text_of, walk

_FUNCTIONS = frozenset(
    "function_declaration generator_function_declaration function_expression generator_function arrow_function "
    "method_definition".split()
)
_SIGNATURES = frozenset(
    "function_type constructor_type method_signature call_signature construct_signature function_signature "
    "abstract_method_signature".split()
)
_BLOCKS = frozenset(
    "statement_block for_statement for_in_statement catch_clause switch_body class_static_block".split()
)
_TYPE_OWNERS = frozenset(
    "class_declaration abstract_class_declaration class interface_declaration type_alias_declaration "
    "mapped_type_clause conditional_type".split()
)
_PARAMETERS = frozenset({"required_parameter", "optional_parameter"})
_TYPE_WORDS = frozenset({"type_identifier", "predefined_type"})
_VALUES = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_FIELD_MARKS = frozenset({"accessibility_modifier", "override_modifier", "readonly"})


@dataclass(eq=False)
class Scope:
    """A stretch of code in which names are bound."""

    parent: Scope | None
    is_function: bool
    is_signature: bool = False
    values: dict[str, str] = field(default_factory=dict)  # name -> how it was declared
    types: set[str] = field(default_factory=set)


@dataclass(frozen=True, eq=False)
class Name:
    """One place where a name stands.

    Attributes:
        node: Where.
        text: The name.
        is_value: Whether it names a value; else a type.
        binding: The scope that binds it, or None where the program does not.
        declared: How: `let`, `const`, `var`, `parameter`, `catch`, or something that is no variable.
    """

    node: Node
    text: str
    is_value: bool
    binding: Scope | None
    declared: str


def names_of(code: str) -> list[Name]:
    """Return every place where a value or a type is named, in the order of the text.

    Raises:
        SyntaxError: It does not parse.
    """
    root = parse(code)
    if root.has_error:
        raise SyntaxError("not TypeScript")
    top = Scope(None, is_function=True)
    scopes: dict[int, Scope] = {}
    _open(root, top, scopes)
    for node in walk(root):
        _declare(node, scopes)
    return [_name(node, scopes[node.id]) for node in walk(root) if node.type in _VALUES | _TYPE_WORDS]


def _open(node: Node, scope: Scope, scopes: dict[int, Scope]) -> None:
    """Give every node its scope."""
    scopes[node.id] = scope
    is_body = node.type == "statement_block" and node.parent is not None and node.parent.type in _FUNCTIONS
    if node.type in _FUNCTIONS | _SIGNATURES:
        scope = Scope(scope, True, node.type in _SIGNATURES)
    elif node.type in _BLOCKS | _TYPE_OWNERS and not is_body:
        scope = Scope(scope, False)
    for child in node.children:
        _open(child, scope, scopes)


def _declare(node: Node, scopes: dict[int, Scope]) -> None:
    scope = scopes[node.id]
    if node.type == "variable_declarator":
        kind = _keyword(node.parent)
        _bind(node.child_by_field_name("name"), _function_scope(scope) if kind == "var" else scope, kind)
    elif node.type == "for_in_statement" and (kind := node.child_by_field_name("kind")) is not None:
        inner = scopes[node.children[0].id]
        _bind(
            node.child_by_field_name("left"), _function_scope(scope) if text_of(kind) == "var" else inner, text_of(kind)
        )
    elif node.type in _PARAMETERS:
        is_field = any(child.type in _FIELD_MARKS for child in node.children)
        kind = "field" if is_field else "signature" if scope.is_signature else "parameter"
        _bind(node.child_by_field_name("pattern"), scope, kind)
    elif node.type == "catch_clause":
        _bind(node.child_by_field_name("parameter"), scopes[node.children[0].id], "catch")
    elif node.type == "arrow_function" and (single := node.child_by_field_name("parameter")) is not None:
        _bind(single, scopes[single.id], "parameter")
    else:
        _declare_named(node, scopes)


def _declare_named(node: Node, scopes: dict[int, Scope]) -> None:
    """Bind what functions, classes, types and imports are called; none of it is a variable."""
    name, scope = node.child_by_field_name("name"), scopes[node.id]
    if node.type in ("function_declaration", "generator_function_declaration", "function_signature") and name:
        scope.values[text_of(name)] = "function"
    elif node.type in ("function_expression", "generator_function") and name:
        scopes[name.id].values.setdefault(text_of(name), "function")
    elif node.type in ("class_declaration", "abstract_class_declaration", "enum_declaration") and name:
        scope.values[text_of(name)] = "class"
        scope.types.add(text_of(name))
    elif node.type in ("interface_declaration", "type_alias_declaration") and name:
        scope.types.add(text_of(name))
    elif node.type == "type_parameter" and name:
        scope.types.add(text_of(name))
    elif node.type == "mapped_type_clause" and name:
        scopes[name.id].types.add(text_of(name))
    elif node.type == "infer_type":
        scope.types |= {text_of(child) for child in node.named_children[:1]}
    elif node.type in ("import_specifier", "namespace_import", "import_clause", "import_require_clause"):
        own = node.child_by_field_name("alias") or name
        found = [own] if own else [child for child in node.named_children if child.type == "identifier"]
        for one in found:
            scope.values[text_of(one)] = "import"
            scope.types.add(text_of(one))


def _bind(pattern: Node | None, scope: Scope, kind: str) -> None:
    for node in _bound(pattern) if pattern is not None else ():
        known = scope.values.get(text_of(node))
        # What is declared in two ways is left alone.
        scope.values[text_of(node)] = kind if known in (None, kind) else "mixed"


def _bound(pattern: Node) -> Iterator[Node]:
    """Yield the identifiers that a pattern binds; defaults and keys in it bind nothing."""
    if pattern.type in ("identifier", "shorthand_property_identifier_pattern"):
        yield pattern
    elif pattern.type in ("assignment_pattern", "object_assignment_pattern"):
        left = pattern.child_by_field_name("left")
        yield from _bound(left) if left is not None else ()
    elif pattern.type == "pair_pattern":
        value = pattern.child_by_field_name("value")
        yield from _bound(value) if value is not None else ()
    elif pattern.type in ("object_pattern", "array_pattern", "rest_pattern"):
        for child in pattern.named_children:
            yield from _bound(child)


def _keyword(node: Node | None) -> str:
    return text_of(node.children[0]) if node is not None and node.children else "let"


def _function_scope(scope: Scope) -> Scope:
    while not scope.is_function and scope.parent is not None:
        scope = scope.parent
    return scope


def _name(node: Node, scope: Scope) -> Name:
    text, is_value = text_of(node), node.type in _VALUES
    found: Scope | None = scope
    while found is not None and text not in (found.values if is_value else found.types):
        found = found.parent
    declared = found.values.get(text, "") if found is not None and is_value else ""
    if found is not None and is_value and found.parent is None and _is_exported(node):
        declared = "export"
    return Name(node, text, is_value, found, declared)


def _is_exported(node: Node) -> bool:
    at: Node | None = node
    while at is not None and at.type not in _FUNCTIONS:
        if at.type in ("export_statement", "export_clause"):
            return True
        at = at.parent
    return False
