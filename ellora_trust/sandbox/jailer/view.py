"""What process 1 of a new mount namespace sees: a root of its own with what the host lends it, mostly read-only.

Loaded by `enter.py`, which runs before each program; so only modules that load in a millisecond are imported.
"""

from __future__ import annotations

import ctypes
import errno
import os

HOST = "/.host"  # where the old root lies until it is let go
# Zeros come from `full`, which cannot be mapped: a shared mapping of `zero` is memory that no process shows.
DEVICES = {"null": "null", "zero": "full", "full": "full", "random": "random", "urandom": "urandom"}
STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
KERNEL_SETTINGS = ("sys", "sysrq-trigger", "irq", "bus")

# From linux/mount.h, alike on all architectures.
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


class Step:
    """One step: an error within is told together with what was being done."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            name = errno.errorcode.get(error.errno or 0, "unknown")
            raise RuntimeError(f"cannot {self.what}: {error.strerror} ({name}, errno {error.errno})") from error


def must(result: int) -> int:
    """Return what a function of libc returned, or raise its error."""
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def mount(source: str, target: str, *, kind: str | None = None, flags: int = 0, data: str = "") -> None:
    """Call mount(2)."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    must(libc.mount(*words, ctypes.c_ulong(flags), data.encode()))


def make_view(mounts: list[tuple[str, str, bool]], links: list[tuple[str, str]], scratch: int) -> None:
    """Build the view on a new root and let the old one go.

    Args:
        mounts: Host path without symbolic links, inside path, whether it is writable; the last covers all before it.
        links: Inside path and target.
        scratch: Bytes in /tmp, and in /dev/shm.
    """
    take_root()
    make_proc()
    for host, inside, writable in mounts[:-1]:
        show(host, inside, writable)
    for name, target in links:
        with Step(f"make the link {name}"):
            os.symlink(target, name)
    make_devices()
    make_scratch("/tmp", scratch)
    make_scratch("/dev/shm", scratch)
    show(*mounts[-1])
    with Step("let the old root go"):
        must(libc.umount2(os.fsencode(HOST), DETACH))
        os.rmdir(HOST)
        # What has no size of its own is memory without bound, so both are made read-only.
        mount("none", "/dev", flags=REMOUNT | BIND | RDONLY | NOSUID | NOEXEC)
        mount("none", "/", flags=REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def take_root() -> None:
    """Make an empty root, with the old one below it."""
    with Step("make a new root"):
        mount("none", "/", flags=REC | PRIVATE)
        # Any folder will do, and the host's own /tmp is seen again as soon as this is the root.
        mount("tmpfs", "/tmp", kind="tmpfs", flags=NOSUID | NODEV, data="size=1m,mode=755")
        os.mkdir(f"/tmp{HOST}")
        must(libc.pivot_root(b"/tmp", os.fsencode(f"/tmp{HOST}")))
        os.chdir("/")


def make_proc() -> None:
    """Mount /proc of the new pid namespace, the kernel's settings read-only."""
    with Step("mount /proc"):
        os.mkdir("/proc")
        mount("proc", "/proc", kind="proc", flags=NOSUID | NODEV | NOEXEC)
        for name in KERNEL_SETTINGS:
            if os.path.exists(f"/proc/{name}"):
                mount(f"/proc/{name}", f"/proc/{name}", flags=BIND)
                protect(f"/proc/{name}", RDONLY | NODEV)


def make_devices() -> None:
    """Make a /dev of five harmless devices and the names of the standard streams."""
    with Step("make /dev"):
        os.mkdir("/dev")
        mount("tmpfs", "/dev", kind="tmpfs", flags=NOSUID | NOEXEC, data="size=64k,mode=755")
        for name, target in STREAMS.items():
            os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    for name, source in DEVICES.items():
        with Step(f"mount /dev/{name}"):
            make_point(f"/dev/{name}", folder=False)
            mount(f"{HOST}/dev/{source}", f"/dev/{name}", flags=BIND)
            protect(f"/dev/{name}", RDONLY | NOEXEC)


def make_scratch(folder: str, size: int) -> None:
    """Mount an empty folder of a bounded size that everybody may write to."""
    with Step(f"make {folder}"):
        os.mkdir(folder)
        # An empty file takes memory too, about a KiB, so their number has a bound.
        bounds = f"mode=1777,size={size},nr_inodes={max(1024, size >> 12)}"
        mount("tmpfs", folder, kind="tmpfs", flags=NOSUID | NODEV, data=bounds)


def show(host: str, inside: str, writable: bool) -> None:
    """Mount one path of the host with all that is mounted below it."""
    with Step(f"mount {host} at {inside}"):
        make_point(inside, folder=os.path.isdir(HOST + host))
        mount(HOST + host, inside, flags=BIND | REC)
        protect(inside, NODEV if writable else RDONLY | NODEV)


def make_point(path: str, *, folder: bool) -> None:
    """Make what something is mounted on, with its parents; a point within an earlier mount must be there already."""
    os.makedirs(path if folder else os.path.dirname(path), 0o755, exist_ok=True)
    if not folder and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o444))


def protect(target: str, flags: int) -> None:
    """Add flags to a mount and to those below it, keeping what is set: a user namespace may not take flags away."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = {unescaped(line.split()[4]) for line in file}
    for point in sorted(points):
        if (point + b"/").startswith(os.fsencode(target) + b"/"):
            try:
                kept = os.statvfs(point).f_flag & (RDONLY | NODEV | NOEXEC)  # these have the same values in both calls
            except PermissionError:  # what this user cannot reach, the program cannot either
                continue
            mount("none", os.fsdecode(point), flags=REMOUNT | BIND | NOSUID | kept | flags)


def unescaped(field: bytes) -> bytes:
    """Return a path of /proc/self/mountinfo, where blanks and backslashes stand as octal numbers."""
    first, *others = field.split(b"\\")
    return first + b"".join(bytes([int(other[:3], 8)]) + other[3:] for other in others)
