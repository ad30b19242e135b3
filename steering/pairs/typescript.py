"""The edits of TypeScript programs, through tree-sitter.

draft = edit(Draft(code), "rename_vars", answer="number", rng=random.Random(0))     # None: nothing to rename
difference(code, draft)                                                            # None: every name means what it did
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tree_sitter import Node

from ellora_trust.tasks.types.typescript.tree import parse, text_of, type_node, walk
from steering.pairs.bytecode import CAPTURE, ELSE
from steering.pairs.draft import GAP, Draft, new_names, some_of
from steering.pairs.typescript_names import Name, Scope, names_of

_VARIABLES = frozenset({"let", "const", "var", "parameter", "catch"})
_HOLDERS = frozenset({"required_parameter", "optional_parameter", "variable_declarator"})
_RETURNING = frozenset(
    "function_declaration generator_function_declaration function_expression generator_function arrow_function "
    "method_definition".split()
)
# A type of another kind stands here, or a name that needs its parameters.
_NO_ALIAS_IN = frozenset("generic_type nested_type_identifier extends_clause implements_clause type_parameter".split())
_REFLECTS = frozenset({"eval", "arguments"})
_SHORTHAND = frozenset({"shorthand_property_identifier", "shorthand_property_identifier_pattern"})


def edit(draft: Draft, name: str, *, answer: str, rng: random.Random) -> Draft | None:
    """Return the draft after one more edit, or None where it has no site.

    Args:
        draft: The program so far.
        name: One of the three edits.
        answer: The type in the gap; its names stay, so that the answer stays the same.
        rng: Chooses the sites.

    Raises:
        SyntaxError: The program does not parse.
    """
    names = names_of(draft.code)
    if name == "rename_vars":
        return _rename_variables(draft, names, rng)
    if name == "rename_types":
        return _rename_types(draft, names, answer, rng)
    found = [node for node in walk(parse(draft.code)) if _is_deletable(node)]
    if not found:
        return None
    bare = some_of(found, rng)
    code = _replaced(draft.code, [(node, "") for node in bare])
    sites = tuple(f"{_holder_name(node)} -> no annotation" for node in bare)
    return replace(draft, code=code, deleted=True, sites=(*draft.sites, *sites))


def difference(original: str, draft: Draft) -> str | None:
    """Return how an edited program differs from the original beyond names and deleted annotations, or None.

    Token by token: values must be bound in the same places, types must be the same once aliases are undone, and
    everything else must be the same text.

    Raises:
        SyntaxError: One of the two does not parse.
    """
    head = "".join(_alias_line(new, old) for new, old in draft.aliases.items())
    if not draft.code.startswith(head):
        return "the alias lines are not in place"
    before, after = _tokens(original, {}), _tokens(draft.code, draft.aliases, n_skipped=len(head.encode()))
    if words := {token.text for token in before} & _REFLECTS:
        return f"looks at names when it runs ({min(words)})"
    at = 0
    for token in before:
        if at < len(after) and token == after[at]:
            at += 1
        elif at < len(after) and token.kind == after[at].kind == "value":
            return CAPTURE
        elif not (draft.deleted and token.kind == "annotation"):
            return ELSE
    return None if at == len(after) else ELSE


@dataclass(frozen=True)
class _Token:
    """A piece of a program: of a bound value its binding counts, of everything else the text."""

    kind: str
    text: str
    binding: int = -1


def _rename_variables(draft: Draft, names: Sequence[Name], rng: random.Random) -> Draft | None:
    found: dict[tuple[Scope, str], list[Name]] = {}
    for name in names:
        if name.is_value and name.binding is not None:
            found.setdefault((name.binding, name.text), []).append(name)
    found = {key: uses for key, uses in found.items() if {use.declared for use in uses} <= _VARIABLES}
    if not found:
        return None
    chosen = some_of(list(found), rng)
    new = new_names("__tmp{}", len(chosen), draft.code)
    changes = [(use.node, name) for key, name in zip(chosen, new, strict=True) for use in found[key]]
    former = {name: old for name, (_, old) in zip(new, chosen, strict=True)}
    sites = tuple(f"{old} -> {name}" for name, old in former.items())
    code = _replaced(draft.code, [(node, _spelled(node, name)) for node, name in changes])
    return replace(draft, code=code, names={**draft.names, **former}, sites=(*draft.sites, *sites))


def _rename_types(draft: Draft, names: Sequence[Name], answer: str, rng: random.Random) -> Draft | None:
    node = type_node(answer)
    barred = {GAP, "const", *(text_of(part) for part in (walk(node) if node is not None else ()))}
    found: dict[str, list[Node]] = {}
    for name in names:
        if name.is_value:
            continue
        if name.binding is not None or " " in name.text or (name.node.parent and name.node.parent.type in _NO_ALIAS_IN):
            barred.add(name.text)
        found.setdefault(name.text, []).append(name.node)
    free = [text for text in found if text not in barred]
    if not free:
        return None
    chosen = some_of(free, rng)
    new = new_names("__typ{}", len(chosen), draft.code)
    changes = [(place, name) for old, name in zip(chosen, new, strict=True) for place in found[old]]
    aliases = dict(zip(new, chosen, strict=True))
    lines = "".join(_alias_line(name, old) for name, old in aliases.items())
    sites = tuple(f"{old} -> {name}" for name, old in aliases.items())
    code = lines + _replaced(draft.code, changes)
    return replace(draft, code=code, aliases={**draft.aliases, **aliases}, sites=(*draft.sites, *sites))


def _alias_line(new: str, old: str) -> str:
    return f"type {new} = {old};\n"


def _spelled(node: Node, name: str) -> str:
    """Return what to write for a renamed variable: `{x}` is short for `{x: x}`, and the key stays."""
    return f"{text_of(node)}: {name}" if node.type in _SHORTHAND else name


def _replaced(code: str, changes: Sequence[tuple[Node, str]]) -> str:
    data = code.encode()
    for node, text in sorted(changes, key=lambda change: -change[0].start_byte):
        data = data[: node.start_byte] + text.encode() + data[node.end_byte :]
    return data.decode()


def _is_deletable(node: Node) -> bool:
    """Whether a node is the annotation of a parameter, a return value or a variable with a value, and not the gap."""
    holder = node.parent
    if node.type != "type_annotation" or holder is None or GAP in text_of(node):
        return False
    if holder.type in _RETURNING:
        return node == holder.child_by_field_name("return_type")
    if holder.type == "variable_declarator":
        return holder.child_by_field_name("value") is not None
    parameters = holder.parent
    owner = parameters.parent if parameters is not None else None
    return holder.type in _HOLDERS and owner is not None and owner.type in _RETURNING


def _holder_name(node: Node) -> str:
    holder = node.parent
    assert holder is not None  # _is_deletable() looked
    named = holder.child_by_field_name("pattern") or holder.child_by_field_name("name")
    return text_of(named) if named is not None and holder.type in _HOLDERS else "return"


def _tokens(code: str, aliases: dict[str, str], n_skipped: int = 0) -> list[_Token]:
    """Return a program's tokens after its first `n_skipped` bytes; an annotation that can be deleted is one token."""
    bindings: dict[tuple[Scope, str], int] = {}
    # By place: each parse has its own nodes.
    places: dict[int, Name] = {name.node.start_byte: name for name in names_of(code)}
    found: list[_Token] = []
    waiting = [parse(code)]
    while waiting:
        node = waiting.pop()
        if node.end_byte <= n_skipped and node.parent is not None:
            continue
        if _is_deletable(node):
            found.append(_Token("annotation", " ".join(_type_words(node, aliases))))
        elif node.start_byte in places and not node.children and node.end_byte > node.start_byte:
            found += _named(places[node.start_byte], bindings, aliases)
        elif node.children:
            waiting += reversed(node.children)
        elif node.type != "comment":
            found.append(_Token("text", text_of(node)))
    return found


def _named(name: Name, bindings: dict[tuple[Scope, str], int], aliases: dict[str, str]) -> Iterator[_Token]:
    if not name.is_value:
        yield _Token("text", aliases.get(name.text, name.text))
        return
    if name.node.type in _SHORTHAND:
        yield _Token("text", name.text)
        yield _Token("text", ":")
    if name.binding is None:
        yield _Token("value", name.text)
    else:
        yield _Token("value", "", bindings.setdefault((name.binding, name.text), len(bindings)))


def _type_words(node: Node, aliases: dict[str, str]) -> Iterator[str]:
    """Yield an annotation's tokens, aliases undone; a value that it names (`typeof x`) is left to the type checker."""
    for part in walk(node):
        if not part.children:
            yield "value" if part.type == "identifier" else aliases.get(text_of(part), text_of(part))
