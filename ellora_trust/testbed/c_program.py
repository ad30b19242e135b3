"""Many C functions as one program, in which each runs in a process of its own.

source, starts = program([(0, CJob("int f(const int *a, int n) { return a[0]; }", "f", "int", "int", [[1, 2]]))])
owner(4, starts)                      # the job to which a line of the source belongs, or None
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS = 5  # of one job, by the clock
DIFFERS = 65  # exit code of a job whose result threads change

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
# Without a sanitizer only threads that run at the same time show a race: so long arrays, and several tries.
_AGAIN = """\
#ifdef TRIES
    {{
        enum {{ MANY = 1 << 22 }};
        static {kind} some[] = {{{values}}};
        {kind} *many = malloc(MANY * sizeof *many);
        for (int i = 0; i < MANY; i++)
            many[i] = some[i % (int) (sizeof some / sizeof *some)];
        int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        double alone = {name}(many, MANY);
        omp_set_num_threads(threads);
        for (int i = 0; i < TRIES; i++)
            if ((double) {name}(many, MANY) != alone)
                return {differs};
    }}
#endif
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
_HEADERS = ("omp", "stdio", "stdlib", "math", "signal", "unistd", "sys/types", "sys/wait")


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


def program(jobs: Sequence[tuple[int, CJob]]) -> tuple[str, list[tuple[int, int]]]:
    """Return one program for all jobs, and at which line each job starts.

    Every function gets a name of its own, so that two jobs may use the same.
    """
    lines = [f"#include <{header}.h>" for header in _HEADERS]
    starts, cases = [], []
    for number, job in jobs:
        starts.append((len(lines) + 1, number))
        name = f"{job.entry}_{number}"
        lines += re.sub(rf"\b{re.escape(job.entry)}\b", name, job.source).splitlines()
        cases.append(f"    case {number}:\n{_calls(job, name)}    return 0;\n")
    starts.append((len(lines) + 1, -1))
    return "\n".join(lines) + _MAIN.format(cases="".join(cases), seconds=SECONDS), starts


def _calls(job: CJob, name: str) -> str:
    shown = [", ".join(map(str, one)) for one in job.arrays]
    if job.returns == "void":  # it changes its array, so it cannot be asked the same again
        return "".join(_CALL.format(kind=job.kind, values=values, call=f"{name}(a, n)") for values in shown)
    call = f"result = (double) {name}(a, n)"
    calls = [_CALL.format(kind=job.kind, values=values, call=call) for values in shown]
    return "".join([*calls, _AGAIN.format(kind=job.kind, values=shown[0], name=name, differs=DIFFERS)])


def owner(line: int, starts: Sequence[tuple[int, int]]) -> int | None:
    """Return the number of the job that a line of a program belongs to, None for the frame around them."""
    owners = [number for start, number in starts if start <= line]
    return owners[-1] if owners and owners[-1] >= 0 else None


def is_one_function(source: str) -> bool:
    """Whether braces match and close once, so that no job can spoil what stands after it."""
    depth = closed = 0
    for character in re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(character, 0)
        closed += character == "}" and depth == 0
        if depth < 0:
            return False
    return depth == 0 and closed == 1 and "/*" not in re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
