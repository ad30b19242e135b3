"""Edits of TypeScript programs: names mean what they meant, and what does not is told."""

from __future__ import annotations

import random

import pytest

from ellora_trust.tasks.base import Example
from ellora_trust.tasks.types.typescript.compiler import installed
from steering.pairs import COMBINATIONS, Rejected, edit_example, edited
from steering.pairs.draft import Draft
from steering.pairs.typescript import difference, edit
from steering.pairs.typescript_names import names_of

META = {"language": "typescript", "kind": "return", "qualname": "f"}
PROGRAMS = {
    "shadowing": ("function f(x: number): ", "number", " {\n  for (const x of [1]) { g(x); }\n  return x;\n}\n"),
    "shorthand": ("function f(x: number, {a, b: c}: P): ", "object", " {\n  return {x, a, k: c, f: x};\n}\n"),
    "closure": ("function f(x: number): ", "number", " {\n  const h = (y: number) => x + y;\n  return h(x);\n}\n"),
    "var": ("function f(x: number): ", "number", " {\n  if (x) { var y: number = 1; }\n  return y + x;\n}\n"),
    "property": ("function f(length: string): ", "number", " {\n  return length.length;\n}\n"),
    "catch": ("function f(e: string): ", "string", " {\n  try { g(e); } catch (e) { return e.e; }\n  return e;\n}\n"),
    "template": ("function f(x: number): ", "string", " {\n  return `x ${x} ${{ x }.x}`;\n}\n"),
    "type names": ("function f(x: Foo, y: Bar[]): ", "string", " {\n  const z: Foo = x;\n  return String(y) + z;\n}\n"),
    "generic": ("function f<T>(x: T, y: Map<T, number>): ", "T", " {\n  const z: T = x;\n  return z;\n}\n"),
    "same word": ("function f(string: string, cb: (string: string) => void): ", "void", " {\n  cb(string);\n}\n"),
    "edits' names": ("function f(x: T, __tmp0: number): ", "number", " {\n  const y = x;\n  return y + __tmp0;\n}\n"),
}  # fmt: skip


def example(prefix: str, answer: str, suffix: str) -> Example:
    return Example("types/t", "types/g", prefix + suffix, answer, prefix, suffix, META)


@pytest.mark.parametrize("name", PROGRAMS)
def test_edits_parse_and_keep_the_question(name: str) -> None:
    one = example(*PROGRAMS[name])
    made = [edit_example(one, edit, seed=seed) for edit in COMBINATIONS for seed in range(8)]
    done = [found for found in made if isinstance(found, Example)]
    assert done
    for found in done:
        names_of(found.prefix + "X" + found.suffix)  # raises where it does not parse
        assert (found.answer, found.group) == (one.answer, one.group)
        assert found.prefix + found.suffix != one.prefix + one.suffix
        assert found.prompt.endswith(":")


def renamed(code: str, seed: int) -> str:
    draft = edit(Draft(code), "rename_vars", answer="number", rng=random.Random(seed))
    assert draft is not None
    return draft.code


def test_keys_and_properties_keep_their_names() -> None:
    code = "function f({a, b: c}: P): ELLORA_GAP_ {\n  return {a, c: c.a};\n}\n"
    texts = {renamed(code, seed) for seed in range(20)}
    assert "function f({a: __tmp0, b: __tmp1}: P): ELLORA_GAP_ {\n  return {a: __tmp0, c: __tmp1.a};\n}\n" in texts


def test_what_other_files_see_keeps_its_name() -> None:
    code = "export const x: ELLORA_GAP_ = 1;\n"
    assert edit(Draft(code), "rename_vars", answer="number", rng=random.Random(0)) is None
    field = "class A {\n  constructor(private x: ELLORA_GAP_) { g(x); }\n}\n"
    assert edit(Draft(field), "rename_vars", answer="number", rng=random.Random(0)) is None


def test_an_alias_line_declares_the_type_and_the_answer_keeps_its_name() -> None:
    one = example("function f(x: Foo, y: string): ", "string", " {\n  const z: Foo = x;\n  return y + z;\n}\n")
    for seed in range(6):
        found = edit_example(one, "rename_types", seed=seed)
        assert isinstance(found, Example)
        assert found.prefix == "type __typ0 = Foo;\nfunction f(x: __typ0, y: string): "
        assert found.suffix == " {\n  const z: __typ0 = x;\n  return y + z;\n}\n"


BEFORE = "function f(x: number, y: number): ELLORA_GAP_ {\n  const g = (z: number) => x + z;\n  return g(y);\n}\n"


@pytest.mark.parametrize(
    "after",
    [
        BEFORE.replace("x + z", "__tmp0 + z").replace("f(x", "f(__tmp0").replace("(z:", "(__tmp0:"),
        BEFORE.replace("f(x", "f(__tmp0"),
        BEFORE.replace("x + z", "z + x"),
        BEFORE.replace("y: number", "y: string"),
        BEFORE.replace("y: number", "y"),
    ],
)
def test_an_edit_that_changes_meaning_is_told(after: str) -> None:
    assert after != BEFORE
    assert difference(BEFORE, Draft(after, {"__tmp0": "x"})) is not None


def test_a_good_renaming_is_no_difference() -> None:
    after = BEFORE.replace("x", "__tmp0")
    assert difference(BEFORE, Draft(after, {"__tmp0": "x"})) is None


def test_the_arguments_object_is_left_alone() -> None:
    one = example("function f(x: number): ", "number", " {\n  const y = x;\n  return arguments.length + y;\n}\n")
    found = edit_example(one, "rename_vars", seed=0)
    assert isinstance(found, Rejected)
    assert "arguments" in found.reason


@pytest.mark.skipif(not installed(), reason="tsc is not installed: npm install -g typescript")
def test_tsc_takes_part_where_it_is_installed() -> None:
    one = example("function f(x: number): ", "number", " {\n  const y: number = x;\n  return y;\n}\n")
    kept, lost = edited([one], "rename_vars+rename_types", seed=0)
    assert len(kept) + len(lost.lost) == 1


def test_edited_takes_typescript() -> None:
    kept, lost = edited([example(*parts) for parts in PROGRAMS.values()], "rename_vars", seed=0)
    assert len(kept) == len(PROGRAMS) - len(lost.lost) > 8
