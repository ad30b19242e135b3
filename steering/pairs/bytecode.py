"""Proof that an edited Python program does what the original does: its bytecode is the same up to names.

Stronger than running both, because no input is needed: every instruction, constant, jump and attribute is the same, and
names differ by a one-to-one renaming of each scope's variables. Python's own compiler resolves the scopes here, not the
library that made the edit, so a captured, a split and a half-renamed variable all show. Annotations are compared as
expressions evaluated where they stand; those that the edit deleted are left out of both.

    difference("def f(x):\\n    return x\\n", Draft("def f(__tmp0):\\n    return __tmp0\\n", {"__tmp0": "x"}))   # None
"""

from __future__ import annotations

import ast
import dis
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

from steering.pairs.draft import Draft
from steering.pairs.evaluated import Misaligned, aligned, compiled, parse

# What looks at names when the program runs sees an edit that the bytecode does not show.
_REFLECTS = frozenset(
    "locals vars dir eval exec globals compile get_type_hints signature getfullargspec __annotations__ __code__ "
    "f_locals co_varnames __signature__".split()
)
_CLASS_REFLECTS = frozenset({"__name__", "__qualname__", "__class__", "getLogger"})
_MANGLED = re.compile(r"_\w*?(__(?:tmp|typ)\d+(?:__)?)")
_RUNS = ("LOAD_CLOSURE", "MAKE_CELL")  # in the order of the names, so a renaming may change it
_GLOBALS = frozenset("LOAD_NAME STORE_NAME DELETE_NAME LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL".split())
CAPTURE = "a name means something else"
ELSE = "does something else"


def difference(original: str, draft: Draft) -> str | None:
    """Return how the edited program differs from the original beyond the names of variables, or None.

    Args:
        original: Before all edits.
        draft: After them, with what they renamed.

    Raises:
        SyntaxError: One of the two does not compile.
    """
    before, after = parse(original), parse(draft.code)
    if reflection := _reflects(before, bool(set(draft.names.values()) & _class_names(before))):
        return f"looks at names when it runs ({reflection})"
    if not _has_aliases(after, draft):
        return "the alias lines are not in place"
    del after.body[: len(draft.aliases)]
    try:
        before = aligned(before, after, deleted=draft.deleted)
    except Misaligned:
        return ELSE
    return _Comparison(draft).difference(compiled(before), compiled(after))


def _has_aliases(tree: ast.Module, draft: Draft) -> bool:
    lines = [ast.unparse(statement) for statement in tree.body[: len(draft.aliases)]]
    return sorted(lines) == sorted(f"{new} = {old}" for new, old in draft.aliases.items())


def _reflects(tree: ast.Module, renames_class: bool) -> str | None:
    words = _REFLECTS | _CLASS_REFLECTS if renames_class else _REFLECTS
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in words:
            return name
    return None


def _class_names(tree: ast.Module) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@dataclass(frozen=True)
class _Step:
    """One instruction: what it does, and the name it does it to, if that is a variable's."""

    operation: str
    argument: object
    kind: str = ""  # "local", "global", "class name" or nothing
    name: str = ""


@dataclass
class _Comparison:
    """Compares code objects; remembers how the global names were renamed."""

    draft: Draft
    globals: dict[str, str] = field(default_factory=dict)

    def difference(self, before: CodeType, after: CodeType) -> str | None:
        if _shape(before) != _shape(after):
            return ELSE
        one, other = list(_steps(before)), list(_steps(after))
        if [(s.operation, s.kind) for s in one] != [(s.operation, s.kind) for s in other]:
            return CAPTURE
        locals_: dict[str, str] = {}
        if any(
            self._step(*parameters, locals_) for parameters in zip(_parameters(before), _parameters(after), strict=True)
        ):
            return CAPTURE
        if _keyword_only(before) != _keyword_only(after):
            return "a parameter that callers must name has another name"
        for first, second in zip(self._sorted(one, new=False), self._sorted(other, new=True), strict=True):
            problem = self._step(first, second, locals_)
            if problem:
                return problem
        return CAPTURE if len(set(locals_.values())) < len(locals_) else None

    def _step(self, first: _Step, second: _Step, locals_: dict[str, str]) -> str | None:
        if isinstance(first.argument, CodeType) and isinstance(second.argument, CodeType):
            return self.difference(first.argument, second.argument)
        if _literal(first.argument) != _literal(second.argument):
            return ELSE
        if not first.kind:
            return None
        if self._former(second) != first.name:
            return CAPTURE
        if first.kind == "global" and second.name in self.draft.aliases:
            return None if first.operation.startswith("LOAD") else CAPTURE
        known = locals_ if first.kind == "local" else self.globals
        return None if known.setdefault(first.name, second.name) == second.name or self._is_alias_of(first) else CAPTURE

    def _is_alias_of(self, step: _Step) -> bool:
        return step.kind == "global" and step.name in self.draft.aliases.values() and step.operation.startswith("LOAD")

    def _former(self, step: _Step) -> str:
        mangled = _MANGLED.fullmatch(step.name) if step.kind == "local" else None
        name = mangled[1] if mangled else step.name
        if step.kind == "class name":
            return ".".join(self.draft.names.get(part, part) for part in name.split("."))
        return self.draft.names.get(name, self.draft.aliases.get(name, name) if step.kind == "global" else name)

    def _sorted(self, steps: list[_Step], *, new: bool) -> list[_Step]:
        """Order runs of instructions whose order comes from the spelling of the names."""
        done: list[_Step] = []
        start = 0
        while start < len(steps):
            end = start + 1
            while (
                steps[start].operation in _RUNS
                and end < len(steps)
                and (steps[end].operation == steps[start].operation)
            ):
                end += 1
            done += sorted(steps[start:end], key=self._former if new else lambda step: step.name)
            start = end
        return done


def _shape(code: CodeType) -> tuple[int, ...]:
    return (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_nlocals)


def _parameters(code: CodeType) -> list[_Step]:
    """Return the parameters as if each were used, so that unused ones take part in the comparison."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return [_Step("parameter", None, "local", name) for name in code.co_varnames[:count]]


def _keyword_only(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]


def _literal(value: object) -> object:
    """Return what tells two constants apart, 1 from True too; code objects are compared by themselves."""
    return "code" if isinstance(value, CodeType) else repr(value)


def _steps(code: CodeType) -> Iterator[_Step]:
    found = list(dis.get_instructions(code))
    for at, instruction in enumerate(found):
        name, operation = instruction.opname, instruction.opcode
        if operation in dis.haslocal or operation in dis.hasfree:
            names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
            yield from (_Step(name, None, "local", str(one)) for one in names)
        elif name in _GLOBALS:
            yield _Step(name, instruction.argrepr.startswith("NULL"), "global", instruction.argval)
        elif operation in dis.hasconst and _is_class_name(found, at):
            yield _Step(name, None, "class name", str(instruction.argval))
        elif operation in dis.hasconst or operation in dis.hasname:
            yield _Step(name, instruction.argval)
        else:
            yield _Step(name, instruction.arg)


def _is_class_name(found: list[dis.Instruction], at: int) -> bool:
    if not isinstance(found[at].argval, str):
        return False
    names_body = at + 1 < len(found) and (found[at + 1].opname, found[at + 1].argval) == ("STORE_NAME", "__qualname__")
    builds = [one.opname for one in found[max(at - 4, 0) : at]]
    return names_body or ("LOAD_BUILD_CLASS" in builds and builds[-1] == "MAKE_FUNCTION")
