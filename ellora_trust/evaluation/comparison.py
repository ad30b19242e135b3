"""`Comparison`: what a comparison found, kept whole: numbers with intervals, n and baseline, flipped items, provenance.

comparison.save(Path("runs/compare/comparison.json")); Comparison.load(path)
print("\\n".join(comparison.sentences()))
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.evaluation.effect import TargetEffect
from ellora_trust.evaluation.measures import LayerDistance
from ellora_trust.evaluation.paired import Paired
from ellora_trust.report import write_json
from ellora_trust.stats import Estimate

SCHEMA = 1


@dataclass(frozen=True)
class Flip:
    """One item whose verdict changed between right and wrong.

    Attributes:
        id: Of the item.
        prompt: What was asked.
        before: The answer before.
        after: The answer after.
        outcome_before: Verdict before.
        outcome_after: Verdict after.
        reference: Reference answer, if there is one.
    """

    id: str
    prompt: str
    before: str
    after: str
    outcome_before: str
    outcome_after: str
    reference: str | None = None

    @property
    def fixed(self) -> bool:
        return self.outcome_after == "correct"


@dataclass(frozen=True)
class Noise:
    """What changes on the same items where nothing but the machine's doing differs.

    Attributes:
        variant: What differs, such as "one row a batch".
        task: Name; "text" for unrelated text.
        n: Items, or prompts of unrelated text.
        difference: Change of the share of right answers; of bits per byte for text.
        flipped: Items whose verdict changed; for text, prompts whose likeliest next token changed.
    """

    variant: str
    task: str
    n: int
    difference: float
    flipped: int


@dataclass(frozen=True)
class Calibrated:
    """Whether a stated probability means what it says, before and after.

    Attributes:
        of: Whose probability: "answers" (geometric mean over tokens, of being right) or "error predictor" (of being
            wrong).
        before: Name ("ece", "brier", and "auroc" of the predictor) to estimate.
        after: The same after.
        change: After minus before on the same items.
    """

    of: str
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    change: dict[str, Estimate]


@dataclass(frozen=True)
class TaskResult:
    """One task before and after.

    Attributes:
        task: Name.
        role: target, near_miss or collateral.
        n: Items that were decided both times.
        n_groups: Groups among them.
        n_undecided: Items left out, since they were flaky or undecided once.
        outcomes_before: Outcome to count, over all items.
        outcomes_after: The same after.
        paired: The comparison.
        effect: What became of the items wrong before, on targets.
        calibration: Of the answers' probability, and of an error predictor.
        flips: Items whose verdict changed, at most `MAX_FLIPS` each way.
        data: sha256 over ids and prompts.
    """

    task: str
    role: str
    n: int
    n_groups: int
    n_undecided: int
    outcomes_before: dict[str, int]
    outcomes_after: dict[str, int]
    paired: Paired
    effect: TargetEffect | None
    calibration: list[Calibrated]
    flips: list[Flip]
    data: str


@dataclass(frozen=True)
class TextResult:
    """Unrelated text before and after.

    Attributes:
        source: Of the text.
        n: Pieces.
        before: Bits per byte, lower is better.
        after: The same after.
        change: Relative change of bits per byte; 0.01 is one per cent more bits.
        kl: KL divergence (before to after) of the next token after unrelated prompts, in nats.
        agreement: Share of these prompts whose likeliest next token stays.
        data: sha256 over the pieces.
    """

    source: str
    n: int
    before: Estimate
    after: Estimate
    change: Estimate
    kl: Estimate
    agreement: Estimate
    data: str


@dataclass(frozen=True)
class Attack:
    """One attempt to bring back what was removed, or to break what was fixed.

    Attributes:
        name: Of the attack.
        task: The target it was tried on.
        what: What was done, in a sentence.
        n: Items.
        before: Share of faulty answers of the base under the attack.
        after: Share of faulty answers of the candidate under it.
        unattacked: Share of faulty answers of the candidate without it.
        recovery: after - unattacked on the same items.
        curve: (steps, draws or bits; share of faulty answers) where the attack has a strength.
    """

    name: str
    task: str
    what: str
    n: int
    before: Estimate
    after: Estimate
    unattacked: Estimate
    recovery: Estimate
    curve: list[tuple[float, float]] = field(default_factory=list)


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
        from ellora_trust.evaluation.verdicts import sentences

        return sentences(self)

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        from ellora_trust.evaluation.page import page

        return page(self).to_markdown()
