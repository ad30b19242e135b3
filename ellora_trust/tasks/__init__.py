"""Tasks by name.

load_task("aliasing")
load_task("types", source=Path("src"))
"""

from __future__ import annotations

from pathlib import Path

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example, Outcome, Task

__all__ = ["Example", "Outcome", "Task", "load_task", "task_names"]


def task_names() -> tuple[str, ...]:
    """Return the names of the built-in tasks."""
    return ("aliasing", "types")


def load_task(name: str, *, source: Path | None = None) -> Task:
    """Return a task.

    Args:
        name: One of `task_names()`.
        source: A code base to take the questions from, for tasks that can.

    Raises:
        InputError: An unknown task, or one that has no use for `source`.
    """
    if name == "types":
        from ellora_trust.tasks.types import TypesTask

        return TypesTask(source)
    if name == "aliasing":
        from ellora_trust.tasks.aliasing import AliasingTask

        if source is not None:
            raise InputError("task 'aliasing' makes its own programs and reads no --source; use it with --task types")
        return AliasingTask()
    raise InputError(one_of(name, task_names(), what="task"))
