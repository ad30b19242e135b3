"""What the names of a Python program stand for, through libcst and its scopes: variables, types, annotations.

survey = survey_of(code)
survey.variables()          # {(scope, "x"): [every place where this x stands]}
survey.types(frozenset())   # {"int": [...]}
survey.annotated            # parameters, functions and assignments whose annotation can be deleted
"""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst
from libcst.metadata import (
    Assignment,
    BuiltinScope,
    ClassScope,
    FunctionScope,
    GlobalScope,
    ImportAssignment,
    MetadataWrapper,
    Scope,
    ScopeProvider,
)

from steering.pairs.draft import GAP

_CONSTANTS = frozenset({"None", "True", "False", "__debug__", GAP})
# Mean nothing without their parameters, or only in their own place: no plain alias is a type.
_NO_ALIAS = frozenset(
    "Optional Union Literal ClassVar Final Annotated Concatenate Callable TypeGuard Required NotRequired Unpack "
    "Generic Protocol Self".split()
)
# mypy lets their aliases have no parameters.
_NO_ALIAS_WITH_PARAMETERS = frozenset({"tuple", "Tuple", "type", "Type"})
_CONSTRUCTORS = frozenset({"__init__", "__new__", "__call__", "__init_subclass__", "__class_getitem__"})
Annotated = cst.Param | cst.FunctionDef | cst.AnnAssign


@dataclass(frozen=True)
class _Use:
    """One place where a name is looked up or bound."""

    node: cst.Name
    is_annotation: bool  # the `int` of `x: int`, not the `np` of `x: np.ndarray`


class _Collector(cst.CSTVisitor):
    """Collects names, annotations, keywords of calls and classes; attributes and keywords are no names."""

    def __init__(self) -> None:
        self.uses: list[_Use] = []
        self.annotated: list[Annotated] = []
        self.keywords: list[tuple[str, str | None]] = []  # callee and keyword; None is a `**`
        self.classes: list[cst.ClassDef] = []
        self.subscripted: set[str] = set()
        self.keyword_only: set[cst.CSTNode] = set()  # parameters that every caller has to name
        self._depth = 0
        self._owners: list[cst.CSTNode] = []
        self._roots: set[cst.BaseExpression] = set()

    def visit_Annotation(self, node: cst.Annotation) -> None:
        self._depth += 1

    def leave_Annotation(self, original_node: cst.Annotation) -> None:
        self._depth -= 1

    def visit_Name(self, node: cst.Name) -> None:
        if node.value not in _CONSTANTS:
            self.uses.append(_Use(node, self._depth > 0 and node not in self._roots))

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        self._roots.add(node.value)
        node.value.visit(self)
        return False

    def visit_Subscript(self, node: cst.Subscript) -> None:
        if isinstance(node.value, cst.Name):
            self.subscripted.add(node.value.value)

    def visit_Arg(self, node: cst.Arg) -> bool:
        node.value.visit(self)
        return False

    def visit_MatchKeywordElement(self, node: cst.MatchKeywordElement) -> bool:
        node.pattern.visit(self)
        return False

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def visit_Call(self, node: cst.Call) -> None:
        callee = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
        name = callee.value if isinstance(callee, cst.Name) else ""
        for arg in node.args:
            if arg.keyword is not None or arg.star == "**":
                self.keywords.append((name, arg.keyword.value if arg.keyword else None))

    def visit_Parameters(self, node: cst.Parameters) -> None:
        self.keyword_only |= set(node.kwonly_params)

    def visit_Param(self, node: cst.Param) -> None:
        if node.annotation is not None and not _is_gap(node.annotation):
            self.annotated.append(node)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._owners.append(node)
        if node.returns is not None and not _is_gap(node.returns):
            self.annotated.append(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._owners.pop()

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.classes.append(node)
        self._owners.append(node)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self._owners.pop()

    def visit_AnnAssign(self, node: cst.AnnAssign) -> None:
        # In a class it may declare a field; without a value it is all that makes the name local.
        in_class = bool(self._owners) and isinstance(self._owners[-1], cst.ClassDef)
        if node.value is not None and not in_class:
            self.annotated.append(node)


class Survey:
    """The names of one program.

    Attributes:
        module: Its syntax tree.
        annotated: Parameters, functions and assignments whose annotation can be deleted.
    """

    def __init__(self, wrapper: MetadataWrapper) -> None:
        self.module = wrapper.module
        self._scopes = wrapper.resolve(ScopeProvider)
        self._found = _Collector()
        self.module.visit(self._found)
        self.annotated = self._found.annotated

    def variables(self) -> dict[tuple[Scope, str], list[cst.Name]]:
        """Return every variable that can be renamed, with all places where it stands.

        Left out: attributes of classes, functions, classes, imported names, names declared `global` or `nonlocal`,
        and parameters that a call in the program may give by name.
        """
        found: dict[tuple[Scope, str], list[cst.Name]] = {}
        unclear: set[str] = set()
        for use in self._found.uses:
            owner = self._owner(use.node)
            if owner is None:
                unclear.add(use.node.value)
            elif not isinstance(owner, ClassScope | BuiltinScope):
                found.setdefault((owner, use.node.value), []).append(use.node)
        return {
            (owner, name): nodes
            for (owner, name), nodes in found.items()
            if name not in unclear and _is_variable(owner, name) and not self._is_given_by_name(owner, name)
        }

    def types(self, barred: frozenset[str]) -> dict[str, list[cst.Name]]:
        """Return the type names that can be renamed and are not barred, with all places where they stand.

        These are the program's own classes, and names in annotations that the program does not bind.
        """
        own = {node.name.value for node in self._found.classes if isinstance(self._owner(node.name), GlobalScope)}
        wanted = {use.node.value for use in self._found.uses if use.is_annotation} - _NO_ALIAS | own
        wanted -= _NO_ALIAS_WITH_PARAMETERS & self._found.subscripted
        places: dict[str, list[cst.Name]] = {}
        also_variables: set[str] = set()
        for use in self._found.uses:
            name = use.node.value
            if name in wanted and self._is_type(use.node, own):
                places.setdefault(name, []).append(use.node)
            elif name in wanted:
                also_variables.add(name)
        return {name: nodes for name, nodes in places.items() if name not in barred | also_variables}

    def own_types(self) -> set[str]:
        return {node.name.value for node in self._found.classes}

    def _owner(self, node: cst.Name) -> Scope | None:
        """Return the scope that holds what a name stands for, or None where that is not one scope."""
        scope = self._scopes.get(node)
        if scope is None:
            return None
        owners = {assignment.scope for assignment in scope[node.value]}
        if not owners:  # bound nowhere: an import that is not shown
            return scope.globals
        return owners.pop() if len(owners) == 1 else None

    def _is_type(self, node: cst.Name, own: set[str]) -> bool:
        owner = self._owner(node)
        if not isinstance(owner, GlobalScope):
            return isinstance(owner, BuiltinScope)
        bound = _assignments(owner, node.value)
        if node.value in own:
            return all(isinstance(one, Assignment) and isinstance(one.node, cst.ClassDef) for one in bound)
        return not bound

    def _is_given_by_name(self, owner: Scope, name: str) -> bool:
        """Whether a call in this program may give the parameter `name` by its name; if unsure, yes."""
        bound = _assignments(owner, name)
        if not any(isinstance(one, Assignment) and isinstance(one.node, cst.Param) for one in bound):
            return False
        if any(isinstance(one, Assignment) and one.node in self._found.keyword_only for one in bound):
            return True
        callees = {callee for callee, keyword in self._found.keywords if keyword in (name, None)}
        function = owner.node if isinstance(owner, FunctionScope) else None
        inner = isinstance(owner.parent, FunctionScope)
        if (
            not isinstance(function, cst.FunctionDef) or inner or function.name.value in _CONSTRUCTORS
        ):  # it may go by any name
            return bool(callees)
        return bool(callees & {function.name.value, ""})


def survey_of(code: str) -> Survey:
    """Return the names of a program.

    Raises:
        SyntaxError: It does not parse.
    """
    try:
        return Survey(MetadataWrapper(cst.parse_module(code)))
    except cst.ParserSyntaxError as error:
        raise SyntaxError(str(error)) from error


def _assignments(owner: Scope, name: str) -> list[object]:
    return [one for one in owner[name] if one.scope is owner]


def _is_variable(owner: Scope, name: str) -> bool:
    bound = _assignments(owner, name)
    return bool(bound) and all(
        isinstance(one, Assignment)
        and not isinstance(one, ImportAssignment)
        and not isinstance(one.node, cst.FunctionDef | cst.ClassDef)
        for one in bound
    )


def _is_gap(annotation: cst.Annotation) -> bool:
    return isinstance(annotation.annotation, cst.Name) and annotation.annotation.value == GAP
