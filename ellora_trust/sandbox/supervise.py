"""Watches one process tree from outside: pipes, clock, memory; ends the whole tree when a bound is passed."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO

from ellora_trust.sandbox.result import Limits, Run, Status

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_TICK = 0.02  # seconds between two looks at memory
_CHUNK = 1 << 16
_GRACE = 5.0  # seconds that the kernel may take to clear a killed jail away
_INHERITED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
_XCPU = 128 + signal.SIGXCPU


@dataclass
class Watched:
    """A started process and what has been seen of it so far."""

    process: subprocess.Popen[bytes]
    limits: Limits
    isolation: str
    jailed: bool = True
    started: float = field(default_factory=time.monotonic)
    received: dict[str, bytearray] = field(default_factory=dict)
    peak: int = 0
    cpu: float = 0.0
    cut: Status | None = None


def start(
    argv: Sequence[str], *, stdin: IO[bytes] | int, keep: Sequence[int], env: Mapping[str, str], cwd: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with only `keep` open beside the three standard streams."""
    ignored = [number for number in _INHERITED if signal.getsignal(number) is signal.SIG_IGN]
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=tuple(keep),
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        # Only where it is needed: it keeps Popen from the faster vfork.
        preexec_fn=(lambda: _restore(ignored)) if ignored else None,
    )


def _restore(ignored: Sequence[signal.Signals]) -> None:
    """Undo what nohup or a shell's `&` did to this process: exec hands on what is ignored."""
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)


def watch(watched: Watched, pipes: Mapping[str, IO[bytes]], on_tick: Callable[[], None] = lambda: None) -> Run:
    """Read everything until the program ends or passes a bound, then end all of it.

    Args:
        watched: The started process.
        pipes: More pipes to read, by name; closed at the end.
        on_tick: Called at every look, for callers that speak with the program meanwhile.
    """
    process = watched.process
    assert process.stdout is not None
    assert process.stderr is not None
    streams = {"stdout": process.stdout, "stderr": process.stderr, **pipes}
    try:
        with selectors.DefaultSelector() as selector:
            for name, stream in streams.items():
                watched.received[name] = bytearray()
                selector.register(stream, selectors.EVENT_READ, name)
            ended = os.pidfd_open(process.pid)
            try:
                selector.register(ended, selectors.EVENT_READ, "")
                _loop(watched, selector, on_tick)
            finally:
                os.close(ended)
    finally:
        usage = end(process)
        for stream in streams.values():
            stream.close()
    return _result(watched, usage)


def _loop(watched: Watched, selector: selectors.BaseSelector, on_tick: Callable[[], None]) -> None:
    deadline = watched.started + watched.limits.wall
    finished = False
    # What a dead program left in a pipe is still read, but nothing waits for what inherited the pipe.
    while len(selector.get_map()) > 1 or not finished:
        now = time.monotonic()
        events = selector.select(0 if finished else max(0.0, min(_TICK, deadline - now)))
        if finished and not events:
            return
        for key, _ in events:
            if key.data == "":
                finished = True
                selector.unregister(key.fileobj)
            elif not _read(watched, key.fd, key.data):
                selector.unregister(key.fileobj)
        if not finished:
            watched.cut = watched.cut or _over_memory(watched) or (Status.TIMEOUT if now >= deadline else None)
        if watched.cut:
            return
        on_tick()


def _read(watched: Watched, descriptor: int, name: str) -> bool:
    data = os.read(descriptor, _CHUNK)
    buffer = watched.received[name]
    buffer += data
    if len(buffer) > watched.limits.output * (1 if name in ("stdout", "stderr") else 64):
        watched.cut = Status.OUTPUT
    return bool(data)


def _over_memory(watched: Watched) -> Status | None:
    memory, cpu = _look(watched.process.pid)
    scratch, files = _scratch(watched.process.pid) if watched.jailed else (0, 0)
    watched.peak = max(watched.peak, memory + scratch)
    watched.cpu = max(watched.cpu, cpu)
    return Status.MEMORY if watched.peak > watched.limits.memory or files > watched.limits.files else None


def _scratch(root: int) -> tuple[int, int]:
    """Bytes and files in a jail's scratch folders, which are memory that no process shows."""
    used = files = 0
    for child in _children(f"/proc/{root}")[:1]:
        for folder in ("tmp", "dev/shm"):
            with suppress(OSError):  # not mounted yet, or gone
                inside = f"/proc/{int(child)}/root/{folder}"
                if os.stat(inside).st_dev == os.stat(f"/{folder}").st_dev:
                    continue  # the jail still stands in the machine's own root
                found = os.statvfs(inside)
                used += (found.f_blocks - found.f_bfree) * found.f_frsize
                files += found.f_files - found.f_ffree
    return used, files


def _look(root: int) -> tuple[int, float]:
    """Resident bytes and processor seconds of a process and its descendants; what ends meanwhile counts as nothing."""
    memory, ticks, waiting = 0, 0, [root]
    while waiting:
        folder = f"/proc/{waiting.pop()}"
        try:
            # Pages shared with files (libraries) belong to nobody in particular.
            resident, shared = map(int, _words(f"{folder}/statm")[1:3])
            memory += (resident - shared) * _PAGE
            ticks += sum(map(int, _words(f"{folder}/stat", after=b")")[11:13]))
            waiting += map(int, _children(folder))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return memory, ticks / _TICKS_PER_SECOND


def _children(folder: str) -> list[bytes]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [pid for task in os.listdir(f"{folder}/task") for pid in _words(f"{folder}/task/{task}/children")]
    return []


def _words(path: str, after: bytes = b"") -> list[bytes]:
    with open(path, "rb") as file:
        return (file.read().rpartition(after)[2] if after else file.read()).split()


def end(process: subprocess.Popen[bytes]) -> tuple[float, int | None]:
    """End a process with all that it started, wait until all is gone; return processor seconds and exit code."""
    if not _gone(process.pid):
        _end_children(process.pid)
        # Without a jail there is no process 1 whose end is everybody's; then the group is what there is.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # Its largest resident set is of no use here: it begins with this very process before the exec.
    return usage.ru_utime + usage.ru_stime, None if process.returncode < 0 else process.returncode


def _end_children(pid: int) -> None:
    """Kill the jail's process 1 and wait for its end, which comes after that of every other process in the jail."""
    with ExitStack() as stack:
        poll = select.poll()
        waiting = 0
        for child in map(int, _children(f"/proc/{pid}")):
            with suppress(ProcessLookupError, PermissionError):
                handle = os.pidfd_open(child)
                stack.callback(os.close, handle)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                poll.register(handle, select.POLLIN)
                waiting += 1
        deadline = time.monotonic() + _GRACE
        while waiting and time.monotonic() < deadline:
            for handle, _ in poll.poll(1000 * _GRACE):
                poll.unregister(handle)
                waiting -= 1


def _gone(pid: int) -> bool:
    # poll() would reap the process and lose its usage; a look without reaping does not.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _result(watched: Watched, usage: tuple[float, int | None]) -> Run:
    cpu, code = usage
    return Run(
        status=watched.cut or _status(code),
        stdout=_text(watched, "stdout"),
        stderr=_text(watched, "stderr"),
        exit_code=None if watched.cut else code,
        wall=time.monotonic() - watched.started,
        cpu=max(cpu, watched.cpu),
        peak_memory=watched.peak,
        isolation=watched.isolation,
        replies={name: bytes(data) for name, data in watched.received.items() if name not in ("stdout", "stderr")},
    )


def _text(watched: Watched, name: str) -> str:
    return bytes(watched.received[name][: watched.limits.output]).decode("utf-8", "replace")


def _status(code: int | None) -> Status:
    if code == 0:
        return Status.OK
    if code == _XCPU:  # the kernel's limit on processor time
        return Status.TIMEOUT
    return Status.SIGNAL if code is None or code > 128 else Status.EXIT
