"""Verdicts on Python functions that the functions cannot forge.

    called = call(box, "def add(a, b): return a + b", "add", [(1, 2), (2, 2)])
    same(called.returned[0].value, 3)                       # True
    check(box, program, "assert add(1, 2) == 3", ["add"])   # Verdict(outcome=Outcome.CORRECT, detail="")

The program runs in a sandbox of its own, gets arguments and gives values back over a pipe. Expected values stay
outside: with the caller (`call`), or in a second sandbox that runs the tests and reaches the program's functions
only through pipes (`check`). A program that finds the pipe and its nonce can send values early, which helps only
if they are right.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox.child import values
from ellora_trust.sandbox.jail import WORK
from ellora_trust.sandbox.languages import python_command
from ellora_trust.sandbox.result import Limits, Run, Status
from ellora_trust.sandbox.sandbox import Sandbox
from ellora_trust.tasks.base import Outcome

_CHILD = Path(__file__).parent / "child"


@dataclass(frozen=True)
class Returned:
    """What one call gave.

    Attributes:
        value: The result, of exactly the type that was returned; None where there is an error.
        error: The exception's type, "Ended" where the program was gone, "Unsupported" for a value that cannot be
            compared; None where there is a result.
        stage: "compile", "load", "missing" (no such function) or "call".
    """

    value: object = None
    error: str | None = None
    stage: str = "call"


@dataclass(frozen=True)
class Called:
    """All calls of one program.

    Attributes:
        run: Of the process.
        returned: One a list of arguments.
        flaky: Whether a repetition gave other results.
    """

    run: Run
    returned: list[Returned]
    flaky: bool = False


@dataclass(frozen=True)
class Verdict:
    """What tests say of a program.

    Attributes:
        outcome: The verdict.
        detail: Why, in a few words; empty for a correct program.
    """

    outcome: Outcome
    detail: str = ""


def call(
    box: Sandbox,
    program: str,
    entry: str,
    arguments: Sequence[Sequence[object]],
    *,
    limits: Limits | None = None,
    repeats: int = 2,
) -> Called:
    """Call one function of a program with each list of arguments.

    Args:
        box: Where the program runs.
        program: Python source that defines `entry`.
        entry: The function's name.
        arguments: Plain builtins, one list a call.
        limits: Of the whole process.
        repeats: Processes, each with another hash seed; where their results differ the program is flaky.

    Raises:
        TypeError: An argument that is no plain builtin.
    """
    requests = [values.dumps([entry, list(given)]) for given in arguments]
    first = _called(box, program, requests, limits)
    # What ran into the clock would do so again, at the same price.
    for _ in range(repeats - 1 if first.run.status is not Status.TIMEOUT else 0):
        again = _called(box, program, requests, limits)
        if not _agree(first.returned, again.returned):
            return replace(first, flaky=True)
    return first


def _called(box: Sandbox, program: str, requests: list[str], limits: Limits | None) -> Called:
    nonce = secrets.token_hex(16)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as replies:
        run = box.execute(
            [*python_command(), f"{WORK}/solver.py", "0", str(writer)],
            files=_files("solver", "values") | {"solution.txt": program},
            stdin="\n".join((nonce, *requests, "")),
            limits=limits,
            keep=(writer,),
            pipes={"replies": replies},
        )
    return Called(run, _returned(run.replies["replies"], nonce, len(requests)))


def _returned(data: bytes, nonce: str, n_calls: int) -> list[Returned]:
    """Read replies up to the first that is out of order, has no nonce or is no reply."""
    found: list[Returned] = []
    for index, line in enumerate(data.splitlines()[: n_calls + 1]):
        try:
            reply = json.loads(line)
            if reply["nonce"] != nonce or reply["index"] != index:
                break
            stage = str(reply["stage"])
            error = reply.get("error")
            one = Returned(None, str(error), stage) if error else Returned(values.loads(reply["value"]), None, stage)
        except (ValueError, KeyError, TypeError, RecursionError):
            break
        found.append(one)
    if not found or found[0].error:  # the program was never loaded, so every call has that error
        return [found[0] if found else Returned(None, "Ended", "load")] * n_calls
    return (found[1:] + [Returned(None, "Ended")] * n_calls)[:n_calls]


def same(left: object, right: object) -> bool:
    """Whether two plain values agree in exact type and value, all the way down; nan agrees with nan.

    Keys of dicts and members of sets are compared by type too; the order of dicts is not.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        pairs = {(type(key), key): item for key, item in right.items()}
        return len(left) == len(right) and all(
            (type(key), key) in pairs and same(item, pairs[type(key), key]) for key, item in left.items()
        )
    if isinstance(left, (set, frozenset)) and isinstance(right, (set, frozenset)):
        return {(type(item), item) for item in left} == {(type(item), item) for item in right}
    return left == right


def _agree(left: list[Returned], right: list[Returned]) -> bool:
    return all(a.error == b.error and same(a.value, b.value) for a, b in zip(left, right, strict=True))


def check(
    box: Sandbox,
    program: str,
    tests: str,
    names: Sequence[str],
    *,
    limits: Limits | None = None,
    packages: Sequence[str] = (),
    repeats: int = 2,
) -> Verdict:
    """Run tests against a program whose functions they reach only through pipes.

    Args:
        box: Where both run, in a sandbox each.
        program: Python source under test.
        tests: Python source with assertions; a name in `names` is a function of the program.
        names: The functions that the tests call.
        limits: Of each of the two processes.
        packages: Installed packages that the tests may import.
        repeats: How often; verdicts that differ are `Outcome.FLAKY`.

    A function that changes its arguments does not change the tests' own; keyword arguments, functions and objects
    do not travel, so tests that need them are undecided.
    """
    verdicts = [_checked(box, program, tests, names, limits or box.limits, packages)]
    worth_repeating = verdicts[0].outcome.decided and verdicts[0].outcome is not Outcome.TIMEOUT
    while worth_repeating and len(verdicts) < repeats:
        verdicts.append(_checked(box, program, tests, names, limits or box.limits, packages))
        if verdicts[-1].outcome is not verdicts[0].outcome:
            return Verdict(Outcome.FLAKY, f"{verdicts[0].outcome} once, {verdicts[-1].outcome} another time")
    return verdicts[0]


def _checked(
    box: Sandbox, program: str, tests: str, names: Sequence[str], limits: Limits, packages: Sequence[str]
) -> Verdict:
    parent_nonce, solver_nonce = secrets.token_hex(16), secrets.token_hex(16)
    take_request, send_request = os.pipe()
    take_reply, send_reply = os.pipe()
    take_verdict, send_verdict = os.pipe()
    with os.fdopen(take_verdict, "rb") as verdict, ThreadPoolExecutor(1) as pool:
        solver = pool.submit(
            box.execute,
            [*python_command(), f"{WORK}/solver.py", str(take_request), str(send_reply)],
            files=_files("solver", "values") | {"solution.txt": program},
            limits=limits,
            keep=(take_request, send_reply),
        )
        tester = box.execute(
            [*python_command(), f"{WORK}/tester.py", str(send_request), str(take_reply), str(send_verdict)],
            files=_files("tester", "values"),
            stdin="\n".join((parent_nonce, solver_nonce, " ".join(names), tests)),
            # The tests wait for the program, so its clock must run out first.
            limits=replace(limits, wall=limits.wall + 1),
            readonly=_packages(packages),
            env={"OPENBLAS_NUM_THREADS": "1"},
            keep=(send_request, take_reply, send_verdict),
            pipes={"verdict": verdict},
        )
        return _judged(tester, solver.result(), parent_nonce)


def _judged(tester: Run, solver: Run, nonce: str) -> Verdict:
    if solver.status is Status.TIMEOUT:
        return Verdict(Outcome.TIMEOUT, f"the program ran for {solver.wall:.1f} s")
    if solver.status in (Status.MEMORY, Status.OUTPUT):
        return Verdict(Outcome.CRASH, f"the program passed its limit on {solver.status}")
    try:
        found = json.loads(tester.replies["verdict"])
        if found["nonce"] == nonce:
            return Verdict(Outcome(found["outcome"]), found["detail"])
    except (ValueError, KeyError, TypeError):
        pass
    if tester.status is Status.TIMEOUT:
        return Verdict(Outcome.TIMEOUT, "the tests did not end")
    return Verdict(Outcome.UNDECIDED, f"the tests ended without a verdict ({tester.status}): {tester.stderr[-200:]}")


def _files(*names: str) -> dict[str, str | bytes]:
    return {f"{name}.py": (_CHILD / f"{name}.py").read_bytes() for name in names}


def _packages(names: Sequence[str]) -> dict[Path, str]:
    """Return where installed packages lie and where the tests see them."""
    found: dict[Path, str] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise EnvironmentProblem(f"the tests import {name!r}, which is not installed; pip install {name}")
        folder = Path(spec.submodule_search_locations[0])
        for one in (folder, folder.with_name(f"{folder.name}.libs")):  # a wheel's own shared libraries
            if one.exists():
                found[one] = f"/packages/{one.name}"
    return found
