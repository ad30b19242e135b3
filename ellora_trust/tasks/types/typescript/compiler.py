"""The TypeScript compiler as a second opinion on types, where it is installed.

Use it where a type has another spelling that no normal form knows: an alias of the file's own, an interface and the
object type it stands for. Files are checked in the sandbox.

    tsc_accepts("const x: number = 'a';", Sandbox())                            # False
    proven_same("type Id = string;", "Id", "string", Sandbox())                 # True
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import MIB, Limits, Run, Sandbox, Status
from ellora_trust.sandbox.jail import WORK

_LIMITS = Limits(wall=60.0, cpu=60.0, memory=2048 * MIB, processes=128)
_OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--target", "esnext", "--module", "esnext", "--pretty", "false")
_MODULES, _NODE = "/packages/node_modules", "/packages/node"
# Two types are the same if the compiler takes conditional types over them for the same; it does so by identity, so
# that `any` is the same as nothing but itself.
# Source: https://github.com/microsoft/TypeScript/issues/27024
_PROOF = """
type ElloraSame<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
const elloraProof: ElloraSame<{one}, {other}> = true;
"""


def tsc_accepts(source: str, box: Sandbox, *, options: tuple[str, ...] = ()) -> bool | None:
    """Whether a file by itself has no type error under `--strict`, or None where that cannot be said.

    It cannot where tsc or node is missing, or the compiler is ended by a limit. What a file imports from other files is
    not there, and so is an error.

    Args:
        source: A module's text.
        box: Where the compiler runs.
        options: Further ones of tsc; they overrule the usual ones.
    """
    run = _tsc(box, {"program.ts": source}, (*_OPTIONS, *options, f"{WORK}/program.ts"))
    if run is None or run.status not in (Status.OK, Status.EXIT):
        return None
    # Other exit codes than these are the compiler's own trouble.
    return {0: True, 1: False, 2: False}.get(-1 if run.exit_code is None else run.exit_code)


def proven_same(source: str, one: str, other: str, box: Sandbox) -> bool | None:
    """Whether the compiler proves two types identical at the end of a file, or None where it cannot say.

    False says that there is no proof: the types differ, or the file has errors by itself.

    Args:
        source: A module's text.
        one: A type, checked to be one and nothing else.
        other: The same.
        box: Where the compiler runs.
    """
    if "@ts-" in source:
        return False  # a comment that turns the checks off
    return tsc_accepts(f"{source}\n{_PROOF.format(one=one, other=other)}", box)


def tsc_version(box: Sandbox) -> str | None:
    """Return what `tsc --version` says, or None where tsc or node is missing."""
    run = _tsc(box, {}, ("--version",))
    return None if run is None or not run.ok else run.stdout.strip()


def installed() -> bool:
    """Whether tsc and node are on the PATH."""
    return _places(os.environ.get("PATH", "")) is not None


def _tsc(box: Sandbox, files: dict[str, str], arguments: tuple[str, ...]) -> Run | None:
    places = _places(os.environ.get("PATH", ""))
    if places is None:
        return None
    command, readonly = places
    try:
        return box.execute([*command, *arguments], files=dict(files), readonly=readonly, limits=_LIMITS)
    except EnvironmentProblem:
        return None


@cache
def _places(path: str) -> tuple[list[str], dict[Path, str]] | None:
    """Return what starts tsc inside the sandbox, and the folders to show there."""
    tsc, node = shutil.which("tsc", path=path), shutil.which("node", path=path)
    if tsc is None or node is None:
        return None
    script, binary = Path(tsc).resolve(), Path(node).resolve()
    modules = next((folder for folder in script.parents if folder.name == "node_modules"), None)
    if modules is None:
        return None
    readonly = {modules: _MODULES}
    if not binary.is_relative_to("/usr"):
        readonly[binary.parent.parent] = _NODE
        binary = Path(_NODE, "bin", binary.name)
    return [str(binary), f"{_MODULES}/{script.relative_to(modules).as_posix()}"], readonly
