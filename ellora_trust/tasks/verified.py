"""What running generated programs showed, kept in the user's cache, so that a set is compiled once a machine.

    answers = verified("pointers", recipe, programs, observe=lambda program: run_both(program))

The key of a result is the program's text and the recipe. The recipe names everything else that the result hangs on:
compilers with versions, flags, how often it was run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from ellora_trust.cachedir import cache_dir
from ellora_trust.progress import Progress

Observed = dict[str, str | int | float | bool | None]


def verified(
    name: str,
    recipe: str,
    programs: Sequence[str],
    observe: Callable[[str], Observed],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> list[Observed]:
    """Return what `observe` says of each program, from the cache where it is known.

    Args:
        name: Of the set; its results lie in one file.
        recipe: Everything but the program's text on which a result depends.
        programs: Source texts; equal ones are observed once.
        observe: Called in threads; returns JSON scalars by name. An exception ends everything and loses nothing.
        workers: Threads; by default one a processor.
        progress: Show a bar where more than 20 are missing; not where `observe` takes them all at once.
    """
    path = cache_dir() / "verified" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {program: _key(recipe, program) for program in programs}
    known = _read(path)
    missing = [program for program in keys if keys[program] not in known]
    if missing:
        with (
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
            Progress(len(missing), f"running {name} programs", enabled=progress and len(missing) > 20) as bar,
        ):
            for program, found in zip(missing, pool.map(observe, missing), strict=True):
                known[keys[program]] = found
                _append(path, keys[program], found)
                bar.advance(1)
    return [known[keys[program]] for program in programs]


def _key(recipe: str, program: str) -> str:
    return hashlib.sha256(f"{recipe}\0{program}".encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Observed]:
    """Read whole lines only: a run that was killed may have left half of the last one."""
    if not path.exists():
        return {}
    found: dict[str, Observed] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["key"]] = row["found"]
    return found


def _append(path: Path, key: str, found: Observed) -> None:
    line = json.dumps({"key": key, "found": found}, sort_keys=True)
    with FileLock(f"{path}.lock"), path.open("a") as file:
        # A half line from a killed run must not swallow this one.
        file.write(f"\n{line}\n")
