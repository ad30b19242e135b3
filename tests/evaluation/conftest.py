"""What the tests of a comparison share."""

from __future__ import annotations

import pytest
from echo_task import Echo

from ellora_trust.evaluation.asking.suite import Asked


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """Every suite's task is this one."""
    task = Echo()
    monkeypatch.setattr(Asked, "load", lambda self: task)
    return task
