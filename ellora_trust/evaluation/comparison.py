"""`Comparison`: what a comparison found, kept whole: numbers with intervals, n and baseline, flipped items, provenance.

comparison.save(Path("runs/compare/comparison.json")); Comparison.load(path)
print("\\n".join(comparison.sentences()))
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.evaluation.judging.cost import Receipt
from ellora_trust.evaluation.judging.measures import LayerDistance
from ellora_trust.evaluation.judging.results import Attack, Noise, TaskResult, TextResult
from ellora_trust.report import write_json

SCHEMA = 1


@dataclass(frozen=True)
class CandidateResult:
    """One candidate beside the model as it is.

    Attributes:
        name: Of the candidate.
        kind: Such as "checkpoint".
        source: What was given.
        state: Identity of weights and intervention; None where it could not be told.
        revert: How to take it back.
        restored: Whether the base's weights had the same hash afterwards; None where they were never touched.
        changed_weights: Whether weights differ from the base's at all.
        tasks: Results.
        text: Unrelated text; None if the suite has none.
        layers: Distances by layer.
        attacks: What was tried to undo it; empty if the suite tries nothing.
        seconds: Wall-clock time of its evaluation.
        n_cached: Answers and verdicts that were known.
        cost: What base and candidate cost to run; None in files of earlier versions.
    """

    name: str
    kind: str
    source: str
    state: str | None
    revert: str
    restored: bool | None
    changed_weights: bool
    tasks: list[TaskResult]
    text: TextResult | None
    layers: list[LayerDistance]
    attacks: list[Attack]
    seconds: float
    n_cached: int
    cost: Receipt | None = None


@dataclass(frozen=True)
class Comparison:
    """A model, what was done to it, and what came of it.

    Attributes:
        model: Name, fingerprint, dtype and shape of the base.
        suite: What was asked.
        candidates: In the order given.
        noise: The base against itself under another way of computing.
        provenance: Versions, oracles, sandbox, probe, command.
        schema: Of the file.
    """

    model: dict[str, Any]
    suite: dict[str, Any]
    candidates: list[CandidateResult]
    noise: list[Noise]
    provenance: dict[str, str]
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write it as JSON, all or nothing.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        write_json(self.to_dict(), path)

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what `save` wrote.

        Raises:
            InputError: No such file, a damaged one, or one of a newer schema.
        """
        from probes.measuring.plain import from_plain

        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            schema = raw["schema"]
        except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{path} is no comparison ({error}); give a comparison.json of this library") from error
        if schema > SCHEMA:
            raise InputError(f"{path} has schema {schema}, this version reads up to {SCHEMA}; upgrade ellora-trust")
        return from_plain(cls, raw)

    def sentences(self) -> list[str]:
        """Return the verdicts in words."""
        from ellora_trust.evaluation.shown.verdicts import sentences

        return sentences(self)

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        from ellora_trust.evaluation.shown.page import page

        return page(self).to_markdown()
