"""The edits of Python programs.

draft = edit(Draft(code), "rename_vars", answer="int", rng=random.Random(0))    # None: nothing to rename
difference(code, draft)                                                         # None: it does what it did
"""

from __future__ import annotations

import random
from dataclasses import replace

import libcst as cst

from ellora_trust.tasks.types.normal import ALIASES, type_names
from steering.pairs.bytecode import difference as bytecode_difference
from steering.pairs.draft import Draft, new_names, some_of
from steering.pairs.python_names import Annotated, Survey, survey_of


class _Change(cst.CSTTransformer):
    """Gives names another spelling and takes annotations away."""

    def __init__(self, renamed: dict[cst.Name, str], bare: list[Annotated]) -> None:
        self._renamed = renamed
        self._bare = set(bare)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        new = self._renamed.get(original_node)
        return updated_node if new is None else updated_node.with_changes(value=new)

    def leave_Param(self, original_node: cst.Param, updated_node: cst.Param) -> cst.Param:
        return updated_node.with_changes(annotation=None) if original_node in self._bare else updated_node

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        return updated_node.with_changes(returns=None) if original_node in self._bare else updated_node

    def leave_AnnAssign(self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign) -> cst.AnnAssign | cst.Assign:
        if original_node not in self._bare or updated_node.value is None:
            return updated_node
        return cst.Assign([cst.AssignTarget(updated_node.target)], updated_node.value)


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
    survey = survey_of(draft.code)
    if name == "rename_vars":
        return _rename_variables(draft, survey, rng)
    if name == "rename_types":
        return _rename_types(draft, survey, _names_of_answer(answer), rng)
    if not survey.annotated:
        return None
    bare = some_of(survey.annotated, rng)
    code = survey.module.visit(_Change({}, bare)).code
    sites = tuple(f"{_name_of(node)} -> no annotation" for node in bare)
    return replace(draft, code=code, deleted=True, sites=(*draft.sites, *sites))


def difference(original: str, draft: Draft) -> str | None:
    """Return how an edited program does something else than the original, or None."""
    return bytecode_difference(original, draft)


def _rename_variables(draft: Draft, survey: Survey, rng: random.Random) -> Draft | None:
    found = survey.variables()
    if not found:
        return None
    chosen = some_of(list(found), rng)
    new = new_names("__tmp{}", len(chosen), draft.code)
    renamed = {node: name for key, name in zip(chosen, new, strict=True) for node in found[key]}
    former = {name: old for name, (_, old) in zip(new, chosen, strict=True)}
    sites = tuple(f"{old} -> {name}" for name, old in former.items())
    code = survey.module.visit(_Change(renamed, [])).code
    return replace(draft, code=code, names={**draft.names, **former}, sites=(*draft.sites, *sites))


def _rename_types(draft: Draft, survey: Survey, barred: frozenset[str], rng: random.Random) -> Draft | None:
    found = survey.types(barred)
    if not found:
        return None
    chosen = some_of(list(found), rng)
    own = survey.own_types()
    # Python reads `__typ0` inside a class as the class's own `_Class__typ0`; two more underscores prevent that.
    new = new_names("__typ{}__" if own else "__typ{}", len(chosen), draft.code)
    renamed = {node: name for old, name in zip(chosen, new, strict=True) for node in found[old]}
    former = dict(zip(new, chosen, strict=True))
    aliases = {name: old for name, old in former.items() if old not in own}
    lines = "".join(f"{name} = {old}\n" for name, old in aliases.items())
    return replace(
        draft,
        code=lines + survey.module.visit(_Change(renamed, [])).code,
        names={**draft.names, **{name: old for name, old in former.items() if old in own}},
        aliases={**draft.aliases, **aliases},
        sites=(*draft.sites, *(f"{old} -> {name}" for name, old in former.items())),
    )


def _names_of_answer(answer: str) -> frozenset[str]:
    """Return the answer's names in every spelling that counts as the same type."""
    names = type_names(answer)
    return frozenset(names | {old for old, new in ALIASES.items() if new in names})


def _name_of(node: Annotated) -> str:
    if isinstance(node, cst.FunctionDef):
        return "return"
    target = node.name if isinstance(node, cst.Param) else node.target
    return cst.Module([]).code_for_node(target)
