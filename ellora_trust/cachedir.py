"""The user's cache folder, and writing into any folder so that nothing is ever half there.

with replacing(folder / "results.json") as beside: beside.write_text(...)   # then fsync and rename
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from ellora_trust.errors import EnvironmentProblem, InputError

VARIABLE = "ELLORA_TRUST_CACHE"
# What an operating system refuses to do for a user, and what the user can do then.
REFUSALS = {
    errno.ENOSPC: "the disk is full; free some space (see 'ellora-trust cache') or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EROFS: f"the file system is read-only; choose another folder or set {VARIABLE}",
    errno.EACCES: f"writing is not permitted there; choose another folder or set {VARIABLE}",
    errno.EPERM: f"writing is not permitted there; choose another folder or set {VARIABLE}",
    errno.ENOTDIR: "a part of that path is a file; choose another folder",
    errno.EEXIST: "a file of that name is in the way; choose another folder",
}


def cache_dir() -> Path:
    """Return the cache folder: `$ELLORA_TRUST_CACHE`, else the platform's own place for caches."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else platformdirs.user_cache_path("ellora-trust")


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn a full disk, a read-only folder and the like into one sentence.

    Raises:
        EnvironmentProblem: The operating system refused to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise EnvironmentProblem(f"cannot write {target}: {REFUSALS[error.errno]}") from error


def made(folder: Path) -> Path:
    """Make a folder before the work that will fill it, and return it: hours should not end in what cannot be written.

    Raises:
        EnvironmentProblem: It cannot be made, or not be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable", str(folder))
    return folder


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside `target`; what is written there takes its place at the end, all or nothing.

    Works for a file and for a folder. After an exception the target is what it was.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
        try:
            yield beside
            _sync(beside)
            _swap(beside, target)
        finally:
            if beside.is_dir():
                shutil.rmtree(beside)
            else:
                beside.unlink(missing_ok=True)


def _swap(beside: Path, target: Path) -> None:
    if not (target.is_dir() and beside.is_dir()):
        os.replace(beside, target)
        return
    # os.replace refuses a folder that is not empty. The old one is moved away whole: deleted in its place, a kill would
    # leave half of it under the name.
    old = beside.with_suffix(".old")
    os.replace(target, old)
    try:
        os.replace(beside, target)
    except BaseException:
        os.replace(old, target)
        raise
    shutil.rmtree(old)


def _sync(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def size_of(path: Path) -> int:
    """Return the bytes below a file or folder; 0 if it does not exist."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def entries() -> list[tuple[str, int]]:
    """Return (name, bytes) of each converted model, each store and each evaluated state in the cache."""
    root, kinds = cache_dir(), ("models", "activations", "evaluation")
    found = [path for kind in kinds for path in sorted((root / kind).glob("*")) if path.is_dir()]
    return [(str(path.relative_to(root)), size_of(path)) for path in found if not path.name.startswith(".")]


def clean(entry: str) -> int:
    """Delete a part of the cache and return the bytes freed; an empty name means all of it.

    Raises:
        InputError: Nothing of that name, or a name that leads outside.
    """
    root = cache_dir().resolve()
    target = (root / entry).resolve()
    if not target.is_relative_to(root):
        raise InputError(f"{entry!r} is not in the cache; use a name that 'ellora-trust cache' lists")
    if not target.exists():
        if entry in ("", "activations", "evaluation"):
            return 0
        raise InputError(f"the cache has no entry {entry!r}; use a name that 'ellora-trust cache' lists")
    freed = size_of(target)
    with explained(target):
        shutil.rmtree(target)
    return freed
