"""`ellora-trust sandbox check`: runs the escape corpus and says which attacks got out.

for row in check_sandbox(Sandbox()): print(row.name, row.escaped)
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox.arena import Arena, arena
from ellora_trust.sandbox.attacks import ATTACKS, PRELUDE, Attack
from ellora_trust.sandbox.forgeries import FORGERIES, Forgery, forge
from ellora_trust.sandbox.isolation import Kind
from ellora_trust.sandbox.jail import WORK, is_root
from ellora_trust.sandbox.languages import python_command
from ellora_trust.sandbox.result import MIB, Limits, Run
from ellora_trust.sandbox.sandbox import Sandbox

LIMITS = Limits(wall=3, cpu=2, memory=128 * MIB, processes=32, output=MIB, scratch=16 * MIB, file_size=16 * MIB)
_SLACK = 3.0  # seconds until a killed tree is gone on a busy machine
_ORDINARY = 65534


@dataclass(frozen=True)
class Row:
    """One attack and what came of it.

    Attributes:
        name: Of the attack.
        goal: What it tried.
        escaped: Ways in which it got out; empty where it was held.
        ended: How the run ended.
    """

    name: str
    goal: str
    escaped: list[str]
    ended: str


def check_sandbox(box: Sandbox, *, tick: Callable[[str], None] = lambda name: None) -> list[Row]:
    """Run every attack in a sandbox and return one row each.

    Args:
        box: The sandbox on trial; one without isolation is refused, for the attacks are real.
        tick: Called with the name of each attack before it runs.

    Raises:
        EnvironmentProblem: The sandbox does not isolate.
    """
    if box.isolation.kind == "none":
        raise EnvironmentProblem("the escape corpus is run in a sandbox only; leave out --unsafe-no-isolation")
    endless = [attack for attack in ATTACKS if attack.endless]
    with ThreadPoolExecutor(len(endless)) as pool:
        found = dict(zip(endless, pool.map(lambda attack: _attacked(box, attack), endless), strict=True))
    rows = []
    for attack in ATTACKS:
        tick(attack.name)
        rows.append(found.get(attack) or _attacked(box, attack))
    for forgery in FORGERIES:
        tick(forgery.name)
        rows.append(_judge_forgery(box, forgery, f"token-{secrets.token_hex(16)}"))
    return rows


def _attacked(box: Sandbox, attack: Attack) -> Row:
    with arena() as targets:
        return judge(box, attack, targets)


def judge(box: Sandbox, attack: Attack, targets: Arena) -> Row:
    """Run one attack and look at what it printed, what it reached, and what it left behind."""
    mark = f"ellora-attack-{secrets.token_hex(6)}"
    program = f"{PRELUDE}\nT = {json.dumps(targets.targets(mark, LIMITS))}\n{attack.program}\n"
    command = [*python_command(), f"{WORK}/attack.py", mark]
    run = box.execute(command, files={"attack.py": program}, limits=LIMITS)
    printed = [line.removeprefix("ESCAPED ") for line in run.stdout.splitlines() if line.startswith("ESCAPED ")]
    told = ["told the token"] if targets.token in run.stdout else []
    return Row(attack.name, attack.goal, [*printed, *told, *targets.harm(), *_excess(run), *_left(mark)], run.status)


def _judge_forgery(box: Sandbox, forgery: Forgery, token: str) -> Row:
    passed = [f"correct by {way}" for way in forge(box, forgery, token)]
    return Row(forgery.name, forgery.goal, passed, "correct" if passed else "not correct")


def _excess(run: Run) -> list[str]:
    found = []
    if run.wall > LIMITS.wall + _SLACK:
        found.append(f"ran for {run.wall:.1f} s")
    if run.peak_memory > 1.5 * LIMITS.memory:
        found.append(f"held {run.peak_memory // MIB} MiB")
    if len(run.stdout) > LIMITS.output:
        found.append(f"wrote {len(run.stdout)} bytes")
    return found


def _left(mark: str) -> list[str]:
    """Return processes of the attack that are still there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line:
            found.append(f"left process {pid}")
    return found


def check_every_user(kind: Kind | None, *, say: Callable[[str], None]) -> dict[str, list[Row]]:
    """Run the corpus as this user and, where this is root, as an ordinary one too.

    Args:
        kind: Of isolation; None takes the best that works.
        say: Called with what cannot be checked, and at the start of each check.

    Returns:
        User -> rows, all in the same order.
    """
    box = Sandbox.of(kind)
    user = "as root" if is_root() else "as this user"
    say(f"{box.isolation.detail}: {len(ATTACKS) + len(FORGERIES)} attacks {user}")
    checked = {user: check_sandbox(box)}
    if is_root():
        say("the same as an ordinary user")
        try:
            checked["as an ordinary user"] = check_as_ordinary_user(box.isolation.kind)
        except EnvironmentProblem as problem:
            say(f"not checked as an ordinary user: {problem}")
    return checked


def check_as_ordinary_user(kind: Kind) -> list[Row]:
    """Run the corpus again from a process that is not root; for root only.

    Raises:
        EnvironmentProblem: There is no Python that an ordinary user may run, or the check failed to run.
    """
    import ellora_trust

    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    package = Path(ellora_trust.__file__).parent
    if python is None:
        raise EnvironmentProblem("there is no /usr/bin/python3 that an ordinary user may run; apt-get install python3")
    with tempfile.TemporaryDirectory(prefix="ellora-user-") as folder:
        # A checkout under /root is out of an ordinary user's reach, so the package is copied.
        shutil.copytree(package, f"{folder}/ellora_trust", ignore=shutil.ignore_patterns("*.json", "__pycache__"))
        os.chmod(folder, 0o755)
        code = f"from ellora_trust.sandbox.escape import print_rows; print_rows({kind!r})"
        done = subprocess.run(
            [python, "-c", code],
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            user=_ORDINARY,
            group=_ORDINARY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise EnvironmentProblem(f"the check as an ordinary user did not run: {done.stderr.strip().splitlines()[-1]}")
    return [Row(**row) for row in json.loads(done.stdout)]


def print_rows(kind: Kind) -> None:
    """Print the rows of this user's check as JSON: what `check_as_ordinary_user` reads."""
    json.dump([asdict(row) for row in check_sandbox(Sandbox.of(kind))], sys.stdout)
