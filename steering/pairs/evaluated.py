"""Programs compiled so that their annotations show in the bytecode, and so that deleted ones do not.

Annotations become calls, and defaults of keyword-only parameters too, which Python keeps under the parameters' names.

    before = aligned(parse(original), parse(edited), deleted=True)      # without what the edit deleted
    compiled(before)                                                    # a code object
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from types import CodeType

_HOLDER = "ELLORA_ANNOTATIONS_"


def aligned(before: ast.AST, after: ast.AST, *, deleted: bool) -> ast.AST:
    """Return the original without those annotations that the edited program lacks; it is changed in place.

    Args:
        before: The original.
        after: The edited program without its alias lines.
        deleted: Whether annotations may be lacking.

    Raises:
        Misaligned: The two differ in their shape otherwise.
    """
    return _Aligned(deleted).align(before, after)


def parse(code: str) -> ast.Module:
    """Parse a program without printing its authors' invalid escapes as warnings of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about invalid escapes in other people's code
        return ast.parse(code)


def compiled(tree: ast.AST) -> CodeType:
    """Return a program's code with its annotations as calls; the tree is changed."""
    hoisted = ast.fix_missing_locations(_Hoist().visit(tree))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile(hoisted, "<program>", "exec", dont_inherit=True)


class Misaligned(Exception):
    """The two trees have another shape."""


@dataclass(frozen=True)
class _Aligned:
    """Takes those annotations out of the original that the edit took out."""

    deleted: bool

    def align(self, before: ast.AST, after: ast.AST) -> ast.AST:
        if self.deleted and isinstance(before, ast.AnnAssign) and isinstance(after, ast.Assign) and before.value:
            before = ast.Assign(targets=[before.target], value=before.value, lineno=before.lineno)
        if type(before) is not type(after):
            raise Misaligned
        for name in before._fields:
            setattr(before, name, self._field(name, getattr(before, name, None), getattr(after, name, None)))
        return before

    def _field(self, name: str, before: object, after: object) -> object:
        if isinstance(before, list) and isinstance(after, list):
            if len(before) != len(after):
                raise Misaligned
            return [self._field("", one, other) for one, other in zip(before, after, strict=True)]
        if self.deleted and name in ("annotation", "returns") and after is None:
            return None
        if isinstance(before, ast.AST) and isinstance(after, ast.AST):
            return self.align(before, after)
        return before


class _Hoist(ast.NodeTransformer):
    """Writes annotations as calls before their statement, where Python would evaluate them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> list[ast.stmt]:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> list[ast.stmt]:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
        of = node.args
        holders = [*of.posonlyargs, *of.args, *of.kwonlyargs, *([of.vararg] if of.vararg else [])]
        holders += [of.kwarg] if of.kwarg else []
        found = [holder.annotation for holder in holders if holder.annotation is not None]
        found += [node.returns] if node.returns is not None else []
        # Python keeps defaults of keyword-only parameters by name: here in their order, with where there are any.
        found += [default for default in of.kw_defaults if default is not None]
        found += [ast.Constant(default is not None) for default in of.kw_defaults]
        of.kw_defaults = [None for _ in of.kw_defaults]
        for holder in holders:
            holder.annotation = None
        node.returns = None
        self.generic_visit(node)
        return [*([_call(found)] if found else []), node]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        call = _call([node.annotation])
        if node.value is None:
            node.annotation = ast.Constant(0)
            return [call, node]
        return [call, ast.Assign(targets=[node.target], value=node.value)]


def _call(arguments: list[ast.expr]) -> ast.stmt:
    return ast.Expr(ast.Call(ast.Name(_HOLDER, ast.Load()), arguments, []))
