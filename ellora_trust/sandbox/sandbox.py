"""`Sandbox`: runs untrusted programs, or refuses.

box = Sandbox()                                         # EnvironmentProblem where the machine cannot isolate
box.run("print(6 * 7)", language="python").stdout       # "42\\n"
with box.build(source, language="c", flags=("-fopenmp",)) as built:
    built.execute(env={"OMP_NUM_THREADS": "2"})
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import languages
from ellora_trust.sandbox.isolation import Isolation, Kind, choose, seccomp_file
from ellora_trust.sandbox.jail import Jail, is_root, tool
from ellora_trust.sandbox.result import BUILD_LIMITS, Limits, Run, Status
from ellora_trust.sandbox.supervise import Watched, start, watch

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Built:
    """A compiled program, or the compiler's complaint.

    Attributes:
        compiler: The compiler's run; its `ok` says whether there is a program.
        command: What runs the program, with inside paths.
    """

    box: Sandbox
    folder: Path
    compiler: Run
    command: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.compiler.ok

    def execute(
        self,
        *arguments: str,
        stdin: str | bytes = "",
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
        pipes: Mapping[str, IO[bytes]] | None = None,
    ) -> Run:
        """Run it once; a program that was not built gives its compiler's run as `build_error`."""
        if not self.ok:
            return self.compiler
        argv = [*self.command, *arguments]
        return self.box.execute(argv, folder=self.folder, stdin=stdin, limits=limits, env=env, keep=keep, pipes=pipes)


@dataclass(frozen=True)
class Sandbox:
    """Runs programs in jails of one kind of isolation; threads may share it.

    Attributes:
        isolation: What stands between the programs and the machine.
        limits: Bounds where a call gives none.
    """

    isolation: Isolation = field(default_factory=choose)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, kind: Kind | None, limits: Limits | None = None) -> Sandbox:
        """Return a sandbox by one kind of isolation; None takes the best that works."""
        return cls(choose(kind), limits or Limits())

    def run(
        self,
        program: str,
        *,
        language: str = "python",
        stdin: str | bytes = "",
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Build where the language needs it, and run once.

        Args:
            program: Source text.
            language: One of `languages.NAMES`.
            stdin: What it reads.
            limits: Bounds on the run.
            env: Added to a minimal environment.

        Raises:
            InputError: An unknown language.
            EnvironmentProblem: The toolchain is missing.
        """
        with self.build(program, language=language) as built:
            return built.execute(stdin=stdin, limits=limits, env=env)

    @contextmanager
    def build(
        self,
        program: str,
        *,
        language: str,
        flags: Sequence[str] = (),
        files: Files | None = None,
        compiler: str | None = None,
    ) -> Iterator[Built]:
        """Compile in the sandbox; the program can be run until the block ends.

        Args:
            program: Source text.
            language: One of `languages.NAMES`.
            flags: Added to the compiler's command line.
            files: More files beside the source, by relative name; those with a compiled suffix are compiled too.
            compiler: Instead of the language's usual one, such as "clang".
        """
        kind = languages.find(language)
        with tempfile.TemporaryDirectory(prefix="ellora-") as name:
            folder = Path(name)
            _place(folder, {kind.filename: program, **(files or {})})
            command = kind.compile(flags, extra=tuple(files or ()), compiler=compiler)
            if command is None:
                done = Run(Status.OK, "", "", 0, 0.0, 0.0, 0, self.isolation.detail)
            else:
                done = self.execute(command, folder=folder, writable=True, limits=BUILD_LIMITS)
                done = done if done.ok else _as_build_error(done)
            yield Built(self, folder, done, kind.command())

    def execute(
        self,
        argv: Sequence[str],
        *,
        folder: Path | None = None,
        files: Files | None = None,
        writable: bool = False,
        readonly: Mapping[Path, str] | None = None,
        stdin: str | bytes = "",
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
        pipes: Mapping[str, IO[bytes]] | None = None,
    ) -> Run:
        """Run a command line in a jail; all else here ends in this call.

        Args:
            argv: Program and arguments; /work is the work folder, /tmp an empty scratch folder of bounded size.
            folder: Host folder that becomes /work; a fresh one by default.
            files: Placed into the work folder first, by relative name.
            writable: Whether /work may be written to.
            readonly: More host paths, shown read-only at the inside path given.
            stdin: What it reads.
            limits: Bounds; the sandbox's own by default.
            env: Added to a minimal environment.
            keep: Descriptors that the program inherits under the same numbers; closed here once it has started.
            pipes: Read ends whose bytes come back in `Run.replies`, by name.
        """
        limits = limits or self.limits
        with ExitStack() as stack:
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ellora-")))
            _place(folder, files or {})
            if writable and is_root() and self.isolation.kind != "none":
                folder.chmod(0o1777)  # a uid of its own runs the compiler; the parent folder is ours alone
            jail = Jail(folder, writable, limits.scratch, dict(readonly or {}), dict(env or {}))
            source = stack.enter_context(tempfile.TemporaryFile())
            source.write(stdin.encode() if isinstance(stdin, str) else stdin)
            source.seek(0)
            seccomp = stack.enter_context(seccomp_file()) if self.isolation.kind != "none" else source
            command = self.isolation.command(jail, [*_bounds(limits), *argv], seccomp=seccomp.fileno())
            jailed = self.isolation.kind != "none"
            process = start(
                command,
                stdin=source,
                keep=(*keep, seccomp.fileno()),
                env={} if jailed else jail.environment,  # a jail sets the program's own environment inside
                cwd="/" if jailed else str(folder),
            )
            for descriptor in keep:
                os.close(descriptor)
            return watch(Watched(process, limits, self.isolation.detail, jailed), pipes or {})


def _bounds(limits: Limits) -> list[str]:
    """The kernel's own limits, then a shell as process 1, whose wait hands the processor time to the parent.

    RLIMIT_AS is not among them: the address space that AddressSanitizer and ThreadSanitizer reserve passes any bound.
    """
    prlimit = tool("prlimit")
    if prlimit is None:
        raise EnvironmentProblem("the sandbox needs the program prlimit; install util-linux")
    cpu = max(1, round(limits.cpu))
    bounds = [f"--cpu={cpu}:{cpu + 1}", f"--nproc={limits.processes}", f"--fsize={limits.file_size}"]
    return [prlimit, *bounds, "--nofile=256", "--core=0", "--", "/bin/sh", "-c", '"$@"; exit $?', "sh"]


def _place(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"file name {name!r} leaves the work folder; give a relative name without '..'")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    if files:
        _open_up(folder)


def _open_up(folder: Path) -> None:
    # As root the program runs under a uid of its own, which must be able to read what it is given.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def _as_build_error(done: Run) -> Run:
    from dataclasses import replace

    return replace(done, status=Status.BUILD_ERROR)


def missing(*programs: str) -> list[str]:
    """Return which of these programs the toolchain lacks."""
    return [program for program in programs if tool(program) is None and shutil.which(program) is None]
