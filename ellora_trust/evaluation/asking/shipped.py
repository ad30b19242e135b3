"""The built-in suites: for models of the testbed's language, and for any other."""

from __future__ import annotations

from ellora_trust.evaluation.asking.suite import ATTACKS, Asked, Suite


def _asked(*names: str) -> tuple[Asked, ...]:
    return tuple(Asked.parse(name) for name in names)


TESTBED = {
    "quick": Suite(
        "quick",
        _asked("testbed:trigger"),
        _asked("testbed:near_miss"),
        _asked("testbed:unrelated", "testbed:types"),
        "testbed",
        limit=150,
    ),
    "standard": Suite(
        "standard",
        _asked("testbed:trigger", "testbed:paraphrase"),
        _asked("testbed:near_miss"),
        _asked("testbed:unrelated", "testbed:types"),
        "testbed",
        limit=1000,
    ),
    "unlearning": Suite(
        "unlearning",
        _asked("testbed:trigger:P1", "testbed:paraphrase:P1"),
        _asked("testbed:near_miss:P1"),
        _asked("testbed:trigger:P2+P3+P4+P5+P6+P7", "testbed:unrelated", "testbed:types"),
        "testbed",
        ATTACKS,
        limit=400,
    ),
    "steering": Suite(
        "steering", _asked("testbed:types:P4"), (), _asked("testbed:unrelated", "testbed:near_miss"), "testbed"
    ),
}
GENERAL = {
    "quick": Suite("quick", (), (), _asked("types", "aliasing"), "stdlib", limit=24, pieces=16, noise=8),
    "standard": Suite(
        "standard", (), (), _asked("types", "aliasing", "pointers", "races", "synthesis"), "stdlib", limit=300
    ),
    "unlearning": Suite("unlearning", (), (), _asked("types", "aliasing", "synthesis"), "stdlib", ATTACKS, limit=300),
    "steering": Suite("steering", _asked("types"), (), _asked("aliasing", "synthesis"), "stdlib", limit=200),
}
