"""What running a program shows of its data races: ThreadSanitizer with Archer, and results that differ.

    oracle = RaceOracle(Sandbox())
    oracle.observe([program])[0]      # {"tsan": "race", "differs": False, "status": "ok"}

ThreadSanitizer does not know OpenMP's barriers and reports races that are none; Archer, a tool that the OpenMP runtime
loads, tells it. Without Archer there is no verdict.

Source: Atzeni et al. 2016, "ARCHER: effectively spotting data races in large OpenMP applications", IPDPS; options from
the README of openmp/tools/archer in LLVM.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import MIB, Limits, Run, Sandbox
from ellora_trust.sandbox.jail import tool
from ellora_trust.sandbox.languages import PROGRAM
from ellora_trust.tasks.verified import Observed, verified

# Overflow and indices out of bounds end a program, so that a race-free member is free of those too.
TSAN_FLAGS = ("-O0", "-fopenmp", "-fsanitize=thread,signed-integer-overflow,bounds", "-fno-sanitize-recover=all")
PLAIN_FLAGS = ("-O0", "-fopenmp")
# Without a common divisor, since a distance that is a multiple of threads times chunk stays within one thread.
TSAN_THREADS = (4, 3, 7)
PLAIN_THREADS = (1, 4, 3, 4)

_VERSIONS = range(30, 9, -1)  # Archer is part of LLVM since 10
_EXIT_CODE = 66  # ThreadSanitizer's own default, stated so that it is known
_LOADED = "Archer detected OpenMP application with TSan"  # printed with verbose=1
_LIMITS = Limits(wall=20.0, cpu=20.0, memory=1024 * MIB)
_INSTALL = "apt-get install clang libomp-dev gcc libc6-dev"

# One sum in parallel. ThreadSanitizer alone calls the clause's own combining step a race.
_SUM = """\
#include <stdio.h>
int main(void) {{
    int sum = 0;
    #pragma omp parallel for{clause}
    for (int i = 0; i < 1000; i++)
        sum += i;
    printf("%d\\n", sum);
    return 0;
}}
"""


@dataclass(frozen=True)
class Toolchain:
    """Compilers that agree with Archer.

    Attributes:
        clang: Name of the compiler that has ThreadSanitizer.
        archer: Path of libarcher.so of the same LLVM.
    """

    clang: str
    archer: Path

    def versions(self) -> dict[str, str]:
        """Return the first line that each compiler says of itself, and Archer's path."""
        return {"clang": _version(self.clang), "gcc": _version("gcc"), "archer": str(self.archer)}


def find_toolchain() -> Toolchain:
    """Return clang and its Archer.

    Raises:
        EnvironmentProblem: gcc, clang or Archer is missing.
    """
    names = [name for name in ("clang", *(f"clang-{version}" for version in _VERSIONS)) if tool(name)]
    for needed, found in (("gcc", tool("gcc")), ("clang", names)):
        if not found:
            raise EnvironmentProblem(f"task races needs {needed}, which is not installed; install it: {_INSTALL}")
    for name in names:
        archer = _archer_of(name)
        if archer is not None:
            return Toolchain(name, archer)
    raise EnvironmentProblem(
        f"task races needs libarcher.so beside {names[0]}, without which ThreadSanitizer reports races that are none; "
        f"install it: {_INSTALL}"
    )


def _archer_of(name: str) -> Path | None:
    prefix = Path(os.path.realpath(tool(name) or name)).parent.parent
    candidates = (prefix / folder / "libarcher.so" for folder in ("lib", "lib64", "lib/x86_64-linux-gnu"))
    return next((path for path in candidates if path.exists()), None)


def _version(name: str) -> str:
    done = subprocess.run([tool(name) or name, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


class RaceOracle:
    """Builds and runs programs in a sandbox, and reads what they show.

    Attributes:
        box: Where everything is compiled and run.
    """

    def __init__(self, box: Sandbox) -> None:
        self.box = box

    @cached_property
    def toolchain(self) -> Toolchain:
        """The compilers, looked for once."""
        return find_toolchain()

    @cached_property
    def launcher(self) -> tuple[str, ...]:
        """What starts a program under ThreadSanitizer here: nothing, or `setarch -R`.

        Old versions end with "unexpected memory mapping" where the kernel places memory too randomly. Both ways are
        tried on a sum that races and on one that does not.

        Raises:
            EnvironmentProblem: Neither gives the two right verdicts.
        """
        seen = []
        for launcher in ((), ("setarch", "-R")):
            verdicts = [self.tsan(_SUM.format(clause=clause), launcher) for clause in ("", " reduction(+:sum)")]
            if [verdict for verdict, _ in verdicts] == ["race", "silent"]:
                return launcher
            seen.append(" and ".join(verdict for verdict, _ in verdicts))
        raise EnvironmentProblem(
            f"ThreadSanitizer with Archer does not work here: a racy and a correct sum gave {'; '.join(seen)}; "
            f"reinstall a clang and an OpenMP runtime of one version: {_INSTALL}"
        )

    def observe(self, programs: Sequence[str]) -> list[Observed]:
        """Return what each program showed, from the cache where it is known.

        Each result has `tsan` ("race", "silent" or why there is no verdict), `differs` (whether any two runs printed
        different results) and `status` (of the runs without ThreadSanitizer, "ok" if all ended well).

        Raises:
            EnvironmentProblem: Compilers or Archer are missing or do not work.
        """
        versions = self.toolchain.versions()
        recipe = repr((sorted(versions.items()), TSAN_FLAGS, TSAN_THREADS, PLAIN_FLAGS, PLAIN_THREADS))
        return verified("races", recipe, programs, self._observe)

    def _observe(self, program: str) -> Observed:
        verdict, printed = self.tsan(program, self.launcher)
        with self.box.build(program, language="c", flags=PLAIN_FLAGS) as built:
            run = self._repeated(built.folder, PLAIN_THREADS, ()) if built.ok else built.compiler
        differs = len({*_results(run), *printed}) > 1
        return {"tsan": verdict, "differs": differs, "status": str(run.status)}

    def tsan(self, program: str, launcher: Sequence[str], *, archer: bool = True) -> tuple[str, list[str]]:
        """Return ThreadSanitizer's verdict and what the program printed, if it ended without a report.

        Args:
            program: C source.
            launcher: Put before the program.
            archer: Whether the OpenMP runtime loads Archer; without it, verdicts are wrong.
        """
        with self.box.build(program, language="c", flags=TSAN_FLAGS, compiler=self.toolchain.clang) as built:
            if not built.ok:
                return "build_error", []
            env = {
                "TSAN_OPTIONS": f"ignore_noninstrumented_modules=1 symbolize=0 halt_on_error=1 exitcode={_EXIT_CODE}",
                "ARCHER_OPTIONS": "verbose=1",
                "OMP_TOOL": "enabled" if archer else "disabled",
                "OMP_TOOL_LIBRARIES": str(self.toolchain.archer),
            }
            run = self._repeated(built.folder, TSAN_THREADS, launcher, env)
        if archer and _LOADED not in run.stdout + run.stderr:
            return "no_archer", []
        if run.exit_code == _EXIT_CODE and "WARNING: ThreadSanitizer: data race" in run.stderr:
            return "race", []
        return ("silent", _results(run)) if run.ok else (str(run.status), [])

    def _repeated(
        self, folder: Path, threads: Sequence[int], launcher: Sequence[str], env: dict[str, str] | None = None
    ) -> Run:
        """Run a built program once for each number of threads, in one sandbox, up to the first that fails."""
        command = " ".join((*launcher, PROGRAM))
        counts = " ".join(map(str, threads))
        script = f"for n in {counts}; do OMP_NUM_THREADS=$n {command} || exit $?; done"
        # Threads that wait actively would take the processors from those that work.
        env = {"OMP_WAIT_POLICY": "passive", "OMP_DYNAMIC": "false", **(env or {})}
        return self.box.execute(["/bin/sh", "-c", script], folder=folder, limits=_LIMITS, env=env)


def _results(run: Run) -> list[str]:
    """Return what a program printed at each run, without what Archer says of itself on the same stream."""
    return [line for line in run.stdout.splitlines() if not line.startswith("Archer")]
