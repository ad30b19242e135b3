"""The jail by bubblewrap: new namespaces for everything, a fresh root, no capabilities, the seccomp filter."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import PurePosixPath

from ellora_trust.sandbox.jail import SCRATCH, WORK, Jail, links, tool

_NOBODY = "65534"


def available() -> bool:
    """Whether the program is installed; whether it works is for `isolation` to try."""
    return shutil.which("bwrap") is not None


def command(jail: Jail, argv: Sequence[str], *, uid: int | None, seccomp: int) -> list[str]:
    """Return the command line that runs `argv` in the jail.

    Args:
        jail: What is seen inside.
        argv: Program and arguments, with inside paths.
        uid: For root: the uid to become. None for an ordinary user, who gets a user namespace instead.
        seccomp: Descriptor from which bubblewrap reads the filter.
    """
    bwrap = shutil.which("bwrap") or "bwrap"
    return [bwrap, *_namespaces(uid), "--seccomp", str(seccomp), *_view(jail), "--", *_drop(uid), *argv]


def _namespaces(uid: int | None) -> list[str]:
    # Process 1 is ours (a shell that waits), so that the processor time of the program reaches the parent.
    shared = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    shared += ["--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL"]
    if uid is None:
        return ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY, *shared]
    # Root mounts what the final uid may not even reach (a Python under /root), then gives everything up.
    return [*shared, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]


def _drop(uid: int | None) -> list[str]:
    if uid is None:
        return []
    ids = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    # A new uid clears the signal that --die-with-parent asked for, so it is asked for again.
    powers = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--pdeathsig", "KILL"]
    return [tool("setpriv") or "setpriv", *ids, *powers]


def _view(jail: Jail) -> list[str]:
    view: list[str] = []
    for host, inside in jail.mounts.items():
        # Parents that bubblewrap makes on its way are root's alone.
        for parent in reversed(PurePosixPath(inside).parents[:-1]):
            view += ["--perms", "0755", "--dir", str(parent)]
        view += ["--ro-bind", str(host), inside]
    for name, target in links().items():
        view += ["--symlink", target, f"/{name}"] if target else ["--ro-bind", f"/{name}", f"/{name}"]
    # Everything writable has a size: /dev and / are memory too, so both are made read-only.
    view += ["--proc", "/proc", "--dev", "/dev"]
    # Zeros come from `full`, which cannot be mapped: a shared mapping of `zero` is memory that no process shows.
    view += ["--dev-bind", "/dev/full", "/dev/zero"]
    view += ["--perms", "1777", "--size", str(jail.scratch), "--tmpfs", SCRATCH]
    view += ["--perms", "1777", "--size", str(jail.scratch), "--tmpfs", "/dev/shm"]
    view += ["--bind" if jail.writable else "--ro-bind", str(jail.folder), WORK]
    view += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in jail.environment.items():
        view += ["--setenv", name, value]
    return [*view, "--chdir", WORK if jail.writable else SCRATCH]


def version() -> str:
    """Return what `bwrap --version` says."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False).stdout.strip()
