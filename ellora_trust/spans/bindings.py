"""What an identifier in a syntax tree does: bind a name, read it, or make another name for it.

Works on tree-sitter nodes of the Python and C grammars, whose node types do not collide. Scopes are not
resolved.

    binds(node), reads(node)        # of an identifier node
    aliases(nodes, "x")             # the y of `y = x`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tree_sitter import Node

# Parents whose direct identifiers are bound.
_BINDING_PARENTS = {
    "as_pattern_target",
    "dictionary_splat_pattern",
    "lambda_parameters",
    "list_pattern",
    "list_splat_pattern",
    "parameters",
    "pattern_list",
    "splat_pattern",
    "tuple_pattern",
    "typed_parameter",
}
# Fields of a parent that hold what it binds.
_BINDING_FIELDS = {
    "aliased_import": "alias",
    "array_declarator": "declarator",
    "assignment": "left",
    "assignment_expression": "left",
    "augmented_assignment": "left",
    "class_definition": "name",
    "declaration": "declarator",
    "default_parameter": "name",
    "enumerator": "name",
    "for_in_clause": "left",
    "for_statement": "left",
    "function_declarator": "declarator",
    "function_definition": "name",
    "init_declarator": "declarator",
    "named_expression": "name",
    "parameter_declaration": "declarator",
    "pointer_declarator": "declarator",
    "preproc_def": "name",
    "preproc_function_def": "name",
    "typed_default_parameter": "name",
}
# Parents whose direct identifiers are named, but neither bound nor read.
_SILENT_PARENTS = ("delete_statement", "global_statement", "keyword_pattern", "nonlocal_statement")
# Fields that hold a label instead of a variable.
_LABEL_FIELDS = {"attribute": "attribute", "keyword_argument": "name"}
_IMPORTS = ("import_statement", "import_from_statement", "future_import_statement")


def text_of(node: Node) -> str:
    """Return the node's source text."""
    return (node.text or b"").decode(errors="replace")


def binds(identifier: Node) -> bool:
    """Whether an identifier is bound here: defined, assigned, imported, parameter, loop variable, capture.

    An augmented assignment (`x += 1`) binds its left side and reads it.
    """
    parent = identifier.parent
    if parent is None:
        return False
    if parent.type == "dotted_name":
        return _dotted_binds(identifier, parent)
    if parent.type == "parenthesized_declarator" or parent.type in _BINDING_PARENTS:
        return True
    return _in_field(identifier, parent, _BINDING_FIELDS)


def reads(identifier: Node) -> bool:
    """Whether an identifier reads a variable here; attributes, keywords and modules imported are none."""
    parent = identifier.parent
    if parent is None or parent.type in _SILENT_PARENTS:
        return False
    if parent.type == "dotted_name":
        in_pattern = parent.parent is not None and parent.parent.type in ("class_pattern", "case_pattern")
        return in_pattern and parent.named_children[0] == identifier and not binds(identifier)
    if binds(identifier):
        return _is_augmented(parent)
    return not _in_field(identifier, parent, _LABEL_FIELDS)


def declared_name(node: Node) -> Node | None:
    """Return the name that a definition, a parameter or a C declarator introduces, or None."""
    while node.type not in ("identifier", "field_identifier", "type_identifier"):
        inner = node.child_by_field_name("name") or node.child_by_field_name("declarator")
        if inner is None and node.type in _BINDING_PARENTS | {"parenthesized_declarator"}:
            inner = next(iter(node.named_children), None)
        if inner is None:
            return None
        node = inner
    return node


def aliases(nodes: Iterable[Node], name: str) -> Iterator[Node]:
    """Yield the identifiers that are bound directly to a name.

    Args:
        nodes: All nodes of the tree.
        name: The x of `y = x`, `a, y = 1, x`, `(y := x)`, and in C also of `y = &x` and `y = (T *)x`.
    """
    for node in nodes:
        if node.type in ("assignment", "assignment_expression", "named_expression", "init_declarator"):
            if _is_augmented(node):
                continue
            target = next(filter(None, map(node.child_by_field_name, ("left", "name", "declarator"))), None)
            value = next(filter(None, map(node.child_by_field_name, ("right", "value"))), None)
            if target is not None and value is not None:
                yield from _bound_to(target, value, name)


def _bound_to(target: Node, value: Node, name: str) -> Iterator[Node]:
    value = _unwrapped(value)
    if target.type in ("pattern_list", "tuple_pattern", "list_pattern"):
        # Without a star, both sides pair up in order; unpacking one value makes no alias of it.
        pairs = list(zip(target.named_children, value.named_children, strict=False))
        if value.type in ("expression_list", "tuple", "list") and not any("splat" in t.type for t, _ in pairs):
            for inner_target, inner_value in pairs:
                yield from _bound_to(inner_target, inner_value, name)
    elif value.type == "identifier" and text_of(value) == name:
        bound = declared_name(target)
        if bound is not None and bound.type == "identifier":
            yield bound


def _unwrapped(value: Node) -> Node:
    """The expression without parentheses, casts, address-of and the inner targets of chained assignments."""
    while True:
        inner = None
        if value.type == "parenthesized_expression":
            inner = next(iter(value.named_children), None)
        elif value.type == "cast_expression":
            inner = value.child_by_field_name("value")
        elif value.type == "pointer_expression" and text_of(value).startswith("&"):
            inner = value.child_by_field_name("argument")
        elif value.type == "named_expression":
            inner = value.child_by_field_name("value")
        elif value.type in ("assignment", "assignment_expression") and not _is_augmented(value):
            inner = value.child_by_field_name("right")
        if inner is None:
            return value
        value = inner


def _is_augmented(node: Node) -> bool:
    """Whether an assignment also reads its left side, as `+=` does."""
    if node.type == "assignment_expression":
        operator = node.child_by_field_name("operator")
        return operator is not None and text_of(operator) != "="
    return node.type == "augmented_assignment"


def _in_field(node: Node, parent: Node, fields: dict[str, str]) -> bool:
    field = fields.get(parent.type)
    return field is not None and node in parent.children_by_field_name(field)


def _dotted_binds(identifier: Node, dotted: Node) -> bool:
    """`import a.b` binds a, `from m import a` binds a, `case a:` captures a."""
    parent = dotted.parent
    if parent is None or dotted.named_children[0] != identifier:
        return False
    if parent.type in ("case_pattern", "keyword_pattern"):
        return len(dotted.named_children) == 1
    return parent.type in _IMPORTS and dotted in parent.children_by_field_name("name")
