"""The jail without bubblewrap: the same view, made by a script of ours that a Python of this machine runs.

It needs neither root nor anything installed beside Python. An ordinary user gets a user namespace, root gives all
its powers up. `bubblewrap` is the better known of the two, so it is taken where it works.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ellora_trust.sandbox.jail import SCRATCH, WORK, Jail, links, python

_SCRIPT = Path(__file__).parent / "jailer" / "enter.py"


def command(jail: Jail, argv: Sequence[str], *, uid: int | None, seccomp: int) -> list[str]:
    """Return the command line that runs `argv` in the jail; only this process may start it, and directly.

    Exit code 125 with a line on stderr means that the jail could not be made and nothing was run.

    Args:
        jail: What is seen inside.
        argv: Program and arguments, with inside paths.
        uid: For root: the uid to become. None for an ordinary user, who gets a user namespace instead.
        seccomp: Descriptor of a file that holds the filter from its start.
    """
    words = [word for triple in _plan(jail, uid, seccomp) for word in triple]
    # Neither the user's settings nor site-packages have a say in it.
    return [str(python()), "-I", "-S", str(_SCRIPT), *words, "--", *argv]


def _plan(jail: Jail, uid: int | None, seccomp: int) -> list[tuple[str, str, str]]:
    """Return what the script is told: triples, since reading JSON would take a tenth of a short run's time."""
    plan = [
        ("set", "parent", str(os.getpid())),
        ("set", "uid", "" if uid is None else str(uid)),
        ("set", "seccomp", str(seccomp)),
        ("set", "scratch", str(jail.scratch)),
        ("set", "cwd", WORK if jail.writable else SCRATCH),
    ]
    # The host's files are reached below another root, where links with absolute targets lead nowhere.
    plan += [("show", os.path.realpath(host), inside) for host, inside in jail.mounts.items()]
    for name, target in links().items():
        plan.append(("link", f"/{name}", target) if target else ("show", f"/{name}", f"/{name}"))
    plan.append(("lend" if jail.writable else "show", os.path.realpath(jail.folder), WORK))
    return plan + [("env", name, value) for name, value in jail.environment.items()]
