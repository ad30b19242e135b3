"""What a sandboxed process sees of the machine: a read-only toolchain, a work folder, and nothing else."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem

WORK = "/work"
SCRATCH = "/tmp"

# Uids that Debian's policy leaves to nobody in particular. One for each run, since the limit on processes counts
# all of a uid's; only root can take one, an ordinary user has a user namespace, where the count starts from zero.
_UIDS = range(60_100, 64_900)
_RUNS = itertools.count()
# Processes of this library that run at once begin so far apart: more than any of them has jails open.
_APART = 97


@dataclass(frozen=True)
class Jail:
    """The view of one sandboxed process.

    Attributes:
        folder: The host's folder that appears as /work.
        writable: Whether it may be written to; only the compiler's may.
        scratch: Bytes in /tmp, which is the working folder.
        readonly: More host paths that appear read-only, as host path -> inside path.
        env: The whole environment.
    """

    folder: Path
    writable: bool = False
    scratch: int = 64 << 20
    readonly: Mapping[Path, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """PATH, locale and what was asked for."""
        base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": SCRATCH, "TMPDIR": SCRATCH}
        return {**base, **self.env}

    @property
    def mounts(self) -> dict[Path, str]:
        """Read-only host paths -> inside paths, existing ones only."""
        return {**_toolchain(), **self.readonly}


def is_root() -> bool:
    """Whether this process may take any uid."""
    return os.geteuid() == 0


def next_uid() -> int:
    """Return a uid for one run; call it as root only."""
    return _UIDS[(os.getpid() * _APART + next(_RUNS)) % len(_UIDS)]


@cache
def _toolchain() -> dict[Path, str]:
    paths = ["/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/openmpi", "/nix/store", "/opt/rh"]
    found = {Path(path): path for path in paths if os.path.exists(path)}
    prefix = python_prefix()
    if not prefix.is_relative_to("/usr"):
        found[prefix] = str(prefix)
    return found


def links() -> dict[str, str]:
    """Top-level names that are links into /usr on a merged system, name -> target; or real folders, name -> ''."""
    names = [name for name in ("bin", "sbin", "lib", "lib64", "lib32") if os.path.lexists(f"/{name}")]
    return {name: os.readlink(f"/{name}") if os.path.islink(f"/{name}") else "" for name in names}


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK | os.X_OK)


@cache
def python() -> Path:
    """Return the interpreter for sandboxed programs: the one below this environment, else the system's.

    Raises:
        EnvironmentProblem: The user may read neither.
    """
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    system = shutil.which("python3", path="/usr/local/bin:/usr/bin") or own
    for candidate in (own, os.path.realpath(system)):
        if _readable(candidate):
            return Path(candidate)
    raise EnvironmentProblem(
        f"this user may read no Python interpreter (tried {own} and {system}); install one: apt-get install python3"
    )


def python_prefix() -> Path:
    """Return the folder that holds the interpreter and its standard library."""
    return python().parent.parent


def tool(name: str) -> str | None:
    """Return the path of a program as the sandbox sees it, or None where the toolchain lacks it."""
    return shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
