"""The escape corpus: nothing gets out of the sandbox, and without it the attacks do work."""

from __future__ import annotations

import os

import pytest

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Sandbox, choose
from ellora_trust.sandbox.arena import arena
from ellora_trust.sandbox.attacks import ATTACKS
from ellora_trust.sandbox.escape import check_as_ordinary_user, check_sandbox, judge
from ellora_trust.sandbox.forgeries import FORGERIES, Forgery, forge

HARMLESS = [attack for attack in ATTACKS if attack.harmless]
TOKEN = "token-0123456789abcdef0123456789abcdef"


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [one.name for one in (*ATTACKS, *FORGERIES)]
    assert len(names) == len(set(names)) >= 50


def test_no_attack_gets_out_as_this_user() -> None:
    rows = check_sandbox(Sandbox())
    assert len(rows) == len(ATTACKS) + len(FORGERIES)
    assert {row.name: row.escaped for row in rows if row.escaped} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user; the test above is one's own")
@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
def test_no_attack_gets_out_as_an_ordinary_user(kind: str) -> None:
    rows = check_as_ordinary_user(kind)  # pyright: ignore[reportArgumentType]
    assert len(rows) == len(ATTACKS) + len(FORGERIES)
    assert {row.name: row.escaped for row in rows if row.escaped} == {}


def test_no_attack_gets_out_of_bare_namespaces() -> None:
    rows = check_sandbox(Sandbox.of("namespaces"))
    assert {row.name: row.escaped for row in rows if row.escaped} == {}


@pytest.mark.parametrize("attack", HARMLESS, ids=lambda attack: attack.name)
def test_without_isolation_the_attack_works(attack) -> None:
    """What cannot succeed anywhere proves nothing where it fails."""
    if os.geteuid() != 0 and attack.name in ("memory-proc", "memory-vm", "proc-root", "home"):
        pytest.skip("an ordinary user may be kept from this by the machine itself")
    with arena() as targets:
        assert judge(Sandbox(choose("none")), attack, targets).escaped


def test_an_honest_program_passes_every_way_to_a_verdict() -> None:
    assert forge(Sandbox(), Forgery("honest", "", f"def secret(x): return {TOKEN!r}"), TOKEN) == ["call", "check"]
    value = int.from_bytes(TOKEN[-7:].encode())
    honest = Forgery("honest", "", f"long secret(long x) {{ return {value}L; }}", "c")
    assert forge(Sandbox(), honest, TOKEN) == ["pipe"]


def test_the_corpus_is_never_run_without_a_sandbox() -> None:
    with pytest.raises(EnvironmentProblem, match="in a sandbox only"):
        check_sandbox(Sandbox(choose("none")))
