"""Which isolation this machine can give, tried rather than believed.

isolation = choose()        # Isolation(kind="bubblewrap", detail="bubblewrap 0.8.0, seccomp"), or an error that helps
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ellora_trust.errors import EnvironmentProblem, InputError, one_of
from ellora_trust.sandbox import bubblewrap, namespaces
from ellora_trust.sandbox.jail import WORK, Jail, is_root, next_uid, tool
from ellora_trust.sandbox.seccomp import filter_program

Kind = Literal["bubblewrap", "namespaces", "none"]
UNSAFE = "none (UNSAFE: --unsafe-no-isolation)"


@dataclass(frozen=True)
class Isolation:
    """What stands between a program and the machine.

    Attributes:
        kind: The means.
        detail: For people and for results, such as "bubblewrap 0.8.0, seccomp".
    """

    kind: Kind
    detail: str

    def command(self, jail: Jail, argv: Sequence[str], *, seccomp: int) -> list[str]:
        """Return the command line that runs `argv` in `jail`; `seccomp` is a descriptor that holds the filter."""
        if self.kind == "none":
            here = str(jail.folder)
            return [here + argument[len(WORK) :] if argument.startswith(WORK) else argument for argument in argv]
        uid = next_uid() if is_root() else None
        means = bubblewrap if self.kind == "bubblewrap" else namespaces
        return means.command(jail, argv, uid=uid, seccomp=seccomp)


def choose(kind: Kind | None = None) -> Isolation:
    """Return the best isolation that works here.

    Args:
        kind: Take this one and no other; None tries bubblewrap, then namespaces. "none" is given without a trial.

    Raises:
        EnvironmentProblem: Nothing works; says what is missing and how to get it.
    """
    if kind == "none":
        return Isolation("none", UNSAFE)
    tried: list[str] = []
    for candidate in (kind,) if kind else ("bubblewrap", "namespaces"):
        found = _tried(candidate)
        if isinstance(found, Isolation):
            return found
        tried.append(found)
    raise EnvironmentProblem(
        "refusing to run untrusted programs, for this machine cannot isolate them ("
        + "; ".join(tried)
        + "). Install bubblewrap (apt-get install bubblewrap libseccomp2) and allow user namespaces (sysctl "
        "user.max_user_namespaces=10000; in Docker: --security-opt seccomp=unconfined), or, where you trust every "
        "program, say --unsafe-no-isolation"
    )


@cache
def _tried(kind: Literal["bubblewrap", "namespaces"]) -> Isolation | str:
    """Run /bin/true in a real jail; return the isolation, or why it does not work."""
    if kind == "bubblewrap" and not bubblewrap.available():
        return "bubblewrap is not installed"
    version = bubblewrap.version() if kind == "bubblewrap" else "namespaces without bubblewrap"
    isolation = Isolation(kind, f"{version}, seccomp")
    with tempfile.TemporaryDirectory() as folder, seccomp_file() as file:
        command = isolation.command(Jail(Path(folder)), [tool("true") or "true"], seccomp=file.fileno())
        done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=(file.fileno(),))
    if done.returncode == 0:
        return isolation
    return f"{kind} fails: {(done.stderr.strip() or f'exit code {done.returncode}').splitlines()[-1]}"


def kind_named(name: str | None) -> Kind | None:
    """Return a kind of isolation by its name on the command line; None stays None.

    Raises:
        InputError: An unknown name.
    """
    kinds: tuple[Kind, ...] = ("bubblewrap", "namespaces")
    for kind in kinds:
        if name == kind:
            return kind
    if name is None:
        return None
    raise InputError(one_of(name, kinds, what="isolation"))


def seccomp_file() -> tempfile._TemporaryFileWrapper[bytes]:  # pyright: ignore[reportPrivateUsage]
    """Return an open file at whose start the filter stands; a jail reads it through its descriptor."""
    file = tempfile.TemporaryFile()
    file.write(filter_program())
    file.seek(0)
    return file  # pyright: ignore[reportReturnType]
