"""Which isolation is chosen: bubblewrap where it works, else namespaces, else a refusal that helps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import isolation, namespaces
from ellora_trust.sandbox.isolation import choose
from ellora_trust.sandbox.jail import next_uid

BROKEN = "#!/bin/sh\necho bwrap: no permission >&2\nexit 1\n"
which = shutil.which


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    """What was found out with another PATH is forgotten before and after."""
    isolation._tried.cache_clear()
    yield
    isolation._tried.cache_clear()


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **options: None if name == "bwrap" else which(name, **options))


def test_bubblewrap_is_taken_where_it_works() -> None:
    if which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    assert choose().kind == "bubblewrap"


@pytest.mark.usefixtures("no_bubblewrap")
def test_namespaces_are_taken_where_bubblewrap_is_missing() -> None:
    assert choose().kind == "namespaces"
    with pytest.raises(EnvironmentProblem, match="bubblewrap is not installed"):
        choose("bubblewrap")


def test_namespaces_are_taken_where_bubblewrap_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bwrap").write_text(BROKEN)
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert choose().kind == "namespaces"
    with pytest.raises(EnvironmentProblem, match="bwrap: no permission"):
        choose("bubblewrap")


@pytest.mark.usefixtures("no_bubblewrap")
def test_a_machine_with_neither_is_refused_and_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = "namespaces: cannot make a user and a pid namespace: Operation not permitted (EPERM, errno 1)"
    line = ["/bin/sh", "-c", f"echo '{refused}' >&2; exit 125"]
    monkeypatch.setattr(namespaces, "command", lambda *_, **__: line)
    with pytest.raises(EnvironmentProblem, match=r"apt-get install bubblewrap libseccomp2") as caught:
        choose()
    assert "bubblewrap is not installed" in str(caught.value)
    assert refused in str(caught.value)


def test_processes_that_run_at_once_share_no_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit on processes counts all of a uid's, so one run's fork bomb would end another's honest program.
    taken = []
    for pid in (1000, 1001):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        taken.append({next_uid() for _ in range(40)})
    assert not taken[0] & taken[1]
    assert all(60_100 <= uid < 64_900 for uid in taken[0] | taken[1])
    assert [len(uids) for uids in taken] == [40, 40]
