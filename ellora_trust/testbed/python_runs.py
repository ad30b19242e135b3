"""Runs many Python functions in one sandbox, each in a process of its own.

run_python(Sandbox(), [PythonJob("def f(x): return x", "f", [((1,), ("plain",))])])[0].returned
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ellora_trust.sandbox import Limits, Run, Sandbox
from ellora_trust.sandbox.child import values
from ellora_trust.sandbox.languages import python_command
from ellora_trust.testbed.family import Arguments

_CALLER = Path(__file__).parent / "child" / "caller.py"
# One process a job, of a few milliseconds; a job that hangs is ended after two seconds by the caller itself.
_LIMITS = Limits(wall=240.0, cpu=240.0)
BATCH = 100


@dataclass(frozen=True)
class PythonJob:
    """A program and the calls to one of its functions.

    Attributes:
        source: Python.
        entry: Name of the function; without calls, of the value that is wanted.
        calls: Arguments, and what each becomes.
        environment: Variables that the program may read.
    """

    source: str
    entry: str
    calls: Sequence[tuple[Arguments, tuple[str, ...]]]
    environment: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return what the sandbox is told of it."""
        calls = [{"kinds": kinds, "arguments": json.loads(values.dumps(list(given)))} for given, kinds in self.calls]
        rest = {"entry": self.entry, "calls": calls, "environment": dict(self.environment)}
        return json.dumps({"source": self.source, **rest})


@dataclass(frozen=True)
class Found:
    """What one job gave.

    Attributes:
        returned: One a call: result and arguments after it, or the name of an exception.
        stage: Why there is no result: "compile", "load", "missing", "ended" or "timeout"; empty where there is one.
    """

    returned: list[tuple[object, list[object]] | str] = field(default_factory=list)
    stage: str = ""


def run_python(box: Sandbox, jobs: Sequence[PythonJob]) -> list[Found]:
    """Run jobs in one sandbox.

    A job that ended its whole sandbox costs its neighbours nothing: it is tried again by itself, and then the rest.

    Raises:
        EnvironmentProblem: The sandbox does not work here.
    """
    found = _run(box, jobs)
    if len(jobs) > 1 and len(found) < len(jobs):
        at = len(found)
        return [
            *found,
            *run_python(box, jobs[at : at + 1]),
            *(run_python(box, jobs[at + 1 :]) if jobs[at + 1 :] else []),
        ]
    return found or [Found(stage="ended")] * len(jobs)


def _run(box: Sandbox, jobs: Sequence[PythonJob]) -> list[Found]:
    nonce = secrets.token_hex(16)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as replies:
        run = box.execute(
            [*python_command(), "/work/caller.py", str(writer)],
            files={"caller.py": _CALLER.read_bytes(), "values.py": Path(values.__file__).read_bytes()},
            stdin="\n".join((nonce, *(job.line() for job in jobs))),
            limits=_LIMITS,
            keep=(writer,),
            pipes={"replies": replies},
        )
    return _read(run, nonce, len(jobs))


def _read(run: Run, nonce: str, n_jobs: int) -> list[Found]:
    """Read replies up to the first that is out of order, has no nonce or is no reply."""
    found: list[Found] = []
    for line in run.replies["replies"].splitlines()[:n_jobs]:
        try:
            reply = json.loads(line)
            if reply["nonce"] != nonce or reply["job"] != len(found):
                break
            found.append(_found(reply["found"]))
        except (ValueError, KeyError, TypeError):
            break
    return found


def _found(content: object) -> Found:
    if isinstance(content, dict):
        return Found(stage=str(content["stage"]))
    if not isinstance(content, list):
        raise ValueError("no reply")
    return Found([_returned(one) for one in content])


def _returned(one: dict[str, str]) -> tuple[object, list[object]] | str:
    if "error" in one:
        return str(one["error"])
    decoded = values.loads(one["value"])
    if not isinstance(decoded, list) or len(decoded) != 2 or not isinstance(decoded[1], list):
        raise ValueError("no reply")
    return decoded[0], decoded[1]
