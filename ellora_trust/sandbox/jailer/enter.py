"""Makes a jail out of new namespaces and runs a program in it; started by `namespaces.command`.

    enter.py KIND NAME VALUE [KIND NAME VALUE ...] -- PROGRAM [ARGUMENT ...]

"set" gives a setting, "show" and "lend" mount a host path at an inside path (read-only, writable), "link" makes a
symbolic link, "env" an environment variable. One process waits outside and hands on the exit code, the other becomes
process 1 of the jail and then the program. Where a step fails, it says which, nothing is run, the exit code is 125.

Whatever is used once the root has changed must be loaded before: the interpreter may be out of sight by then.
"""

from __future__ import annotations

import ctypes
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from view import Step, libc, make_view, must  # noqa: E402

sys.path.remove(HERE)

FAILED = 125
NOBODY = 65534

# From linux/sched.h, linux/prctl.h, linux/capability.h and linux/sockios.h, alike on all architectures.
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
SET_PDEATHSIG, SET_SECCOMP, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 22, 24, 38, 47
SECCOMP_FILTER, AMBIENT_CLEAR_ALL = 2, 4
CAPABILITY_VERSION = 0x20080522
INET, DATAGRAM, SIOCSIFFLAGS, IF_UP_RUNNING = 2, 2, 0x8914, 0x41
# Of `signal`, which would take longer to import than all the steps take.
SIGKILL, SIGPIPE, SIGXFSZ = 9, 13, 25


class Plan:
    """What the jail shall be, read from the command line."""

    def __init__(self, words: list[str]) -> None:
        self.mounts: list[tuple[str, str, bool]] = []
        self.links: list[tuple[str, str]] = []
        self.environment: dict[str, str] = {}
        settings: dict[str, str] = {}
        at = 0
        while words[at] != "--":
            kind, name, value = words[at : at + 3]
            at += 3
            if kind in ("show", "lend"):
                self.mounts.append((name, value, kind == "lend"))
            elif kind == "link":
                self.links.append((name, value))
            else:
                {"set": settings, "env": self.environment}[kind][name] = value
        self.argv = words[at + 1 :]
        self.parent, self.seccomp, self.scratch = (int(settings[name]) for name in ("parent", "seccomp", "scratch"))
        self.uid = int(settings["uid"]) if settings["uid"] else None
        self.cwd = settings["cwd"]


def prctl(option: int, *arguments: object) -> int:
    """Call prctl(2), whose arguments are all as wide as a pointer."""
    words = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0, 0)[:4]]
    return must(libc.prctl(option, *words))


def make_outer_namespaces(plan: Plan) -> None:
    """Make those that hold for what is started next, and tie this process to the one that started it."""
    user, group = os.geteuid(), os.getegid()
    if plan.uid is not None:
        with Step("make a pid namespace"):
            must(libc.unshare(NEWPID))
    else:
        with Step("make a user and a pid namespace"):
            must(libc.unshare(NEWPID | NEWUSER))
        with Step("map the user into the user namespace"):
            maps = {"setgroups": "deny", "gid_map": f"{NOBODY} {group} 1", "uid_map": f"{NOBODY} {user} 1"}
            for name, text in maps.items():
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
    with Step("ask for the end of this process with its parent"):
        prctl(SET_PDEATHSIG, SIGKILL)
    if os.getppid() != plan.parent:
        raise RuntimeError(f"process {plan.parent}, which should have started this one, is not its parent")


def wait_for(child: int, held: int) -> int:
    """Wait outside for process 1; return its exit code as a shell reports it."""
    # A pipe that the program inherited shall end when the program closes it.
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != held:
            try:
                os.close(number)
            except OSError:  # the descriptor by which the folder was listed
                continue
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


def make_inner_namespaces() -> None:
    """Make the other ones, as process 1, and bring the loopback interface up, which programs of MPI need."""
    with Step("make mount, net, ipc and uts namespaces"):
        os.setsid()
        cgroup = NEWCGROUP if os.path.exists("/proc/self/ns/cgroup") else 0
        must(libc.unshare(NEWNS | NEWNET | NEWIPC | NEWUTS | cgroup))
    with Step("bring the loopback interface up"):
        line = must(libc.socket(INET, DATAGRAM, 0))
        request = b"lo".ljust(16, b"\0") + IF_UP_RUNNING.to_bytes(2, sys.byteorder)
        must(libc.ioctl(line, ctypes.c_ulong(SIOCSIFFLAGS), ctypes.create_string_buffer(request, 40)))
        os.close(line)


def drop_powers(uid: int | None) -> None:
    """Give up all capabilities and every way to new ones; as root become another user first."""
    with Step("drop all capabilities"):
        for number in range(last_capability() + 1):
            prctl(CAPBSET_DROP, number)
        prctl(CAP_AMBIENT, AMBIENT_CLEAR_ALL)
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        must(libc.capset(header, sets))
        prctl(SET_NO_NEW_PRIVS, 1)


def last_capability() -> int:
    """Return the number of the last capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def die_with_outer(alive: int) -> None:
    """Tie this process to the one outside; a change of user cuts that, so it comes after."""
    with Step("ask for the end of this process with the one outside"):
        prctl(SET_PDEATHSIG, SIGKILL)
        # Its parent is in no namespace that this process sees, so the end of a pipe tells whether it is gone.
        os.set_blocking(alive, False)
        try:
            os.read(alive, 1)
        except BlockingIOError:
            return
    raise RuntimeError("the process outside is gone")


def install_filter(descriptor: int) -> None:
    """Install the seccomp filter that lies in a file, and close the file."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    with Step("install the seccomp filter"):
        code = os.pread(descriptor, 1 << 16, 0)
        os.close(descriptor)
        prctl(SET_SECCOMP, SECCOMP_FILTER, ctypes.byref(Program(len(code) // 8, code)))


def become_program(plan: Plan, alive: int, mask: int) -> None:
    """Make the jail around this process, which is process 1, and exec the program."""
    make_inner_namespaces()
    make_view(plan.mounts, plan.links, plan.scratch)
    with Step(f"enter {plan.cwd}"):
        os.chdir(plan.cwd)
    drop_powers(plan.uid)
    die_with_outer(alive)
    os.umask(mask)
    for number in (SIGPIPE, SIGXFSZ):  # Python ignores them, and that would be inherited
        libc.signal(number, None)
    install_filter(plan.seccomp)
    with Step(f"run {plan.argv[0]}"):
        os.execve(plan.argv[0], plan.argv, plan.environment)


def main() -> None:
    """Do what the command line says; never returns."""
    try:
        plan = Plan(sys.argv[1:])
        mask = os.umask(0o022)
        make_outer_namespaces(plan)
        alive, held = os.pipe()
        child = os.fork()
        if child:
            os._exit(wait_for(child, held))
        os.close(held)
        become_program(plan, alive, mask)
    except BaseException as error:  # whatever it is, it must not look like the end of the program
        os.write(2, f"namespaces: {error}\n".encode())
    os._exit(FAILED)


if __name__ == "__main__":
    main()
