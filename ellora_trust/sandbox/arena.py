"""What the escape corpus aims at: set up around one attack, looked at after it, taken down."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ellora_trust.sandbox.jail import python_prefix
from ellora_trust.sandbox.result import MIB, Limits


@dataclass
class Arena:
    """What the attacks aim at: a user's file, services on this machine, a secret in memory, a bystander process."""

    folder: Path
    token: str
    memory: ctypes.Array[ctypes.c_char]
    listeners: dict[str, socket.socket]
    name: str
    bystander: subprocess.Popen[bytes]
    canary: Path = field(init=False)

    def __post_init__(self) -> None:
        self.canary = self.folder / "canary"
        self.canary.write_text(self.token)

    def targets(self, mark: str, limits: Limits) -> dict[str, object]:
        """Return what a program is told: its own mark and bounds, and the targets; the token is not among it."""
        return {
            "pid": os.getpid(),
            "address": ctypes.addressof(self.memory),
            "canary": str(self.canary),
            "folder": str(self.folder),
            "home": os.path.expanduser("~"),
            "shown": [*python_prefix().parts],
            "mark": mark,
            "port": self.listeners["loopback"].getsockname()[1],
            "abstract": self.listeners["abstract"].getsockname()[1:].decode(),
            "socket": self.listeners["path"].getsockname(),
            "bystander": self.name,
            "bystander_pid": self.bystander.pid,
            "processes": limits.processes,
            "memory_mib": limits.memory // MIB,
            "scratch": limits.scratch,
            "files": limits.files,
        }

    def harm(self) -> list[str]:
        """Return what has been done to the targets."""
        found = [f"reached {name}" for name, line in self.listeners.items() if _has_caller(line)]
        if self.canary.read_text() != self.token:
            found.append("changed the canary")
        if {path.name for path in self.folder.iterdir()} - {"canary", "socket"}:
            found.append("made a file")
        if self.bystander.poll() is not None:
            found.append("killed a bystander")
        return found


@contextmanager
def arena() -> Iterator[Arena]:
    """Set up the targets, and take them down."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ellora-arena-")))
        folder.chmod(0o777)  # an attack that gets out shall be able to do harm here
        token = f"token-{secrets.token_hex(16)}"
        # Any process may speak to these; they are what network and IPC namespaces must hide.
        listeners = {
            "loopback": _listener(stack, socket.AF_INET, ("127.0.0.1", 0)),
            "abstract": _listener(stack, socket.AF_UNIX, f"\0ellora-{token[-8:]}"),
            "path": _listener(stack, socket.AF_UNIX, str(folder / "socket")),
        }
        (folder / "socket").chmod(0o777)
        name = f"ellora-bystander-{token[-12:]}"
        # The environment of a process can be read by whoever may trace it.
        secret = {**os.environ, "ELLORA_TRUST_CANARY": token}
        bystander = subprocess.Popen([name, "600"], executable=shutil.which("sleep"), env=secret)
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        yield Arena(folder, token, ctypes.create_string_buffer(token.encode(), 64), listeners, name, bystander)


def _listener(stack: ExitStack, family: socket.AddressFamily, address: object) -> socket.socket:
    line = stack.enter_context(socket.socket(family))
    line.bind(address)  # pyright: ignore[reportArgumentType]
    line.listen()
    line.setblocking(False)
    return line


def _has_caller(line: socket.socket) -> bool:
    try:
        line.accept()[0].close()
    except BlockingIOError:
        return False
    return True
