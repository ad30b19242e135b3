"""The steps of an edit: batches by seed, the loss of an objective, the multiplier of the retain bound, looks, stops."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ellora_trust.progress import Progress
from unlearning import objectives as losses
from unlearning.data import Item
from unlearning.recipes import Objective
from unlearning.sources.contexts import contexts
from unlearning.sources.held_out import Watched
from unlearning.training.budget import Budget
from unlearning.training.encoding import Row, View, completion_row, descend, kept_row, look, replacement_row, scored
from unlearning.training.progress_state import Check, ProgressState
from unlearning.training.reference import Reference
from unlearning.training.representation import look_hidden, stay
from unlearning.training.robust import Robust, rounded, worst_nearby
from unlearning.training.trainable import Trainable

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_BETAS = (0.9, 0.95)
# Of the multiplier, a nat of excess a step: a rise of twice the default bound doubles its weight in about ten steps.
_DUAL_RATE = 5.0
_MOST = 20.0


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
        robust: How gradients are taken, where not plainly.
        damaged: Whether it starts from damaged weights, so that only its last check can be a collapse.
    """

    model: CodeModel
    objective: Objective
    budget: Budget
    seed: int
    items: Watched
    measure_cost: bool = True
    layer: int = 0
    robust: Robust | None = None
    damaged: bool = False
    multiplier: float = field(init=False)

    def __post_init__(self) -> None:
        model, objective, items, seed = self.model, self.objective, self.items, self.seed
        self.multiplier = self.budget.retain_weight
        self.forget = [self._row(item) for item in items.forget]
        self.beside = [completion_row(model, item) for item in items.forget] if objective.reads == "both" else []
        self.kept = [kept_row(model, item) for item in items.retain] if objective.retain != "none" else []
        self.watched_bad = [completion_row(model, item) for item in items.forget_held]
        self.watched_kept = [kept_row(model, item) for item in items.retain_held]
        around = contexts(model, items.forget, self.forget) if objective.need == "contexts" else ()
        # What a student follows are kept texts, all of whose tokens count.
        sides = ([], self.forget) if objective.reads == "kept" else (self.forget, self.kept)
        self.reference = Reference.of(model, *sides, need=objective.need, layer=self.layer, contexts=around, seed=seed)
        self.base_loss = self._kept_loss()

    def _row(self, item: Item) -> Row:
        if self.objective.reads in ("replacement", "both"):
            return replacement_row(self.model, item)
        if self.objective.reads == "kept":
            return kept_row(self.model, item)
        return completion_row(self.model, item, context=self.objective.context)

    def run(
        self,
        weights: Trainable,
        state: ProgressState,
        stop_when: float | Callable[[Check], bool] | None,
        progress: bool,
    ) -> tuple[list[Check], str]:
        """Train; return the checks, and why it ended: `budget`, `stop_when`, `collapse` or `nan`."""
        parameters = weights.parameters
        optimizer = torch.optim.AdamW(parameters.values(), lr=1.0, betas=_BETAS, weight_decay=0.0, fused=True)
        history = state.restore(parameters, optimizer) or [self._check(weights, 0)]
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
                found = self._check(weights, step + 1) if finite else None
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
        self._backward(parameters, 0)
        self.multiplier = kept
        for parameter in parameters.values():
            parameter.grad = None

    def _step(self, parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, step: int) -> bool:
        """Take one step; False where its loss or gradient is not a number, in which case nothing is changed."""
        loss = self._backward(parameters, step)
        norm = nn.utils.clip_grad_norm_(parameters.values(), self.budget.clip)
        finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if finite:
            for group in optimizer.param_groups:
                group["lr"] = self.budget.rate(step)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return finite

    def _backward(self, parameters: dict[str, nn.Parameter], step: int) -> Tensor:
        """Both sides one after the other, so that only one of their graphs is in memory."""
        with rounded(self.model, self.robust):
            loss = self._forget(step)
            if self.robust is not None and self.robust.mode == "sam":
                with worst_nearby(parameters, self.robust.rho):
                    loss = self._forget(step)
            return loss if self.objective.retain == "none" else loss + self._retain(step)

    def _forget(self, step: int) -> Tensor:
        numbers = self._batch(len(self.forget), "forget", step)
        beside = [self.beside[i] for i in numbers] if self.beside else []
        view = self._look([self.forget[i] for i in numbers] + beside)
        return descend(view, lambda logits: self.objective.forget(logits, self.reference, numbers))

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
        places = range(step * size, (step + 1) * size)
        orders = {number: self._order(n, side, number) for number in {place // n for place in places}}
        return sorted({orders[place // n][place % n] for place in places})

    def _order(self, n: int, side: str, number: int) -> list[int]:
        """The order of one pass."""
        order = list(range(n))
        random.Random(f"{self.seed}/{side}/{number}").shuffle(order)
        return order

    def _check(self, weights: Trainable, step: int) -> Check:
        """Look at the model that the edit would make of these weights."""
        with weights.subtracted(self.objective.subtract):
            bad = scored(self.model, self.watched_bad, "bad")[0].exp().mean()
            return Check(step, float(bad), self._kept_loss() - self.base_loss, self.multiplier)

    def _kept_loss(self) -> float:
        return -float(scored(self.model, self.watched_kept, "targets")[0].mean()) if self.watched_kept else 0.0

    def _good(self, check: Check) -> bool:
        may_be_bad = self.damaged and check.step < self.budget.steps
        return math.isfinite(check.forget) and (may_be_bad or check.retain <= self.budget.collapse)

    @staticmethod
    def _stops(check: Check, stop_when: float | Callable[[Check], bool] | None) -> bool:
        if stop_when is None:
            return False
        return stop_when(check) if callable(stop_when) else check.forget <= stop_when


def _label(check: Check) -> str:
    return f"unlearning (fault {check.forget:.3f}, retain {check.retain:+.3f} nats)"
