"""What an edit must pass before it is written as a checkpoint; without data for a gate, the gate fails.

results = gates(model, edit, forget, retain)
[gate.name for gate in results if not gate.passed]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.intervention import WeightChange
from unlearning.checkpoint.delta import Edit
from unlearning.checkpoint.torchao_rounding import available, stored
from unlearning.data import Item
from unlearning.sources.held_out import divide
from unlearning.training.encoding import completion_row, kept_row, scored

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_MOST = 64  # items of a side that are looked at
_FAULT = "probability of the fault"


@dataclass(frozen=True)
class Limits:
    """Where each gate closes."""

    retain: float = 0.1
    """Rise of the loss on items to keep, nats a token."""
    relearn_steps: int = 5
    """Steps of training on half of the groups to forget, after which the fault must not be back in the others."""
    relearn_rate: float = 1e-4
    """Learning rate of that training."""
    relearn_share: float = 0.5
    """What counts as back: this share of the fault's probability before the edit."""
    quantised: float = 0.05
    """Rise of the fault's probability when the weights are rounded."""

    def __post_init__(self) -> None:
        if min(self.retain, self.quantised) < 0 or self.relearn_steps < 1 or not self.relearn_rate > 0:
            raise InputError(f"{self} has a negative limit or no step; use limits of 0 or more and at least one step")


@dataclass(frozen=True)
class Gate:
    """The result of one gate.

    Attributes:
        name: Of the gate.
        passed: Whether it is open.
        value: What was measured.
        limit: What it must not exceed.
        unit: Of both.
    """

    name: str
    passed: bool
    value: float
    limit: float
    unit: str

    def __str__(self) -> str:
        state = "passed" if self.passed else "FAILED"
        return f"{self.name}: {state}, {self.value:.4g} {self.unit} (limit {self.limit:.4g})"


def gates(
    model: CodeModel,
    edit: Edit,
    forget: Sequence[Item],
    retain: Sequence[Item],
    limits: Limits | None = None,
    *,
    watch: Callable[[Gate], None] | None = None,
) -> list[Gate]:
    """Measure what needs the edited model in memory: retain bound, relearning, int8, int4, also torchao's if installed.

    Args:
        model: The edit's base; afterwards it is what it was.
        edit: What is judged.
        forget: What was to go.
        retain: What was to stay.
        limits: Where gates close.
        watch: Called with each gate as soon as it is measured.

    Raises:
        InputError: No items, or another model.
    """
    if not forget or not retain:
        raise InputError("gates need items to forget and to retain; give both, as the edit had them")
    found = []
    for gate in _measured(model, edit, forget, retain, limits or Limits()):
        found.append(gate)
        if watch is not None:
            watch(gate)
    return found


def _measured(
    model: CodeModel, edit: Edit, forget: Sequence[Item], retain: Sequence[Item], limits: Limits
) -> Iterator[Gate]:
    half, other = divide(forget, 0.5, "relearn")
    before, kept_before = fault(model, other), loss(model, retain)
    most = limits.relearn_share * before
    with edit.apply(model):
        gone = fault(model, other)
        yield _gate("forgotten", gone, most, _FAULT)
        yield _gate("retain", loss(model, retain) - kept_before, limits.retain, "nats a token")
        steps, rate = limits.relearn_steps, limits.relearn_rate
        again = relearn(model, half, steps=steps, learning_rate=rate, watch=lambda m: fault(m, other))
        yield _gate("relearn", again.curve[-1], most, _FAULT)
        for name, change in _rounded(model):
            with change.apply(model):
                rise = fault(model, other) - gone
            yield _gate(name, rise, limits.quantised, "rise in probability")


def _rounded(model: CodeModel) -> Iterator[tuple[str, WeightChange]]:
    """The model in 8 and 4 bits, simulated, and as torchao stores it where that is installed."""
    for bits in (8, 4):
        yield f"int{bits}", quantised(model, bits)
    for bits in (8, 4) if available() else ():
        yield f"int{bits} by torchao", stored(model, bits)


def _gate(name: str, value: float, limit: float, unit: str) -> Gate:
    # A comparison with nan is false, so what could not be measured fails.
    return Gate(name, bool(value <= limit), value, limit, unit)


def fault(model: CodeModel, items: Sequence[Item]) -> float:
    """Mean probability of the tokens that shall go, [0, 1]."""
    return float(scored(model, [completion_row(model, item) for item in items[:_MOST]], "bad")[0].exp().mean())


def loss(model: CodeModel, items: Sequence[Item]) -> float:
    """Cross-entropy of what shall stay, nats a token."""
    return -float(scored(model, [kept_row(model, item) for item in items[:_MOST]], "targets")[0].mean())
