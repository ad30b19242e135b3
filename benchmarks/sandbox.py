"""Programs a second in the sandbox, as a ratio to the same programs in a bare subprocess.

Trivial programs, so that what is measured is the cost of isolation. The rows alternate within each round; two
threads each, as many as an oracle uses on two processors.

    python benchmarks/sandbox.py [--programs 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Sandbox
from ellora_trust.sandbox.calls import call, check
from ellora_trust.sandbox.languages import python_command

PROGRAM = "print(6 * 7)"
FUNCTION = "def add(a, b): return a + b"


def bare(_: int) -> str:
    """The same interpreter and flags, no isolation, no limits."""
    return subprocess.run([*python_command(), "-c", PROGRAM], capture_output=True, text=True, check=True).stdout


def rows() -> dict[str, Callable[[int], object]]:
    """What is timed, by name; what cannot run here is left out with its reason."""
    found: dict[str, Callable[[int], object]] = {"bare subprocess": bare}
    for kind in ("bubblewrap", "namespaces"):
        try:
            box = Sandbox.of(kind)
        except EnvironmentProblem as problem:
            print(f"{kind} left out: {problem}")
            continue
        found[f"{kind}, run"] = lambda _, box=box: box.run(PROGRAM).stdout
    best = Sandbox()
    found["best, call (2 runs)"] = lambda _: call(best, FUNCTION, "add", [(1, 2)]).returned[0].value
    found["best, check (4 runs)"] = lambda _: check(best, FUNCTION, "assert add(1, 2) == 3", ["add"]).outcome
    return found


def rate(work: Callable[[int], object], n: int) -> float:
    """Programs a second; every one must give the first one's result."""
    first = work(0)
    began = time.perf_counter()
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        results = list(pool.map(work, range(n)))
    seconds = time.perf_counter() - began
    assert all(result == first for result in results)
    return n / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    works = rows()
    seen: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(given.rounds):
        for name, work in works.items():
            seen[name].append(rate(work, given.programs))
    print(f"{given.programs} trivial Python programs, {given.rounds} rounds, 2 threads")
    print(f"{'':24} {'programs/s':>11} {'(min..max)':>14}  {'time / bare':>11}")
    base = seen["bare subprocess"]
    for name, rates in seen.items():
        ratio = statistics.median(b / r for b, r in zip(base, rates, strict=True))
        span = f"({min(rates):.0f}..{max(rates):.0f})"
        print(f"{name:24} {statistics.median(rates):11.0f} {span:>14}  {ratio:11.2f}")


if __name__ == "__main__":
    main()
