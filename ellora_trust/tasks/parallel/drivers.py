"""Builds a C++ kernel with its adaptor and driver, and runs it in the sandbox.

workshop = Workshop(lambda: Sandbox())
with workshop.build(prompt + body, found, "omp") as built:      # `found` is the prompt's Signature
    workshop.run(built, "omp", request(found, cases).encode(), workers=4)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import MIB, Built, Limits, Run, Sandbox
from ellora_trust.sandbox.jail import WORK, tool
from ellora_trust.tasks.parallel.signature import Signature

MODELS = ("serial", "omp", "mpi", "mpi+omp")
_FOLDER = Path(__file__).parent / "drivers_cpp"
_LIMITS = Limits(wall=10.0, cpu=20.0, memory=1024 * MIB)
# The ranks of one node speak through shared memory, so the jail without network is enough for them. Rank 0 alone would
# get standard input, and mpirun closes inherited pipes, so both ends go through files in the scratch folder.
_RANKS = (
    'folder=$(mktemp -d) && trap \'rm -r "$folder"\' EXIT; reply=$1; shift; cat > "$folder/input"; '
    '"$@" "$folder/input" "$folder/reply"; code=$?; cat "$folder"/reply.* >&"$reply"; exit $code'
)
_MCA = {"btl": "self,vader", "pml": "ob1", "plm": "isolated", "mpi_yield_when_idle": "1"}


def kernel_source(text: str, found: Signature) -> str:
    """Return what is compiled: the prompt with a body, then what connects it to the driver."""
    types = [one.declared for one in found.parameters]
    variables = "".join(f"    {kind} ellora_{index}{{}};\n" for index, kind in enumerate(types))
    names = [f"ellora_{index}" for index in range(len(types))]
    result = "" if found.result == "void" else "ellora_result = "
    variables += f"    {found.result} ellora_result{{}};\n" if result else ""
    takes = " ".join(f"input.take({name});" for name in names)
    outputs = [name for name, one in zip(names, found.parameters, strict=True) if one.output]
    puts = " ".join(f"output.put({name});" for name in (["ellora_result"] if result else []) + outputs)
    return (
        f'#include "harness.hpp"\n#line 1 "kernel.cpp"\n{text}\n#line 1 "adaptor.cpp"\nnamespace {{\n{variables}}}\n'
        f"void ellora::prepare(ellora::Input& input) {{ {takes} }}\n"
        f"void ellora::call() {{ {result}{found.name}({', '.join(names)}); }}\n"
        f"void ellora::collect(ellora::Output& output) {{ {puts} }}\n"
    )


def missing_tool(model: str) -> str | None:
    """Return why kernels of this execution model cannot be built here, or None where they can."""
    if model not in MODELS:
        name = {"cuda": "nvcc", "hip": "hipcc", "kokkos": "Kokkos"}.get(model, model)
        return f"{name} is not installed" if tool(name) is None else f"there is no driver for {model}"
    needed = ("g++", "mpicxx", "mpirun", "bash") if "mpi" in model else ("g++",)
    absent = [name for name in needed if tool(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


class Workshop:
    """Builds and runs kernels; threads may share it.

    Attributes:
        box: The sandbox, made when first needed.
    """

    def __init__(self, make_box: Callable[[], Sandbox]) -> None:
        self._make_box = make_box
        self._box: Sandbox | None = None
        self._drivers: dict[str, bytes] = {}
        self._lock = Lock()

    @property
    def box(self) -> Sandbox:
        with self._lock:
            self._box = self._box or self._make_box()
            return self._box

    @contextmanager
    def build(
        self,
        text: str,
        found: Signature,
        model: str,
        *,
        compiler: str | None = None,
        flags: Sequence[str] = ("-O2",),
    ) -> Iterator[Built]:
        """Compile a prompt with its body for one execution model.

        Args:
            text: The prompt with a body.
            found: The prompt's signature.
            model: Execution model.
            compiler: Instead of the usual one.
            flags: How to optimize and check.

        Raises:
            EnvironmentProblem: The toolchain is missing.
        """
        files = {"harness.hpp": _harness(), "driver.o": self._driver("mpi" in model)}
        every = (*flags, "-w", *_flags(model), f"{WORK}/driver.o")
        source, compiler = kernel_source(text, found), compiler or _compiler(model)
        with self.box.build(source, language="cpp", flags=every, files=files, compiler=compiler) as built:
            yield built

    def run(self, built: Built, model: str, given: bytes, *, workers: int, env: Mapping[str, str] | None = None) -> Run:
        """Run a built kernel once; the reply is `Run.replies["reply"]`.

        Args:
            built: The kernel.
            model: Its execution model.
            given: A request's bytes.
            workers: Threads, ranks or, with both, ranks of two threads each.
            env: More environment.
        """
        reader, writer = os.pipe()
        threads = 2 if model == "mpi+omp" else workers
        command = [*built.command, "-", str(writer)]
        if "mpi" in model:
            command = [*_mpirun(str(writer), max(1, workers // 2) if model == "mpi+omp" else workers), *built.command]
        allow = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        with os.fdopen(reader, "rb") as pipe:
            return self.box.execute(
                command,
                folder=built.folder,
                stdin=given,
                limits=_LIMITS,
                env={"OMP_NUM_THREADS": str(threads), "OMP_DYNAMIC": "false", **allow, **(env or {})},
                keep=(writer,),
                pipes={"reply": pipe},
            )

    def _driver(self, mpi: bool) -> bytes:
        """Return the driver as an object file, compiled in the sandbox once."""
        box = self.box
        with self._lock:
            name = "mpi" if mpi else "serial"
            if name not in self._drivers:
                flags = ("-O2", "-c", "-DELLORA_MPI") if mpi else ("-O2", "-c")
                files = {"harness.hpp": _harness()}
                source, compiler = (_FOLDER / "driver.cpp").read_text(), _compiler(name)
                with box.build(source, language="cpp", flags=flags, files=files, compiler=compiler) as built:
                    if not built.ok:
                        raise EnvironmentProblem(
                            f"the driver of the parallel task does not compile here with {compiler}; "
                            f"repair the toolchain: {built.compiler.stderr.strip()[:300]}"
                        )
                    self._drivers[name] = (built.folder / "program").read_bytes()
            return self._drivers[name]


def _harness() -> str:
    return (_FOLDER / "harness.hpp").read_text()


def _compiler(model: str) -> str:
    return "mpicxx" if "mpi" in model else "g++"


def _flags(model: str) -> tuple[str, ...]:
    return ("-fopenmp",) if "omp" in model else ()


def _mpirun(writer: str, ranks: int) -> list[str]:
    settings = [word for name, value in _MCA.items() for word in ("--mca", name, value)]
    bash, mpirun = tool("bash") or "bash", tool("mpirun") or "mpirun"
    return [bash, "-c", _RANKS, "ranks", writer, mpirun, "-np", str(ranks), "--oversubscribe", *settings]
