"""Decides TypeScript answers: by normal form, and where that differs by what tsc proves, if tsc is installed.

SecondOpinion(Path("src")).decide(example, " Id")     # Outcome.CORRECT where tsc proves `Id` and the answer the same
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.types.sources import text_at
from ellora_trust.tasks.types.typescript.compiler import installed, proven_same, tsc_accepts, tsc_version
from ellora_trust.tasks.types.typescript.normal import leading_annotation, normalise


class SecondOpinion:
    """The oracle of TypeScript questions.

    It is the same as for Python without tsc: one normal form or wrong. With tsc, what it proves identical is correct
    too. It never makes a correct answer wrong, and what the code merely accepts (`any`, a wider type) stays wrong.
    """

    def __init__(self, source: Path | None, box: Sandbox | None = None) -> None:
        """Remember where the code is, and where tsc may run; None makes a sandbox when it is first to run."""
        self._source = source
        self._box = box
        self._sound: dict[str, str | None] = {}
        self._proofs: dict[tuple[str, str, str], bool] = {}

    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide one completion; what is no type is wrong."""
        given = normalise(leading_annotation(completion) or "")
        answer = normalise(example.answer or "")
        if given is None or answer is None:
            return Outcome.WRONG
        right = given == answer or self._proven(str(example.meta["path"]), given, answer)
        return Outcome.CORRECT if right else Outcome.WRONG

    def oracle(self) -> dict[str, str]:
        """Return the version of tsc and the isolation it runs in, or why it has no say."""
        if not installed():
            return {"tsc": "not installed"}
        if self._sandbox is None:
            return {"tsc": "not used, for this machine cannot isolate it"}
        return {"tsc": tsc_version(self._sandbox) or "not used", "isolation": self._sandbox.isolation.detail}

    def _proven(self, path: str, given: str, answer: str) -> bool:
        key = (path, given, answer)
        if key not in self._proofs:
            text = self._sound_text(path)
            self._proofs[key] = bool(text and self._sandbox and proven_same(text, given, answer, self._sandbox))
        return self._proofs[key]

    def _sound_text(self, path: str) -> str | None:
        """Return a file's text if tsc takes it by itself; most files import others and can prove nothing."""
        if path not in self._sound:
            able = self._source is not None and installed() and self._sandbox is not None
            text = text_at(self._source, path) if able and self._source else None
            self._sound[path] = text if text and self._sandbox and tsc_accepts(text, self._sandbox) else None
        return self._sound[path]

    @cached_property
    def _sandbox(self) -> Sandbox | None:
        try:
            return self._box or Sandbox()
        except EnvironmentProblem:
            return None
