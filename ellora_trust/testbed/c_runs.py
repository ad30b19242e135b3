"""Compiles many C functions into one program, and runs each in processes of its own, alone and with several threads.

    run_c(Sandbox(), [CJob("int f(const int *a, int n) { return a[0]; }", "f", "int", "int", [[1, 2]])])[0].printed

A data race is found by ThreadSanitizer with Archer, where a clang that has them is installed; elsewhere by results that
differ from the serial one, which a race may fail to show.
"""

from __future__ import annotations

import re
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import MIB, Built, Limits, Run, Sandbox, Status
from ellora_trust.tasks.races.oracle import PLAIN_FLAGS, RaceOracle
from ellora_trust.testbed.c_program import DIFFERS, CJob, is_one_function, owner, program

BATCH = 64
_TRIES = 12  # calls where no sanitizer looks for races, of which one must show it
_TSAN_FLAGS = ("-O0", "-fopenmp", "-fsanitize=thread", "-fno-sanitize-recover=all")
_RACE = 66  # ThreadSanitizer's exit code
# ThreadSanitizer sleeps for a second at exit by default, which is most of what a short program costs.
_TSAN_OPTIONS = "ignore_noninstrumented_modules=1 symbolize=0 halt_on_error=1 atexit_sleep_ms=0"
_PLAIN_THREADS = (4, 3)
_TSAN_THREADS = (4,)
_LIMITS = Limits(wall=400.0, cpu=60.0, memory=1024 * MIB)
_ERROR = re.compile(r"program\.c:(\d+):\d+: (?:fatal )?error")
_ROUNDS = 4  # of leaving out what does not build
_ALARM = 128 + signal.SIGALRM

Output = tuple[int, str]  # exit code, what was printed


@dataclass(frozen=True)
class CFound:
    """What one function gave.

    Attributes:
        status: "ok", "build_error", "crash" or "timeout", of the run with one thread or, where that is well, with more.
        printed: Result and checksum of each array, with one thread.
        race: Whether ThreadSanitizer saw a race, or threads changed a result.
    """

    status: str
    printed: tuple[tuple[float, float], ...] = ()
    race: bool = False


def run_c(box: Sandbox, jobs: Sequence[CJob]) -> list[CFound]:
    """Build and run jobs.

    Raises:
        EnvironmentProblem: gcc is not installed, or the sandbox does not work.
    """
    whole = [number for number, job in enumerate(jobs) if is_one_function(job.source)]
    serial = _serial(box, jobs, whole)
    good = [number for number in whole if number in serial and serial[number].status == "ok"]
    threaded = _threaded(box, jobs, [number for number in good if "#pragma" in jobs[number].source])
    found = []
    for number in range(len(jobs)):
        alone = serial.get(number, CFound("build_error"))
        found.append(_together(alone, threaded[number]) if number in threaded else alone)
    return found


def _together(alone: CFound, outputs: Sequence[Output]) -> CFound:
    """Join what one thread showed with the outputs of several."""
    if any(code in (_RACE, DIFFERS) for code, _ in outputs):
        return replace(alone, race=True)
    for one in map(_read_output, outputs):
        if one.status != "ok":
            return replace(alone, status=one.status)
        if one.printed != alone.printed:
            return replace(alone, race=True)
    return alone


def checksum(values: Sequence[int]) -> float:
    """Return what `printed` says of an array after the call."""
    return float(sum(value * (i + 1) for i, value in enumerate(values)))


@cache
def race_oracle(box: Sandbox) -> RaceOracle | None:
    """Return ThreadSanitizer with Archer, or None where results that differ must decide."""
    oracle = RaceOracle(box)
    try:
        works = oracle.launcher is not None  # found by trying
    except EnvironmentProblem:
        return None
    return oracle if works else None


def _serial(box: Sandbox, jobs: Sequence[CJob], numbers: Sequence[int]) -> dict[int, CFound]:
    """Return what each job that builds shows with one thread."""
    found: dict[int, CFound] = {}
    good = list(numbers)
    for _ in range(_ROUNDS):
        source, starts = program([(number, jobs[number]) for number in good])
        with box.build(source, language="c", flags=PLAIN_FLAGS) as built:
            if built.ok:
                runs = _run_each(built, good, (1,))
                return {number: _read_output(runs[number][0]) for number in good}
            bad = {owner(int(line), starts) for line in _ERROR.findall(built.compiler.stderr)} - {None}
        good = [number for number in good if number not in bad]
        if not bad:
            break
    # Errors without a place, as from the linker: each by itself, unless it is the last.
    if len(good) <= 1:
        return found
    for number in good:
        found.update(_serial(box, jobs, [number]))
    return found


def _threaded(box: Sandbox, jobs: Sequence[CJob], numbers: list[int]) -> dict[int, list[Output]]:
    """Return the outputs of these jobs, all of which build, with several threads."""
    if not numbers:
        return {}
    source, _ = program([(number, jobs[number]) for number in numbers])
    oracle = race_oracle(box)
    if oracle is None:
        with box.build(source, language="c", flags=(*PLAIN_FLAGS, f"-DTRIES={_TRIES}")) as built:
            return _run_each(built, numbers, _PLAIN_THREADS)
    with box.build(source, language="c", flags=_TSAN_FLAGS, compiler=oracle.toolchain.clang) as built:
        environment = {
            "TSAN_OPTIONS": f"{_TSAN_OPTIONS} exitcode={_RACE}",
            "OMP_TOOL": "enabled",
            "OMP_TOOL_LIBRARIES": str(oracle.toolchain.archer),
        }
        return _run_each(built, numbers, _TSAN_THREADS, oracle.launcher, environment)


def _run_each(
    built: Built,
    numbers: Sequence[int],
    threads: Sequence[int],
    launcher: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> dict[int, list[Output]]:
    """Run a built program once for each job and number of threads, in one sandbox."""
    nonce = secrets.token_hex(8)
    command = " ".join((*launcher, "/work/program", nonce, *map(str, numbers)))
    script = f"for t in {' '.join(map(str, threads))}; do OMP_NUM_THREADS=$t {command} 2>/dev/null; done"
    env = {"OMP_WAIT_POLICY": "passive", "OMP_DYNAMIC": "false", **(environment or {})}
    run = built.box.execute(["/bin/sh", "-c", script], folder=built.folder, limits=_LIMITS, env=env)
    return _read(run, nonce, numbers, len(threads))


def _read(run: Run, nonce: str, numbers: Sequence[int], n_threads: int) -> dict[int, list[Output]]:
    found: dict[int, list[Output]] = {number: [] for number in numbers}
    printed: list[str] = []
    for line in run.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == nonce:
            found[int(words[1])].append((int(words[2]), "\n".join(printed).strip()))
            printed = []
        else:
            printed.append(line)
    late = (_ALARM, "") if run.status is Status.TIMEOUT else (1, "")
    return {number: (outputs + [late] * n_threads)[:n_threads] for number, outputs in found.items()}


def _read_output(output: Output) -> CFound:
    code, printed = output
    if code != 0:
        return CFound("timeout" if code == _ALARM else "crash")
    try:
        pairs = [tuple(map(float, one.split())) for one in printed.removesuffix(";").split(";")]
    except ValueError:
        return CFound("crash")
    return CFound("ok", tuple((pair[0], pair[-1]) for pair in pairs))
