"""What a sandboxed program may use, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ellora_trust.errors import InputError

MIB = 1 << 20


class Status(StrEnum):
    """How a program ended."""

    OK = "ok"
    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT = "output"
    BUILD_ERROR = "build_error"


@dataclass(frozen=True)
class Limits:
    """Bounds on one program and everything that it starts.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, of each process.
        memory: Bytes resident over the whole process tree and in /tmp, read every 20 ms; a burst may pass it that long.
        processes: Processes and threads at once.
        output: Bytes kept of stdout and of stderr each; more ends the program.
        file_size: Bytes of one file.
        scratch: Bytes in /tmp.
        files: Files in /tmp; each costs the kernel about a kilobyte, however empty.
    """

    wall: float = 10.0
    cpu: float = 10.0
    memory: int = 512 * MIB
    processes: int = 64
    output: int = MIB
    file_size: int = 64 * MIB
    scratch: int = 64 * MIB
    files: int = 20_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f"limit {name} is {value}; give a number above 0")


# A compiler with sanitizers needs more of everything than the programs it builds.
BUILD_LIMITS = Limits(wall=60.0, cpu=60.0, memory=2048 * MIB, scratch=256 * MIB, file_size=256 * MIB)


@dataclass(frozen=True)
class Run:
    """One finished program.

    Attributes:
        status: How it ended.
        stdout: What it wrote, decoded as UTF-8 with replacement characters.
        stderr: The same for the error stream; the compiler's where the build failed.
        exit_code: As a shell reports it (128 + signal); None if it was killed from outside.
        wall: Seconds by the clock.
        cpu: Seconds of processor time over all its processes.
        peak_memory: Bytes resident over the process tree, the most that was seen; 0 where it ended unseen.
        isolation: What stood between the program and the machine.
        replies: Bytes that came over extra pipes, by the name of the pipe.
    """

    status: Status
    stdout: str
    stderr: str
    exit_code: int | None
    wall: float
    cpu: float
    peak_memory: int
    isolation: str
    replies: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.status is Status.OK
