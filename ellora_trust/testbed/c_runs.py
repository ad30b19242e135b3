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
from dataclasses import dataclass
from functools import cache

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import MIB, Built, Limits, Run, Sandbox, Status
from ellora_trust.tasks.races.oracle import PLAIN_FLAGS, RaceOracle

BATCH = 64
TSAN_FLAGS = ("-O0", "-fopenmp", "-fsanitize=thread", "-fno-sanitize-recover=all")
_RACE = 66  # ThreadSanitizer's exit code
# ThreadSanitizer sleeps for a second at exit by default, which is most of what a short program costs.
_TSAN_OPTIONS = "ignore_noninstrumented_modules=1 symbolize=0 halt_on_error=1 atexit_sleep_ms=0"
_PLAIN_THREADS = (1, 4, 3, 4, 4)
_TSAN_THREADS = (4,)
_SECONDS = 5
_LIMITS = Limits(wall=300.0, cpu=60.0, memory=1024 * MIB)
_ERROR = re.compile(r"program\.c:(\d+):\d+: (?:fatal )?error")
_ROUNDS = 4

# One call: fill, run, print the result and a checksum of the array, which tells any two arrays of the tests apart.
_CALL = """\
    {{
        static {kind} a[] = {{{values}}};
        int n = sizeof a / sizeof *a;
        double result = 0, sum = 0;
        {call};
        for (int i = 0; i < n; i++)
            sum += (double) a[i] * (i + 1);
        printf("%.3f %.3f;", result, sum);
    }}
"""
# A process a job, forked before any thread exists, so that no job sees or ends another.
_MAIN = """
static int job(int number) {{
    switch (number) {{
{cases}    }}
    return 3;
}}
int main(int argc, char **argv) {{
    for (int i = 2; i < argc; i++) {{
        int status = 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {{
            alarm({seconds});
            int code = job(atoi(argv[i]));
            fflush(stdout);
            _exit(code);
        }}
        waitpid(child, &status, 0);
        int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        printf("\\n%s %s %d\\n", argv[1], argv[i], code);
    }}
    return 0;
}}
"""
_HEADERS = ("stdio", "stdlib", "math", "signal", "unistd", "sys/types", "sys/wait")
_ALARM = 128 + signal.SIGALRM


@dataclass(frozen=True)
class CJob:
    """A function over one array.

    Attributes:
        source: C, one function `entry(array, length)`.
        entry: Its name.
        returns: Its type; "void" where it changes the array.
        kind: Type of the elements.
        arrays: What it is called with.
    """

    source: str
    entry: str
    returns: str
    kind: str
    arrays: Sequence[Sequence[int]]


@dataclass(frozen=True)
class CFound:
    """What one function gave.

    Attributes:
        status: "ok", "build_error", "crash" or "timeout", of the runs with one thread.
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
    whole = [number for number, job in enumerate(jobs) if _is_one_function(job.source)]
    with_threads = [number for number in whole if "#pragma" in jobs[number].source]
    serial = _serial(box, jobs, whole)
    races = _races(box, jobs, [number for number in with_threads if serial[number][0] == "ok"])
    found = []
    for number in range(len(jobs)):
        status, printed = serial.get(number, ("build_error", ()))
        found.append(CFound(status, printed, number in races))
    return found


def checksum(values: Sequence[int]) -> float:
    """Return what `printed` says of an array after the call."""
    return float(sum(value * (i + 1) for i, value in enumerate(values)))


@cache
def race_oracle(box: Sandbox) -> RaceOracle | None:
    """Return ThreadSanitizer with Archer, or None where results that differ must decide."""
    oracle = RaceOracle(box)
    try:
        assert oracle.launcher is not None
    except EnvironmentProblem:
        return None
    return oracle


def _serial(box: Sandbox, jobs: Sequence[CJob], numbers: Sequence[int]) -> dict[int, tuple[str, tuple]]:
    """Return status and results of each job that builds, with one thread."""
    found: dict[int, tuple[str, tuple]] = {}
    good = list(numbers)
    for _ in range(_ROUNDS):
        source, starts = _program([(number, jobs[number]) for number in good])
        with box.build(source, language="c", flags=PLAIN_FLAGS) as built:
            if built.ok:
                runs = _run_each(built, good, (1,))
                return {**found, **{number: _status(runs[number][0]) for number in good}}
            bad = {_owner(int(line), starts) for line in _ERROR.findall(built.compiler.stderr)} - {None}
        good = [number for number in good if number not in bad]
        if not bad:
            break
    # Errors without a place, as from the linker: each by itself, unless it is the last.
    if len(good) <= 1:
        return found
    for number in good:
        found.update(_serial(box, jobs, [number]))
    return found


def _races(box: Sandbox, jobs: Sequence[CJob], numbers: list[int]) -> set[int]:
    """Return which of these jobs, all of which build, race."""
    if not numbers:
        return set()
    source, _ = _program([(number, jobs[number]) for number in numbers])
    oracle = race_oracle(box)
    if oracle is None:
        with box.build(source, language="c", flags=PLAIN_FLAGS) as built:
            runs = _run_each(built, numbers, _PLAIN_THREADS)
        return {number for number, outputs in runs.items() if len({_status(one) for one in outputs}) > 1}
    with box.build(source, language="c", flags=TSAN_FLAGS, compiler=oracle.toolchain.clang) as built:
        environment = {
            "TSAN_OPTIONS": f"{_TSAN_OPTIONS} exitcode={_RACE}",
            "OMP_TOOL": "enabled",
            "OMP_TOOL_LIBRARIES": str(oracle.toolchain.archer),
        }
        runs = _run_each(built, numbers, _TSAN_THREADS, oracle.launcher, environment)
    return {number for number, outputs in runs.items() if any(code == _RACE for code, _ in outputs)}


Output = tuple[int, str]  # exit code, what was printed


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


def _status(output: Output) -> tuple[str, tuple[tuple[float, float], ...]]:
    code, printed = output
    if code != 0:
        return ("timeout" if code == _ALARM else "crash"), ()
    try:
        pairs = [tuple(map(float, one.split())) for one in printed.removesuffix(";").split(";")]
    except ValueError:
        return "crash", ()
    return "ok", tuple((pair[0], pair[-1]) for pair in pairs)


def _program(jobs: Sequence[tuple[int, CJob]]) -> tuple[str, list[tuple[int, int]]]:
    """Return one program for all jobs, and at which line each job starts.

    Every function gets a name of its own, so that two jobs may use the same.
    """
    lines = [f"#include <{header}.h>" for header in _HEADERS]
    starts, cases = [], []
    for number, job in jobs:
        starts.append((len(lines) + 1, number))
        name = f"{job.entry}_{number}"
        lines += re.sub(rf"\b{re.escape(job.entry)}\b", name, job.source).splitlines()
        call = f"{name}(a, n)" if job.returns == "void" else f"result = (double) {name}(a, n)"
        calls = [_CALL.format(kind=job.kind, values=", ".join(map(str, one)), call=call) for one in job.arrays]
        cases.append(f"    case {number}:\n{''.join(calls)}    return 0;\n")
    starts.append((len(lines) + 1, -1))
    return "\n".join(lines) + _MAIN.format(cases="".join(cases), seconds=_SECONDS), starts


def _owner(line: int, starts: Sequence[tuple[int, int]]) -> int | None:
    owners = [number for start, number in starts if start <= line]
    return owners[-1] if owners and owners[-1] >= 0 else None


def _is_one_function(source: str) -> bool:
    """Whether braces match and close once, so that no job can spoil what stands after it."""
    depth = closed = 0
    for character in re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(character, 0)
        closed += character == "}" and depth == 0
        if depth < 0:
            return False
    return depth == 0 and closed == 1 and "/*" not in re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
