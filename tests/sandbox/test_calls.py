"""Verdicts on functions: by exact type and value, decided outside, the same every time or flaky."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.sandbox import Limits, Sandbox
from ellora_trust.sandbox.calls import call, check, same
from ellora_trust.sandbox.child import values
from ellora_trust.tasks.base import Outcome

BOX = Sandbox()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
KEYS = st.integers() | st.text() | st.tuples(st.integers(), st.text())
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(KEYS, max_size=3)
        | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_plain_values_travel_with_their_exact_types(value: object) -> None:
    arrived = values.loads(values.dumps(value))
    # Complex numbers with nan parts are equal to nothing, themselves included.
    assert same(value, arrived) or "nan" in repr(value)
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, True), (1, 1.0), ([1], (1,)), ({1: 2}, {1.0: 2}), ({1}, {True}), ("1", b"1"), ([[1]], [[1.0]]), (0, None)],
)
def test_values_that_only_compare_equal_are_not_the_same(left: object, right: object) -> None:
    assert not same(left, right)
    assert same(left, left)
    assert same(right, right)


def test_nan_is_the_same_as_nan_at_any_depth() -> None:
    assert same([math.nan, {"x": (math.nan,)}], [math.nan, {"x": (math.nan,)}])


@pytest.mark.parametrize(
    "text", ["", "{", '{"int": "zz"}', '{"a": 1, "b": 2}', "1", '{"dict": 3}', "[" * 100_000, '{"float": "0x1p9999"}']
)
def test_what_is_no_encoded_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        values.loads(text)


def test_a_subclass_does_not_travel() -> None:
    class Number(int):
        pass

    with pytest.raises(values.Unsupported, match="Number"):
        values.dumps([Number(1)])


def test_each_call_has_its_result_or_its_exception() -> None:
    called = call(BOX, "def half(x): return x / 2 if x else {}[0]", "half", [(1,), (0,), ("a",)])
    assert [(one.value, one.error) for one in called.returned] == [(0.5, None), (None, "KeyError"), (None, "TypeError")]
    assert not called.flaky


@pytest.mark.parametrize(
    ("program", "error", "stage"),
    [
        ("def f(x) return", "SyntaxError", "compile"),
        ("import nothing_of_the_kind", "ModuleNotFoundError", "load"),
        ("g = 1", "NameError", "missing"),
        ("import os\ndef f(x): os._exit(0)", "Ended", "call"),
        ("import os; os._exit(0)", "Ended", "load"),
        ("def f(x): return f", "Unsupported", "call"),
        ("def f(x): return f(x)", "RecursionError", "call"),
        ("def f(x): raise SystemExit", "SystemExit", "call"),
    ],
)
def test_every_failure_says_where_it_happened(program: str, error: str, stage: str) -> None:
    (returned,) = call(BOX, program, "f", [(1,)]).returned
    assert (returned.error, returned.stage) == (error, stage)


def test_a_result_that_hangs_on_the_hash_seed_is_flaky() -> None:
    program = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})"
    assert call(BOX, program, "f", [()]).flaky
    assert not call(BOX, "def f(): return sorted({'a', 'b', 'c'})", "f", [()]).flaky


TESTS = "assert add(1, 2) == 3\nassert add([1], [2]) == [1, 2]"


@pytest.mark.parametrize(
    ("program", "tests", "outcome"),
    [
        ("def add(a, b): return a + b", TESTS, Outcome.CORRECT),
        ("def add(a, b): return a - b", TESTS, Outcome.WRONG),
        ("def add(a, b): return map(int, [a])", TESTS, Outcome.WRONG),
        ("def add(a, b): return None", "assert add(1, 2) > 1", Outcome.WRONG),
        ("def add(a, b) return", TESTS, Outcome.BUILD_ERROR),
        ("def sub(a, b): return a", TESTS, Outcome.BUILD_ERROR),
        ("def add(a, b): raise KeyError", TESTS, Outcome.CRASH),
        ("def add(a, b):\n    import os\n    os._exit(0)", TESTS, Outcome.CRASH),
        ("def add(a, b):\n    while True: pass", TESTS, Outcome.TIMEOUT),
        ("def add(a, b): return (i for i in (1, 2))", "assert list(add(1, 2)) == [1, 2]", Outcome.UNDECIDED),
        ("def add(a, b): return a + b", "assert add(lambda: 1, 2)", Outcome.UNDECIDED),
        ("def add(a, b): return a + b", "assert Point(add(1, 2))", Outcome.UNDECIDED),
        ("def add(a, b): raise ValueError", "try: add(1, 2)\nexcept ValueError: pass", Outcome.CORRECT),
        ("def add(a, b): return a + b", "try: add(1, 'x')\nexcept TypeError: pass", Outcome.CORRECT),
    ],
)
def test_each_outcome_of_tests(program: str, tests: str, outcome: Outcome) -> None:
    assert check(BOX, program, tests, ["add"], limits=Limits(wall=2)).outcome is outcome


def test_tests_may_use_packages_that_the_program_does_not_see() -> None:
    tests = "import numpy as np\nassert np.allclose(add(1.0, 2.0), 3.0)"
    assert check(BOX, "def add(a, b): return a + b", tests, ["add"], packages=["numpy"]).outcome is Outcome.CORRECT
    peeking = "import numpy\ndef add(a, b): return a + b"
    assert check(BOX, peeking, tests, ["add"], packages=["numpy"]).detail == "ModuleNotFoundError"


def test_verdicts_that_differ_are_flaky() -> None:
    program = "import random\ndef add(a, b): return random.random() < 0.5"
    assert check(BOX, program, "assert add(1, 2)", ["add"], repeats=40).outcome is Outcome.FLAKY


# Finds the function that sends replies, nonce and all, in a frame of the harness.
STOLEN_REPLY = """
import sys
frame = sys._getframe()
while 'reply' not in frame.f_locals: frame = frame.f_back
reply, pipe = frame.f_locals['reply'], int(sys.argv[2])
"""


def test_a_reply_that_holds_no_value_ends_the_calls_and_nothing_else() -> None:
    program = STOLEN_REPLY + "def f(x): reply(value='{\"float\": \"0x1p9999\"}', stage='call')"
    assert call(BOX, program, "f", [(1,)]).returned[0].error == "Ended"


def test_a_reply_too_deep_to_read_is_the_programs_fault() -> None:
    program = STOLEN_REPLY + "import os\nos.write(pipe, b'[' * 200_000 + b'\\n')\ndef add(a, b): return a + b"
    assert check(BOX, program, TESTS, ["add"], limits=Limits(wall=2)).outcome is Outcome.CRASH
