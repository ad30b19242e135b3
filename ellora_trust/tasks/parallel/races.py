"""Whether an OpenMP kernel that gave right values did so in spite of a data race: ThreadSanitizer with Archer.

On few or busy processors a race seldom shows in values, for one thread is done before the next begins. The sanitizer
needs no such luck. It is optional: where clang or Archer is missing, only values decide.

    shows_race(workshop, prompt + body, found, given)        # True, False, or None where that cannot be told
"""

from __future__ import annotations

from functools import cache

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox.jail import tool
from ellora_trust.tasks.parallel.drivers import Workshop
from ellora_trust.tasks.parallel.signature import Signature
from ellora_trust.tasks.parallel.wire import Request

_EXIT_CODE = 66
_LOADED = "Archer detected OpenMP application with TSan"  # printed with verbose=1
_OPTIONS = f"ignore_noninstrumented_modules=1 symbolize=0 halt_on_error=1 exitcode={_EXIT_CODE}"
_THREADS = 4


def shows_race(workshop: Workshop, text: str, found: Signature, given: Request) -> bool | None:
    """Build a kernel with ThreadSanitizer and run it once.

    Args:
        workshop: Builds and runs.
        text: The prompt with a body.
        found: Its signature.
        given: What the driver reads; small cases suffice, since order and not overlap is what counts.

    Returns:
        Whether a race was reported; None where there is no clang with Archer, or it does not build or run the kernel.
    """
    tools = race_tools()
    if tools is None:
        return None
    compiler, archer = tools
    flags = ("-O1", "-fsanitize=thread")
    with workshop.build(text, found, "omp", compiler=compiler, flags=flags) as built:
        if not built.ok:
            return None
        env = {
            "TSAN_OPTIONS": _OPTIONS,
            "ARCHER_OPTIONS": "verbose=1",
            "OMP_TOOL": "enabled",
            "OMP_TOOL_LIBRARIES": archer,
        }
        run = workshop.run(built, "omp", given.encode(), workers=_THREADS, env=env)
    # Without Archer the runtime's own barriers look like races. It announces itself on standard output.
    if _LOADED not in run.stdout + run.stderr or not (run.ok or run.exit_code == _EXIT_CODE):
        return None
    return "WARNING: ThreadSanitizer: data race" in run.stderr


@cache
def race_tools() -> tuple[str, str] | None:
    """Return a C++ compiler with ThreadSanitizer and the path of its Archer, or None."""
    from ellora_trust.tasks.races.oracle import find_toolchain

    try:
        found = find_toolchain()
    except EnvironmentProblem:
        return None
    compiler = found.clang.replace("clang", "clang++")
    return (compiler, str(found.archer)) if tool(compiler) else None
