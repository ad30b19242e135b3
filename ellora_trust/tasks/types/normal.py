"""One spelling per type: normalise an annotation, and cut one out of what a model wrote.

Use it wherever two annotations are compared: `Optional[int]` and `int | None`, `typing.List` and `list`, `"Node"` and
`Node` become equal; `List[int]` and `list[str]` do not.

    normalise("typing.Optional['Node']")        # 'Node | None'
    same_type("Union[str, int]", "int | str")   # True
    leading_annotation(" dict[str, int] = {}")  # 'dict[str, int]'
"""

from __future__ import annotations

import ast

# PEP 585 and PEP 484 aliases. `Set` is read as typing.Set: without the file's imports it cannot be told from
# collections.abc.Set, which annotated code almost always calls AbstractSet.
ALIASES = {
    "List": "list",
    "Dict": "dict",
    "Tuple": "tuple",
    "Set": "set",
    "FrozenSet": "frozenset",
    "Type": "type",
    "Text": "str",
    "Deque": "deque",
    "DefaultDict": "defaultdict",
    "NoneType": "None",
}
_WRAPPERS = frozenset({"Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly"})
_NEEDS_ARGUMENTS = _WRAPPERS | {"Optional", "Union", "Literal"}
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def normalise(annotation: str) -> str | None:
    """Return the one spelling of a type, or None where the text is not a type.

    Unions are flattened, deduplicated and sorted with `None` last; dotted names keep their last part; quotes of
    forward references go; `Annotated[T, ...]` is `T`; parameters that are all `Any` go, as PEP 484 reads them.
    """
    try:
        return _union(_members(_parse(annotation)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def same_type(first: str, second: str) -> bool:
    """Whether two annotations name the same type; text that is no type equals nothing."""
    normal = normalise(first)
    return normal is not None and normal == normalise(second)


def leading_annotation(completion: str) -> str | None:
    """Return the longest type that a completion starts with, as written, or None where it starts with none.

    What follows (`=`, `,`, `)`, `:`, a comment, prose) is left out: a model goes on after its answer.
    """
    text = completion.strip().strip("`").split("\n")[0].strip()
    text = text[: _end_of_expression(text)].rstrip()
    while text and normalise(text) is None:
        text, _, last = text.rpartition(" ")
        text = "" if last.startswith("|") else text.rstrip()  # a union cut short is not its first half
    return text or None


def type_names(annotation: str) -> set[str]:
    """Return the first part of every dotted name in an annotation, forward references included."""
    names: set[str] = set()
    try:
        tree = _parse(annotation)
    except SyntaxError:
        return names  # the value of a Literal
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= type_names(node.value)
    return names


def _parse(annotation: str) -> ast.expr:
    """Parse one expression; parentheses let a forward reference span lines, as typing does."""
    return ast.parse(f"({annotation.strip()}\n)", mode="eval").body


def _end_of_expression(text: str) -> int:
    """Return where a leading annotation can end at the latest: a delimiter outside brackets and quotes."""
    closing: list[str] = []
    quote = ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSING:
            closing.append(_CLOSING[char])
        elif closing and char == closing[-1]:
            closing.pop()
        elif not closing and char in "=,):;#`]}->":
            return index
    return len(text)


def _members(node: ast.expr) -> list[str]:
    """Return the normal forms of a union's members; of any other type, its own."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _members(node.left) + _members(node.right)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _members(_parse(node.value))
    if isinstance(node, ast.Subscript):
        return _subscript_members(node)
    return [_atom(node)]


def _subscript_members(node: ast.Subscript) -> list[str]:
    base = _atom(node.value, subscripted=True)
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if base == "Optional" and len(arguments) == 1:
        return [*_members(arguments[0]), "None"]
    if base == "Union":
        return [member for argument in arguments for member in _members(argument)]
    if base in _WRAPPERS:
        return _members(arguments[0])
    if base == "Literal":
        return [f"Literal[{', '.join(sorted(ast.unparse(argument) for argument in arguments))}]"]
    rendered = [_argument(argument) for argument in arguments]
    if all(argument in ("Any", "...") for argument in rendered) and "Any" in rendered:
        return [base]
    return [f"{base}[{', '.join(rendered)}]"]


def _argument(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and node.value is Ellipsis:
        return "..."
    if isinstance(node, ast.List):
        return f"[{', '.join(_argument(element) for element in node.elts)}]"
    return _union(_members(node))


def _atom(node: ast.expr, *, subscripted: bool = False) -> str:
    if isinstance(node, ast.Constant) and node.value is None:
        return "None"
    if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
        name = node.attr
    elif isinstance(node, ast.Name):
        name = node.id
    else:
        raise ValueError(f"{ast.unparse(node)!r} is not a type; use names, unions and subscripts")
    if name in _NEEDS_ARGUMENTS and not subscripted:
        raise ValueError(f"{name} needs parameters; write {name}[...]")
    return ALIASES.get(name, name)


def _union(members: list[str]) -> str:
    return " | ".join(sorted(set(members), key=lambda member: (member == "None", member)))
