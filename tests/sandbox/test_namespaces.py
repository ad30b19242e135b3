"""The jail without bubblewrap holds and passes on what that of bubblewrap does, for root and for an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ellora_trust
from ellora_trust.sandbox import namespaces
from ellora_trust.sandbox.isolation import seccomp_file
from ellora_trust.sandbox.jail import Jail, is_root, next_uid
from ellora_trust.sandbox.jailer.view import unescaped
from ellora_trust.sandbox.languages import python_command

ORDINARY = 12345
RUNS = Path(__file__).with_name("namespaces_runs.py")
# Mounts a file system below a folder, for this command alone, which then may have to be another user's.
MOUNT = 'mount -t tmpfs -o noexec,mode=777 tmpfs "$1/below" && shift && exec "$@"'


@dataclass(frozen=True)
class User:
    """How `namespaces_runs.py` is started as some user.

    Attributes:
        argv: Interpreter and script, with what changes the user before.
        folder: Host folder that anybody may write to, with an empty one below it.
        env: Where the library is found.
    """

    argv: list[str]
    folder: Path
    env: dict[str, str]


@pytest.fixture(scope="module", params=["this user", "an ordinary user"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    change, python = burdened(), sys.executable
    if request.param == "an ordinary user":
        if not is_root():
            pytest.skip("only root can become an ordinary user, and this user is one")
        change, python = ordinary()
    able = [*change, "unshare", "-m" if is_root() and request.param == "this user" else "-Urm", "true"]
    if shutil.which("unshare") and subprocess.run(able, check=False).returncode:
        pytest.skip("this machine gives this user no namespaces")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A checkout may be out of an ordinary user's reach, so what is run is copied.
        ignored = shutil.ignore_patterns("*.json", "__pycache__")
        shutil.copytree(Path(ellora_trust.__file__).parent, folder / "ellora_trust", ignore=ignored)
        shutil.copy(RUNS, folder)
        (folder / "shown" / "below").mkdir(parents=True)
        (folder / "shown").chmod(0o777)
        folder.chmod(0o755)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
        yield User([*change, python, str(folder / RUNS.name)], folder / "shown", env)


def burdened() -> list[str]:
    """Return what gives root a capability to hand down and some groups, all of which the jail must take away."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--inh-caps=+net_raw", "--groups=0,4,5"] if setpriv and is_root() else []


def ordinary() -> tuple[list[str], str]:
    """Return what changes root to an ordinary user, and a Python that such a user can run."""
    setpriv, python = shutil.which("setpriv"), shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    change = [setpriv, f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    new_enough = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([*change, python, "-c", new_enough], check=False).returncode:
        pytest.skip("there is no Python 3.11 that an ordinary user can run")
    return change, python


@pytest.fixture(scope="module")
def found(user: User) -> dict[str, Any]:
    """What all runs of `namespaces_runs.py` gave."""
    argv = [*user.argv, f"ellora-{os.urandom(6).hex()}", str(user.folder) if is_root() else ""]
    if is_root():
        argv = ["unshare", "-m", "/bin/sh", "-c", MOUNT, "sh", str(user.folder), *argv]
    done = subprocess.run(argv, env=user.env, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def view(found: dict[str, Any]) -> dict[str, Any]:
    """What a program saw."""
    return json.loads(found["view"][2])


def processes(name: str) -> int:
    """Return how many processes of this machine have a name among their arguments."""
    lines = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    return sum(name.encode() in line for line in lines)


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether something comes true within ten seconds."""
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_programs_are_built_and_run_and_read_their_input(found: dict[str, Any]) -> None:
    assert found["python"][:4] == ["ok", 0, "42\n", ""]
    assert found["c"][:4] == ["ok", 0, "42\n", ""]
    assert found["stdin"][:4] == ["ok", 0, "ab\n", ""]


def test_exit_codes_and_signals_are_passed_on_as_a_shell_reports_them(found: dict[str, Any]) -> None:
    assert found["exit"][:4] == ["exit", 3, "out\n", "err\n"]
    assert found["signal"][:2] == ["signal", 128 + signal.SIGABRT]


def test_a_program_that_is_process_1_itself_has_its_end_and_environment_passed_on_too(found: dict[str, Any]) -> None:
    assert found["process 1"]["fault"] == ["", "", 128 + signal.SIGSEGV]
    names = [line.partition("=")[0] for line in found["process 1"]["environment"][0].splitlines()]
    assert names == ["PATH", "LANG", "HOME", "TMPDIR"]


def test_processor_time_reaches_the_parent(found: dict[str, Any]) -> None:
    assert found["busy"][4] >= 0.3  # seconds, which the program spends by its own clock


def test_only_the_toolchain_is_seen(view: dict[str, Any]) -> None:
    assert view["absent"] == []
    top = {"bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "tmp", "usr", "work"}
    prefix = namespaces.python().parts[1]  # a Python of its own may lie below /root or /opt
    assert set(view["root"]) - top <= {prefix, "nix", "opt"}
    streams = {"fd", "stdin", "stdout", "stderr"}
    assert set(view["devices"]) == {"null", "zero", "full", "random", "urandom", "shm", *streams}


def test_nothing_is_writable_but_scratch_space(view: dict[str, Any]) -> None:
    read_only = dict.fromkeys(("/", "/usr", "/etc", "/dev", "/work"), "EROFS")
    assert view["written"] == {**read_only, "/tmp": "done", "/dev/shm": "done"}
    assert view["settings"]  # of the kernel, in /proc/sys


def test_what_is_mounted_below_a_shown_folder_is_read_only_too(found: dict[str, Any]) -> None:
    if not is_root():
        pytest.skip("only root can mount what an ordinary user then shows")
    assert json.loads(found["below"][2]) == {"kept": True, "read-only": ["Read-only file system"] * 2}


def test_scratch_space_is_bounded_in_bytes_and_in_files(found: dict[str, Any]) -> None:
    assert found["filled"][2] == "No space left on device No space left on device\n"


def test_no_other_process_and_no_network_is_there(view: dict[str, Any]) -> None:
    assert view["pids"] == [1, view["own pid"]]
    assert (view["interfaces"], view["loopback"]) == (["lo"], "up")


def test_no_power_is_left_and_the_filter_refuses_ways_to_new_ones(view: dict[str, Any]) -> None:
    assert view["capabilities"]
    assert view["guards"] == [1, 2]  # no new privileges, seccomp in filter mode
    assert view["user"] != 0
    assert set(view["groups"]) <= {65534}
    assert [view[call] for call in ("unshare", "mount", "ptrace")] == ["EPERM"] * 3


def test_the_environment_is_what_was_given_and_nothing_else(view: dict[str, Any]) -> None:
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}
    assert view["environment"] == {**base, "GIVEN": "ä b\n", "PWD": "/tmp"}  # the shell adds the last one
    assert view["cwd"] == "/tmp"
    assert view["descriptors"] == [0, 1, 2, 3]  # the fourth lists them
    # Python ignores SIGPIPE, and what follows it must not. Signals 32 and 33 belong to the C library, which lets nobody
    # change them, so what this process was started with comes through.
    assert view["ignored"] & ~(3 << 31) == 0


@pytest.mark.parametrize(("way", "status"), [("leave", "ok"), ("wait", "timeout"), ("eat", "memory")])
def test_no_process_is_left_when_a_program_ends_or_is_ended(found: dict[str, Any], way: str, status: str) -> None:
    assert found["endings"][way] == [status, 0]


def test_inherited_pipes_work_and_end_with_the_program_s_own_end(found: dict[str, Any]) -> None:
    assert found["spoken"] == "through the pipe"
    assert found["hung up"]


@pytest.mark.parametrize(
    ("case", "step"),
    [
        ("filter", "cannot install the seccomp filter: Invalid argument (EINVAL, errno 22)"),
        ("source", "cannot mount /no/such at /shown: No such file or directory (ENOENT, errno 2)"),
        ("point", "at /shown/planted: Read-only file system (EROFS, errno 30)"),
        ("parent", "which should have started this one, is not its parent"),
        ("program", "cannot run /no/such/program: No such file or directory (ENOENT, errno 2)"),
    ],
)
def test_a_step_that_fails_is_named_and_nothing_is_run(found: dict[str, Any], case: str, step: str) -> None:
    stdout, stderr, code = found["process 1"][case]
    assert (stdout, code) == ("", 125)
    assert step in stderr
    assert found["process 1"]["none"] == ["ran\n", "", 0]
    assert found["planted"] == []


def test_the_program_dies_with_the_process_that_started_it(user: User) -> None:
    name = f"ellora-{os.urandom(6).hex()}"
    process = subprocess.Popen([*user.argv, name], env=user.env)
    try:
        assert eventually(lambda: processes(f"{name}-inside") >= 5)  # the four of the family and what waits for them
    finally:
        process.kill()
        process.wait()
    assert eventually(lambda: processes(f"{name}-inside") == 0)


def test_a_kill_at_any_moment_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    name = f"ellora-{os.urandom(6).hex()}"
    argv = [*python_command(), "-c", "import time; time.sleep(60)", name]
    for moment in range(20):
        uid = next_uid() if is_root() else None
        with seccomp_file() as file:
            line = namespaces.command(Jail(tmp_path), argv, uid=uid, seccomp=file.fileno())
            process = subprocess.Popen(line, pass_fds=(file.fileno(),), start_new_session=True)
        time.sleep(0.002 * moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert eventually(lambda: processes(name) == 0)


def test_a_mount_point_with_blanks_and_backslashes_is_read_right() -> None:
    assert unescaped(rb"/a\040b\134c\011\303\244") == b"/a b\\c\t\xc3\xa4"
    assert unescaped(b"/plain") == b"/plain"
