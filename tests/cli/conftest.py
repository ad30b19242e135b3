"""What the command-line tests share."""

from __future__ import annotations

import sys

import pytest

from ellora_trust import cli


def run(args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run the command line in this process; returns exit code, output, errors."""
    monkeypatch.setattr(sys, "argv", ["ellora-trust", *args])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def go(capsys, monkeypatch):
    return lambda *args: run([str(a) for a in args], capsys, monkeypatch)
