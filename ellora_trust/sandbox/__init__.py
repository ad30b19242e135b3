"""Runs untrusted programs where they can do no harm, and refuses where it cannot.

from ellora_trust.sandbox import run
run("print(6 * 7)", language="python").stdout           # "42\\n"
"""

from __future__ import annotations

from collections.abc import Mapping

from ellora_trust.sandbox.isolation import Isolation, choose
from ellora_trust.sandbox.result import BUILD_LIMITS, MIB, Limits, Run, Status
from ellora_trust.sandbox.sandbox import Built, Sandbox

__all__ = ["BUILD_LIMITS", "MIB", "Built", "Isolation", "Limits", "Run", "Sandbox", "Status", "choose", "run"]


def run(
    program: str,
    *,
    language: str = "python",
    stdin: str | bytes = "",
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run one program in the best sandbox this machine has; see `Sandbox.run`."""
    return Sandbox().run(program, language=language, stdin=stdin, limits=limits, env=env)
