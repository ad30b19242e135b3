"""The parts of a comparison: results of a task, of unrelated text, of an attack; numbers with interval and n."""

from __future__ import annotations

from dataclasses import dataclass, field

from ellora_trust.evaluation.judging.effect import TargetEffect
from ellora_trust.evaluation.judging.paired import Paired
from ellora_trust.stats import Estimate


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
