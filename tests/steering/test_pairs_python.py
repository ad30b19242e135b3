"""Edits of Python programs: they keep what a program does, and what does not is told."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from dataclasses import replace

import pytest

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example
from steering.pairs import COMBINATIONS, EDITS, Rejected, edit_example, edited
from steering.pairs.bytecode import difference
from steering.pairs.draft import Draft
from steering.pairs.edits import source_of
from steering.pairs.typecheck import new_errors

# Code before the gap, the answer, code after it, and a call. Each is a trap for a renaming by text.
PROGRAMS = {
    "shadowing": ("def f(x: ", "int", ") -> list:\n    y = [x for x in range(x)]\n    return [x, y]\n", "f(3)"),
    "nested": (
        "def f(x: int, y: ",
        "int",
        ") -> list:\n    def g(x: int) -> int:\n        return x + y\n    y += 1\n    return [g(x), x, y]\n",
        "f(1, 2)",
    ),
    "nonlocal": (
        "def f(x: int) -> ",
        "int",
        ":\n    n: int = 0\n    def g() -> None:\n        nonlocal n\n        n += x\n    g()\n    return n\n",
        "f(4)",
    ),
    "global": (
        "def f(x: int) -> ",
        "int",
        ":\n    global total\n    total = x\n    y = total + 1\n    return y\n",
        "f(4), total",
    ),
    "own keyword": (
        "def f(x: int, y: ",
        "int",
        " = 0) -> int:\n    z = y\n    return f(x=x - 1, y=z + x) if x else y\n",
        "f(3)",
    ),
    "keyword of another": (
        "def f(x: list, reverse: ",
        "bool",
        ") -> list:\n    out = sorted(x, reverse=reverse)\n    return out\n",
        "f([1, 2], True)",
    ),
    "keyword only": ("def f(*, a: int = 1, b: ", "int", ") -> int:\n    return a - b\n", "f(b=2)"),
    "f-string": ("def f(x: int, w: int) -> ", "str", ':\n    return f"{x!r:>{w}} x {{x}} {x + w}"\n', "f(1, 6)"),
    "walrus": (
        "def f(xs: list) -> ",
        "list",
        ":\n    if (n := len(xs)) > 1:\n        return [m for x in xs if (m := x + n)]\n    return []\n",
        "f([1, 2])",
    ),
    "decorator": (
        "import functools\n@functools.cache\ndef f(x: int, n: ",
        "int",
        ") -> int:\n    k = x * n\n    return k\n",
        "f(2, 3)",
    ),
    "method": (
        "class Box:\n    size = 3\n    def f(self, size: ",
        "int",
        ") -> int:\n        self.size = size\n        x = size + self.size\n        return x + Box.size\n",
        "Box().f(2)",
    ),
    "private names": (
        "class Box:\n    def f(self, x: ",
        "int",
        ") -> int:\n        self.__x = x\n        return self.__x\n",
        "Box().f(2)",
    ),
    "stars": (
        "def f(x: int, *args: int, k: ",
        "int",
        " = 0, **kw: int) -> tuple:\n    return x, args, k, sorted(kw)\n",
        "f(1, 2, 3, k=4, z=5)",
    ),
    "attribute": (
        "def f(real: ",
        "complex",
        ") -> list:\n    imag = real.imag\n    return [real.real, imag]\n",
        "f(1 + 2j)",
    ),
    "lambda and default": (
        "def f(x: int) -> ",
        "int",
        ":\n    g = lambda y, x=x: x + y\n    h = lambda x: x * 2\n    return g(h(x)) + x\n",
        "f(3)",
    ),
    "exceptions and with": (
        "def f(x: int) -> ",
        "str",
        ":\n    try:\n        y = 1 // x\n    except ZeroDivisionError as error:\n        return str(error)\n"
        "    finally:\n        z = 1\n        del z\n    return str(y)\n",
        "f(0), f(1)",
    ),
    "match": (
        "def f(p: ",
        "complex",
        ") -> object:\n    match p:\n        case complex(real=real, imag=0.0):\n            return real\n"
        "        case [first, *rest]:\n            return rest, first\n        case other:\n            return other\n",
        "f(2 + 0j), f([1, 2, 3])",
    ),
    "types as values": (
        "def f(x: int, y: ",
        "str",
        ") -> list:\n    z: list = list(y)\n    return [isinstance(x, int), z, int(x)]\n",
        "f(1, 'ab')",
    ),
    "names of the edits": (
        "def f(x: int, __tmp0: ",
        "int",
        ") -> int:\n    __typ0 = x\n    __tmp1: int = __typ0 + __tmp0\n    return __tmp1\n",
        "f(1, 2)",
    ),
    "class cells": (
        "def f(a: int, b: int) -> ",
        "list",
        ":\n    z, y, x = a, b, 3\n    class Inner:\n        x = x if False else y\n        def g(self) -> list:\n"
        "            return [x, y, z]\n    return [Inner.x, *Inner().g()]\n",
        "f(1, 2)",
    ),
}


def example(prefix: str, answer: str, suffix: str) -> Example:
    return Example("types/t", "types/g", prefix + suffix, answer, prefix, suffix, {"language": "python"})


def run(source: str, call: str) -> str:
    space: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(source, space)
        return repr(eval(call, space))


def variants(name: str, seeds: int = 4) -> list[tuple[Example, Example | Rejected, str]]:
    prefix, answer, suffix, call = PROGRAMS[name]
    one = example(prefix, answer, suffix)
    return [(one, edit_example(one, edit, seed=seed), call) for edit in COMBINATIONS for seed in range(seeds)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_edited_program_gives_what_the_original_gives(name: str) -> None:
    done = [(one, found, call) for one, found, call in variants(name) if isinstance(found, Example)]
    assert done
    for one, found, call in done:
        # A renamed class is known by its new name, to whoever calls it from outside.
        sites = dict(site.split(" -> ") for site in str(found.meta["edit_sites"]).split("; "))
        new_call = re.sub(r"\bBox\b", sites.get("Box", "Box"), call)
        assert run(source_of(found), new_call) == run(source_of(one), call), source_of(found)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_question_stays_and_something_else_changes(name: str) -> None:
    for one, found, _ in variants(name, seeds=1):
        if isinstance(found, Example):
            assert (found.answer, found.group) == (one.answer, one.group)
            assert found.id == f"{one.id}+{found.meta['edit']}"
            assert found.prefix + found.suffix != one.prefix + one.suffix
            assert found.meta["n_edit_sites"] == len(str(found.meta["edit_sites"]).split("; ")) > 0
            # The name of the answer's type still means that type.
            assert not re.search(rf"\b{one.answer} -> __typ", str(found.meta["edit_sites"]))
            assert found.prompt.endswith(":") or found.prompt.endswith("->")
            ast.parse(source_of(found))


def test_most_of_the_traps_can_be_edited_in_some_way() -> None:
    able = {
        edit: sum(
            any(isinstance(edit_example(example(*parts[:3]), edit, seed=seed), Example) for seed in range(10))
            for parts in PROGRAMS.values()
        )
        for edit in EDITS
    }
    assert able["rename_vars"] >= len(PROGRAMS) - 1
    assert able["rename_types"] >= 10  # in the others every type is the answer
    assert able["delete_annotations"] >= len(PROGRAMS) - 4


ORIGINAL = "def f(x: int, y: int) -> ELLORA_GAP_:\n    def g(z):\n        return x + z\n    return g(y)\n"


@pytest.mark.parametrize(
    ("new", "names", "what"),
    [
        ("def f(__tmp0: int, y: int) -> ELLORA_GAP_:\n    def g(__tmp0):\n        return __tmp0 + __tmp0\n"
         "    return g(y)\n", {"__tmp0": "x"}, "captured by an inner parameter"),
        ("def f(__tmp0: int, y: int) -> ELLORA_GAP_:\n    def g(z):\n        return x + z\n    return g(y)\n",
         {"__tmp0": "x"}, "half renamed"),
        ("def f(x: int, x2: int) -> ELLORA_GAP_:\n    def g(z):\n        return x + z\n    return g(x2)\n",
         {}, "renamed without saying so"),
        ("def f(x: int, y: int) -> ELLORA_GAP_:\n    def g(z):\n        return z + x\n    return g(y)\n",
         {}, "other order"),
        ("def f(x: int, y: str) -> ELLORA_GAP_:\n    def g(z):\n        return x + z\n    return g(y)\n",
         {}, "other annotation"),
        ("def f(x: int, y) -> ELLORA_GAP_:\n    def g(z):\n        return x + z\n    return g(y)\n",
         {}, "annotation deleted without saying so"),
    ],
)  # fmt: skip
def test_an_edit_that_changes_meaning_is_told(new: str, names: dict[str, str], what: str) -> None:
    assert difference(ORIGINAL, Draft(new, names)) is not None, what


def test_a_variable_split_in_two_is_told() -> None:
    before = "def f():\n    x = 1\n    x = 2\n    return x\n"
    after = "def f():\n    __tmp0 = 1\n    x = 2\n    return x\n"
    assert difference(before, Draft(before)) is None
    assert difference(before, Draft(after, {"__tmp0": "x"})) is not None


def test_two_variables_made_one_are_told() -> None:
    before = "def f(a, b):\n    a = 1\n    return a\n"
    after = "def f(a, __tmp0):\n    __tmp0 = 1\n    return __tmp0\n"
    assert difference(before, Draft(after, {"__tmp0": "a"})) is not None


def test_a_keyword_only_parameter_keeps_its_name() -> None:
    before = "def f(*, a):\n    return a\n"
    after = "def f(*, __tmp0):\n    return __tmp0\n"
    assert "callers must name" in str(difference(before, Draft(after, {"__tmp0": "a"})))


def test_an_alias_that_python_reads_as_a_private_name_is_told() -> None:
    before = "class A:\n    def f(self, x):\n        return int(x)\n"
    after = "{0} = int\nclass A:\n    def f(self, x):\n        return {0}(x)\n"
    assert difference(before, Draft(after.format("__typ0"), aliases={"__typ0": "int"})) is not None
    assert difference(before, Draft(after.format("__typ0__"), aliases={"__typ0__": "int"})) is None


def test_an_alias_of_another_type_is_told() -> None:
    before = "def f(x: int):\n    return x\n"
    after = "__typ0 = str\ndef f(x: __typ0):\n    return x\n"
    assert difference(before, Draft(after, aliases={"__typ0": "int"})) is not None


@pytest.mark.parametrize("body", ["return locals()", "return f.__annotations__", 'return eval("x")'])
def test_a_program_that_looks_at_its_names_is_left_alone(body: str) -> None:
    found = edit_example(example("def f(x: int) -> ", "object", f":\n    {body}\n"), "rename_vars", seed=0)
    assert isinstance(found, Rejected)
    assert found.reason.startswith("looks at names")


def test_a_self_documenting_f_string_is_left_alone() -> None:
    found = edit_example(example("def f(x: int) -> ", "str", ':\n    return f"{x=}"\n'), "rename_vars", seed=0)
    assert isinstance(found, Rejected)


def test_the_same_seed_makes_the_same_edit_and_another_makes_another() -> None:
    one = example("def f(a: int, b: int, c: int) -> ", "int", ":\n    d = a\n    e = b\n    return c + d + e\n")
    made = [edit_example(one, "rename_vars", seed=seed) for seed in (0, 0, *range(8))]
    assert made[0] == made[1]
    assert len({found.prefix + found.suffix for found in made if isinstance(found, Example)}) > 2


def test_an_unknown_edit_names_the_edits_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown edit 'rename_var'.*did you mean 'rename_vars'"):
        edit_example(example("def f(x: ", "int", "): return x\n"), "rename_var", seed=0)


def test_the_type_checker_objects_to_a_bad_edit_and_to_no_good_one() -> None:
    before = "def f(x: int) -> str:\n    n = x\n    return str(n + unknown(x))\n"
    good = "def f(__tmp0: int) -> str:\n    n = __tmp0\n    return str(n + unknown(__tmp0))\n"
    bad = "def f(__tmp0: str) -> str:\n    n = __tmp0\n    return str(n + 1)\n"
    said = new_errors([(before, good, {"__tmp0": "x"}), (before, bad, {"__tmp0": "x"})], language="python")
    assert said[0] == []
    assert "Unsupported operand types" in said[1][0]


def test_errors_of_the_original_are_allowed_and_no_others() -> None:
    before = 'def f(x: int) -> str:\n    return x + "a"\n'
    after = 'def f(__tmp0: int) -> str:\n    return __tmp0 + "a"\n'
    assert new_errors([(before, after, {"__tmp0": "x"})], language="python") == [[]]
    assert new_errors([("def f(x: int) -> int:\n    return x\n", after, {"__tmp0": "x"})], language="python") != [[]]


def test_a_file_that_stops_the_checker_does_not_stop_the_others() -> None:
    stops, fine = "await x\ndef f():\n    yield 1\nreturn\n", "def f(x: int) -> int:\n    return x\n"
    said = new_errors([(fine, stops, {}), (fine, fine, {})], language="python")
    assert said[0]
    assert said[1] == []


def test_a_deletion_that_the_checker_needs_is_rejected_and_counted() -> None:
    one = example(
        "def f(n: ", "int", "):\n    xs: list[int] = []\n    for x in []:\n        xs = xs\n    return xs * n\n"
    )
    kept, lost = edited([one], "delete_annotations", seed=0)
    assert kept == []
    assert lost.counts() == {"the type checker objects": 1}
    assert any("Need type annotation" in error for error in lost.errors)
    kept, _ = edited([one], "delete_annotations", seed=0, check=False)
    assert len(kept) == 1


def test_examples_come_back_in_order_with_reasons_for_the_others() -> None:
    first = example("def f(x: ", "int", ") -> int:\n    y = x\n    return y\n")
    nothing = replace(example("def f() -> ", "int", ":\n    return 1\n"), id="types/none")
    last = replace(first, id="types/last")
    kept, lost = edited([first, nothing, last], "rename_vars", seed=3)
    assert [found.meta["edit_of"] for found in kept] == ["types/t", "types/last"]
    assert [(one.id, one.reason) for one in lost.lost] == [("types/none", "nothing to do for rename_vars")]
