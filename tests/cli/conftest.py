"""What the command-line tests share."""

from __future__ import annotations

import os
import sys

import pytest

from ellora_trust import cli


def run(args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run the command line in this process; returns exit code, output, errors."""
    monkeypatch.setattr(sys, "argv", ["ellora-trust", *args])
    # typer reads this once, when it first prints; here each run has its own environment.
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True if os.environ.get("FORCE_COLOR") else None)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def go(capsys, monkeypatch):
    return lambda *args: run([str(a) for a in args], capsys, monkeypatch)
