"""Who may import whom: methods stand on the library and not on one another; it reaches them only inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
METHODS = ("probes", "attribution", "steering", "unlearning")
# Where the library may use a method, inside of functions or for types: what joins the methods for a user.
JOINING = tuple(f"ellora_trust/{name}" for name in ("__init__.py", "cli", "evaluation", "explaining", "serving"))


def imported(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """First names of what these statements import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", METHODS)
def test_a_method_imports_no_other_method(package: str):
    others = set(METHODS) - {package}
    for path in sorted((ROOT / package).rglob("*.py")):
        taken = imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        assert not taken & others, path


def test_the_library_imports_no_method_at_its_head_and_few_of_its_modules_do_at_all():
    for path in sorted((ROOT / "ellora_trust").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not imported(tree.body) & set(METHODS), path
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(JOINING):
            assert not imported(ast.walk(tree)) & set(METHODS), path
