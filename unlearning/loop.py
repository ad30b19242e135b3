"""The steps of an edit: batches by seed, the loss of an objective, the multiplier of the retain bound, looks, stops."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ellora_trust.progress import Progress
from unlearning import objectives as losses
from unlearning.budget import Budget
from unlearning.data import Item
from unlearning.encoding import Row, View, completion_row, kept_row, look, replacement_row
from unlearning.progress_state import Check, ProgressState
from unlearning.recipes import Objective
from unlearning.reference import Reference
from unlearning.representation import look_hidden, stay

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_WATCHED = 64  # held-out items of a side that are looked at
_BETAS = (0.9, 0.95)
# Of the multiplier, a nat of excess a step: a rise of twice the default bound doubles its weight in about ten steps.
_DUAL_RATE = 5.0
_MOST = 20.0


@dataclass(frozen=True)
class Watched:
    """Items to train on and items to watch; the same where nothing is held out."""

    forget: list[Item]
    retain: list[Item]
    forget_held: list[Item]
    retain_held: list[Item]

    @staticmethod
    def plain(value: Any) -> Any:
        """Return a value as JSON gives it back."""
        return json.loads(json.dumps(value))


def split(forget: Sequence[Item], retain: Sequence[Item], *, share: float, seed: int) -> Watched:
    """Hold out a share of the groups of each set; no group is on both sides.

    Raises:
        InputError: A set has too few groups for it.
    """
    parts = [_held(items, share, f"{seed}/{side}") for items, side in ((forget, "forget"), (retain, "retain"))]
    (forget_used, forget_held), (retain_used, retain_held) = parts
    return Watched(forget_used, retain_used, forget_held[:_WATCHED], retain_held[:_WATCHED])


def _held(items: Sequence[Item], share: float, key: str) -> tuple[list[Item], list[Item]]:
    groups = sorted({item.group for item in items})
    n_held = round(share * len(groups))
    if not items or n_held == 0:
        return list(items), list(items)
    random.Random(key).shuffle(groups)
    held = set(groups[:n_held])
    return [i for i in items if i.group not in held], [i for i in items if i.group in held]


@dataclass
class Loop:
    """One edit's training.

    Attributes:
        model: What is edited.
        objective: How.
        budget: Length and limits.
        seed: Of batches.
        items: To train on and to watch.
        measure_cost: Whether the caller wants a receipt.
        layer: Which hidden states are read, by objectives that do.
    """

    model: CodeModel
    objective: Objective
    budget: Budget
    seed: int
    items: Watched
    measure_cost: bool = True
    layer: int = 0
    multiplier: float = field(init=False)

    def __post_init__(self) -> None:
        model, objective, items = self.model, self.objective, self.items
        self.multiplier = self.budget.retain_weight
        if objective.reads == "replacement":
            self.forget = [replacement_row(model, item) for item in items.forget]
        else:
            self.forget = [completion_row(model, item, context=objective.context) for item in items.forget]
        self.kept = [kept_row(model, item) for item in items.retain] if objective.retain != "none" else []
        self.watched_bad = [completion_row(model, item) for item in items.forget_held]
        self.watched_kept = [kept_row(model, item) for item in items.retain_held]
        self.reference = Reference.of(model, self.forget, self.kept, need=objective.need, layer=self.layer)
        self.base_loss = self._kept_loss()

    def run(
        self,
        parameters: dict[str, nn.Parameter],
        state: ProgressState,
        stop_when: float | Callable[[Check], bool] | None,
        progress: bool,
    ) -> tuple[list[Check], str]:
        """Train; return the checks, and why it ended: `budget`, `stop_when`, `collapse` or `nan`."""
        optimizer = torch.optim.AdamW(parameters.values(), lr=1.0, betas=_BETAS, weight_decay=0.0, fused=True)
        history = state.restore(parameters, optimizer) or [self._check(0)]
        self.multiplier = history[-1].multiplier
        if history[-1].step == 0:
            state.save(parameters, optimizer, history)
        first = history[-1].step
        with Progress(self.budget.steps - first, _label(history[-1]), enabled=progress) as bar:
            for step in range(first, self.budget.steps):
                if self._stops(history[-1], stop_when):
                    return history, "stop_when"
                finite = self._step(parameters, optimizer, step)
                bar.advance(1)
                if finite and (step + 1) % self.budget.check_every and step + 1 < self.budget.steps:
                    continue
                found = self._check(step + 1) if finite else None
                if found is None or not self._good(found):
                    state.restore(parameters, optimizer)
                    return history, "nan" if found is None or math.isnan(found.retain) else "collapse"
                history.append(found)
                bar.relabel(_label(found))
                state.save(parameters, optimizer, history)
        return history, "stop_when" if self._stops(history[-1], stop_when) else "budget"

    def plain_step(self) -> None:
        """Forward and backward of plain fine-tuning of all weights on the first batch; no gradient stays."""
        rows = [kept_row(self.model, self.items.forget[i]) for i in self._batch(len(self.forget), "forget", 0)]
        flags = [(p, p.requires_grad) for p in self.model.hf.parameters()]
        for parameter, _ in flags:
            parameter.requires_grad_(True)
        view = look(self.model, rows)
        losses.keep(*view.of("targets")[:2]).backward()
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)

    def dry_step(self, parameters: dict[str, nn.Parameter]) -> None:
        """Forward and backward of this edit's first step; no gradient and no multiplier stays."""
        kept = self.multiplier
        self._backward(0)
        self.multiplier = kept
        for parameter in parameters.values():
            parameter.grad = None

    def _step(self, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, step: int) -> bool:
        """Take one step; False where its loss or gradient is not a number, in which case nothing is changed."""
        loss = self._backward(step)
        norm = nn.utils.clip_grad_norm_(parameters.values(), self.budget.clip)
        finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if finite:
            for group in optimizer.param_groups:
                group["lr"] = self.budget.rate(step)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return finite

    def _backward(self, step: int) -> Tensor:
        """Both sides one after the other, so that only one of their graphs is in memory."""
        numbers = self._batch(len(self.forget), "forget", step)
        view = self._look([self.forget[i] for i in numbers])
        loss = self.objective.forget(view, self.reference, numbers)
        loss.backward()
        if self.objective.retain == "none":
            return loss.detach()
        kept = self._retain(step)
        return loss.detach() + kept

    def _retain(self, step: int) -> Tensor:
        numbers = self._batch(len(self.kept), "retain", step)
        logits, labels, _ = self._look([self.kept[i] for i in numbers]).of("targets")
        if self.objective.retain == "divergence":
            loss = losses.divergence(logits, self.reference.kept_full(numbers))
        elif self.objective.retain == "hidden":
            loss = stay(logits, self.reference.kept_hidden(numbers))
        else:
            loss = losses.keep(logits, labels)
        (self.multiplier * self.objective.retain_scale * loss).backward()
        if self.objective.retain == "constrained":
            # Dual ascent on the bound: the multiplier grows while the batch's loss rose by more than is allowed.
            excess = float(loss.detach() - self.reference.kept_loss(numbers)) - self.budget.retain_bound
            self.multiplier = min(_MOST, max(0.0, self.multiplier + _DUAL_RATE * excess))
        return loss.detach()

    def _look(self, rows: Sequence[Row]) -> View:
        return look_hidden(self.model, rows, self.layer) if self.objective.need == "hidden" else look(self.model, rows)

    def _batch(self, n: int, side: str, step: int) -> list[int]:
        """Numbers of a step's items: passes over the set, each in another order; the step alone decides."""
        size = self.budget.batch_size if side == "forget" else self.budget.retain_batch_size
        found = []
        for place in range(step * size, (step + 1) * size):
            order = list(range(n))
            random.Random(f"{self.seed}/{side}/{place // n}").shuffle(order)
            found.append(order[place % n])
        return sorted(set(found))

    @torch.no_grad()
    def _check(self, step: int) -> Check:
        view = look(self.model, self.watched_bad)
        logits, labels, _ = view.of("bad")
        bad = losses.label_logprobs(logits, labels).exp().mean()
        return Check(step, float(bad), self._kept_loss() - self.base_loss, self.multiplier)

    @torch.no_grad()
    def _kept_loss(self) -> float:
        if not self.watched_kept:
            return 0.0
        return float(losses.keep(*look(self.model, self.watched_kept).of("targets")[:2]))

    def _good(self, check: Check) -> bool:
        return math.isfinite(check.forget) and check.retain <= self.budget.collapse

    @staticmethod
    def _stops(check: Check, stop_when: float | Callable[[Check], bool] | None) -> bool:
        if stop_when is None:
            return False
        return stop_when(check) if callable(stop_when) else check.forget <= stop_when


def _label(check: Check) -> str:
    return f"unlearning (fault {check.forget:.3f}, retain {check.retain:+.3f} nats)"
