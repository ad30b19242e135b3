"""Runs programs in the namespaces jail and prints what came of them as JSON; any Python and any user can.

    python namespaces_runs.py NAME SUBMOUNTED     # all programs, as one JSON object
    python namespaces_runs.py NAME                # one program that sleeps, NAME among its arguments

SUBMOUNTED is a folder with a file system mounted below it, or nothing.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from ellora_trust.sandbox import MIB, Limits, Run, Sandbox
from ellora_trust.sandbox.isolation import seccomp_file
from ellora_trust.sandbox.jail import Jail, is_root, next_uid
from ellora_trust.sandbox.languages import python_command
from ellora_trust.sandbox.namespaces import command

C = """
#include <stdio.h>
int main(void) { int n; if (scanf("%d", &n) != 1) return 1; printf("%d\\n", 6 * n); return 0; }
"""

VIEW = """
import ctypes, errno, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def refused(result):
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"
def written(path):
    try: open(path + "/planted", "w").close()
    except OSError as error: return errno.errorcode[error.errno]
    return "done"
def status(pid):
    return dict(line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines())
def loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    return "up"
own = status("self")
print(json.dumps({
    "root": sorted(os.listdir("/")), "devices": sorted(os.listdir("/dev")),
    "absent": [path for path in ("/etc/passwd", "/home", "/sys", "/var", "/.host") if os.path.lexists(path)],
    "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()), "own pid": os.getpid(),
    "interfaces": [name for _, name in socket.if_nameindex()], "environment": dict(os.environ),
    "descriptors": [int(name) for name in os.listdir("/proc/self/fd")], "cwd": os.getcwd(),
    "written": {path: written(path) for path in ("/", "/usr", "/etc", "/dev", "/work", "/tmp", "/dev/shm")},
    "settings": bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY), "loopback": loopback(),
    "user": os.getuid(), "groups": os.getgroups(),
    "capabilities": {int(own[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0},
    "guards": [int(own["NoNewPrivs"]), int(own["Seccomp"])], "ignored": int(status(1)["SigIgn"], 16),
    "unshare": refused(libc.unshare(0x20000)), "mount": refused(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "ptrace": refused(libc.ptrace(0, 0, 0, 0)),
}))
"""

BELOW = """
import json, os
flags = os.statvfs("/shown a\\\\b/below").f_flag
found = {"kept": bool(flags & os.ST_NOEXEC), "read-only": []}
for folder in ("/shown a\\\\b", "/shown a\\\\b/below"):
    try: open(folder + "/planted", "w").close()
    except OSError as error: found["read-only"].append(error.strerror)
print(json.dumps(found))
"""

FILLED = """
import os
def fill(make):
    for count in range(100_000):
        try: make(count)
        except OSError as error: return error.strerror
print(fill(lambda n: os.close(os.open(f"/tmp/{n}", os.O_CREAT))), fill(lambda n: file.write(b"x" * (1 << 20))))
""".replace("print", "file = open('/dev/shm/file', 'wb', buffering=0)\nprint")

# Children that outlive their parent and its session, so that only the end of the whole jail ends them.
FAMILY = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if sys.argv[1] == "eat": eaten = [bytes([7]) * (1 << 20) for _ in range(100)]
        time.sleep(60)
time.sleep(60 if sys.argv[1] != "leave" else 0.1)
"""

SPEAKS = "import os, sys; os.write(int(sys.argv[1]), b'through the pipe')"
BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def there(name: str) -> int:
    """Return how many processes have a name among their arguments, this one left out."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and int(pid) != os.getpid()
        except OSError:
            continue
    return found


def run_program(box: Sandbox, program: str, *arguments: str, **options: object) -> Run:
    """Run Python source with arguments."""
    argv = [*python_command(), "/work/program.py", *arguments]
    return box.execute(argv, files={"program.py": program}, **options)  # pyright: ignore[reportArgumentType]


def endings(box: Sandbox, name: str) -> dict[str, object]:
    """Return how programs with children ended, and how many processes each left behind."""
    bounds = {
        "leave": Limits(),
        "wait": Limits(wall=0.4),
        "eat": Limits(memory=64 * MIB),
    }
    found = {}
    for way, limits in bounds.items():
        done = run_program(box, FAMILY, way, f"{name}-inside", limits=limits)
        found[way] = [done.status, there(f"{name}-inside")]
    return found


def spoken(box: Sandbox) -> str:
    """Return what came through an inherited pipe."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        done = run_program(box, SPEAKS, str(writer), keep=(writer,), pipes={"words": stream})
    return done.replies["words"].decode()


def start(
    jail: Jail, argv: list[str], *, keep: tuple[int, ...] = (), filtered: bool = True, prefix: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start a program in the jail without what `Sandbox` adds."""
    uid = next_uid() if is_root() else None
    with seccomp_file() as file, tempfile.TemporaryFile() as nothing:
        number = file.fileno() if filtered else nothing.fileno()
        line = [*prefix, *command(jail, argv, uid=uid, seccomp=number)]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, pass_fds=(number, *keep))


def hung_up(folder: str) -> bool:
    """Whether the end of a pipe is seen once the program has closed it, though the program runs on."""
    reader, writer = os.pipe()
    take, give = os.pipe()
    code = "import os, sys; os.close(int(sys.argv[1])); os.read(int(sys.argv[2]), 9)"
    argv = [*python_command(), "-c", code, str(writer), str(take)]
    with start(Jail(Path(folder)), argv, keep=(writer, take)) as process:
        os.close(writer)
        seen = bool(select.select([reader], [], [], 10)[0]) and process.poll() is None
        os.write(give, b"noticed")
    for number in (reader, take, give):
        os.close(number)
    return seen


def endings_of_process_1(folder: str) -> dict[str, list[object]]:
    """Return streams and exit code of a program that is process 1 itself, and of jails that cannot be made."""
    argv = ["/bin/sh", "-c", "echo ran"]
    jail = Jail(Path(folder))
    started = {
        "none": start(jail, argv),
        "environment": start(jail, ["/usr/bin/env"]),
        "fault": start(jail, [*python_command(), "-c", "import ctypes; ctypes.string_at(0)"]),
        "filter": start(jail, argv, filtered=False),
        "source": start(Jail(Path(folder), readonly={Path("/no/such"): "/shown"}), argv),
        "point": start(Jail(Path(folder), readonly={Path(folder): "/shown", Path("/usr/bin"): "/shown/planted"}), argv),
        "parent": start(jail, argv, prefix=("/bin/sh", "-c", '"$@"; exit $?', "sh")),
        "program": start(jail, ["/no/such/program"]),
    }
    return {case: [*process.communicate(), process.returncode] for case, process in started.items()}


def main() -> None:
    """Run them all, or the one that sleeps."""
    box = Sandbox.of("namespaces")
    name, *others = sys.argv[1:]
    if not others:
        run_program(box, FAMILY, "wait", f"{name}-inside", limits=Limits(wall=60))
        return
    runs = {
        "python": box.run("print(6 * 7)"),
        "c": box.run(C, language="c", stdin="7"),
        "exit": box.run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"),
        "signal": box.run("import os; os.abort()"),
        "stdin": box.run("print(input() + input())", stdin="a\nb\n"),
        "view": box.run(VIEW, env={"GIVEN": "ä b\n"}),
        "busy": box.run(BUSY),
        "filled": box.run(FILLED, limits=Limits(scratch=4 * MIB)),
    }
    if others[0]:
        runs["below"] = run_program(box, BELOW, readonly={Path(others[0]): "/shown a\\b"})
    shown = {key: [run.status, run.exit_code, run.stdout, run.stderr, run.cpu] for key, run in runs.items()}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        more = {"spoken": spoken(box), "hung up": hung_up(folder), "process 1": endings_of_process_1(folder)}
        more["planted"] = os.listdir(folder)
    print(json.dumps({**shown, "endings": endings(box, name), **more}))


if __name__ == "__main__":
    main()
