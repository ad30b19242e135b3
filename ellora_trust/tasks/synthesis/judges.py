"""How a generated function is decided: by the values it returns, or by tests that somebody else wrote.

    judge = ByValues([(1, 2), (0, 0)], [3, 0])
    judge.decide(Sandbox(), "def add(a, b):\n    return a + b\n", "add")      # Outcome.CORRECT

Neither lets the expected values into the process that holds the program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ellora_trust.tasks.base import Outcome

if TYPE_CHECKING:
    from ellora_trust.sandbox import Limits, Sandbox
    from ellora_trust.sandbox.calls import Called, Returned


class Judge(Protocol):
    """What decides the programs of one problem."""

    @property
    def n_tests(self) -> int | None:
        """How many calls are compared, or None where the tests are a program of their own."""
        ...

    def decide(self, box: Sandbox, program: str, entry_point: str, *, limits: Limits | None = None) -> Outcome:
        """Run `program` and decide it by what its function `entry_point` does."""
        ...


@dataclass(frozen=True)
class ByValues:
    """Compares what a function returns with values that are known.

    Attributes:
        arguments: One list a call.
        expected: What each call must return.
        tolerance: Relative and absolute, for floats; 0 asks for equal ones.
    """

    arguments: Sequence[Sequence[object]]
    expected: Sequence[object]
    tolerance: float = 0.0

    @property
    def n_tests(self) -> int:
        return len(self.expected)

    def decide(self, box: Sandbox, program: str, entry_point: str, *, limits: Limits | None = None) -> Outcome:
        """Decide in this order.

        FLAKY: a second process returned other values. BUILD_ERROR: no Python, or no function of that name. WRONG: some
        value differs. UNDECIDED: some value is of a type that cannot be compared from outside. TIMEOUT, CRASH: some
        call gave no value because the time was over, or because of an exception or an end of the process.
        """
        from ellora_trust.sandbox.calls import call

        called = call(box, program, entry_point, self.arguments, limits=limits)
        if called.flaky:
            return Outcome.FLAKY
        if called.returned[0].stage in ("compile", "missing"):
            return Outcome.BUILD_ERROR
        found = {self._one(given, right) for given, right in zip(called.returned, self.expected, strict=True)}
        if Outcome.CRASH in found and _ran_out_of_time(called):
            found.add(Outcome.TIMEOUT)
        order = (Outcome.WRONG, Outcome.UNDECIDED, Outcome.TIMEOUT, Outcome.CRASH)
        return next((outcome for outcome in order if outcome in found), Outcome.CORRECT)

    def _one(self, returned: Returned, right: object) -> Outcome:
        if returned.error == "Unsupported":
            # A Counter or an OrderedDict is a dict and may be equal to one; no other foreign type equals a builtin.
            return Outcome.UNDECIDED if isinstance(right, dict) else Outcome.WRONG
        if returned.error:
            return Outcome.CRASH
        return Outcome.CORRECT if agree(returned.value, right, tolerance=self.tolerance) else Outcome.WRONG


def _ran_out_of_time(called: Called) -> bool:
    from ellora_trust.sandbox import Status

    return called.run.status is Status.TIMEOUT


def agree(given: object, right: object, *, tolerance: float = 0.0) -> bool:
    """Whether a returned value is the expected one: exact types all the way down, floats within the tolerance.

    An int counts where a float is expected and the two are close (PEP 484), a bool does not; a float never counts where
    an int is expected.
    """
    from ellora_trust.sandbox.calls import same

    if same(given, right):
        return True
    if type(right) is float and type(given) in (int, float):
        return _close(given, right, tolerance)  # pyright: ignore[reportArgumentType]
    if type(given) is not type(right):
        return False
    close = partial(agree, tolerance=tolerance)
    if isinstance(given, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(given) == len(right) and all(map(close, given, right))
    if isinstance(given, dict) and isinstance(right, dict):
        return {*map(_typed, given)} == {*map(_typed, right)} and all(close(given[key], right[key]) for key in right)
    return False


def _close(given: float, right: float, tolerance: float) -> bool:
    try:
        return math.isclose(given, right, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an int beyond every float
        return False


def _typed(key: object) -> tuple[type, object]:
    return type(key), key


@dataclass(frozen=True)
class ByTests:
    """Runs tests as they were written, against a function that they reach only through a pipe.

    Attributes:
        tests: Python source; they pass where it ends without an exception.
        packages: Installed packages that the tests import.
    """

    tests: str
    packages: tuple[str, ...] = ()

    @property
    def n_tests(self) -> None:
        return None

    def decide(self, box: Sandbox, program: str, entry_point: str, *, limits: Limits | None = None) -> Outcome:
        """Decide as `ellora_trust.sandbox.calls.check` does; a missing function is a BUILD_ERROR."""
        from ellora_trust.sandbox.calls import check

        return check(box, program, self.tests, [entry_point], limits=limits, packages=self.packages).outcome
