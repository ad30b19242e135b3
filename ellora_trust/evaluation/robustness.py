"""Does a change of weights survive what happens to weights: rounding to few bits, and further training?

    with edit.apply(model), quantised(model, bits=4).apply(model): model.generate(prompts)
    found = relearn(model, items, steps=50, learning_rate=1e-4, watch=share_of_faults)
    found = relearn(model, items, steps=50, learning_rate=1e-3, watch=share_of_faults, rank=8)      # LoRA
    found.curve, found.steps_to(0.5)

Both leave the model as they found it; what they make is an intervention.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from ellora_trust.batching import Row, tokenize
from ellora_trust.errors import InputError
from ellora_trust.evaluation.lasting.low_rank import adapters
from ellora_trust.intervention import WeightChange
from ellora_trust.positions import Passage
from ellora_trust.precision import need_float

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_GROUP = 64  # weights that share a scale, as in common 4-bit formats (32 to 128)
_IGNORED = -100


class Text(Protocol):
    """Something with a prompt and what shall follow it."""

    @property
    def prompt(self) -> str: ...
    @property
    def completion(self) -> str: ...


def quantised(model: CodeModel, bits: int, *, group: int = _GROUP) -> WeightChange:
    """Return the model's linear layers rounded to `bits`, simulated: symmetric, to nearest, a scale for each group.

    Embeddings, norms and a head that is tied to the embedding stay, as usual.

    Args:
        model: In the state that is to be rounded.
        bits: 2 to 8.
        group: Weights of a row that share a scale, >= 1.

    Raises:
        InputError: A setting out of range, or weights that are quantised already.
    """
    need_float(model, f"rounding to {bits} bits")
    if not 2 <= bits <= 8 or group < 1:
        raise InputError(f"bits={bits}, group={group} are out of range; use bits 2..8 and a group of 1 or more")
    tied = {id(p) for module in model.hf.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    weights: dict[str, Tensor] = {}
    for name, module in model.hf.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and id(module.weight) not in tied:
            weights[f"{name}.weight"] = module.weight.detach()
    return WeightChange({name: _rounded(weight, bits, group) for name, weight in weights.items()})


def _rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    most = 2 ** (bits - 1) - 1
    parts = []
    for part in weight.float().split(group, dim=-1):
        scale = part.abs().amax(-1, keepdim=True).clamp_min(1e-12) / most
        parts.append((part / scale).round().clamp(-most - 1, most) * scale)
    return torch.cat(parts, -1).to(weight.dtype)


@dataclass(frozen=True)
class Relearned:
    """A model trained further.

    Attributes:
        curve: What was watched before the first step and after each, as far as training went.
        change: The weights afterwards.
    """

    curve: list[float]
    change: WeightChange

    def steps_to(self, level: float) -> int | None:
        """First number of steps at which the curve reaches a level; None where it did not."""
        return next((step for step, value in enumerate(self.curve) if value >= level), None)


def relearn(
    model: CodeModel,
    items: Sequence[Text],
    *,
    steps: int,
    learning_rate: float,
    watch: Callable[[CodeModel], float],
    stop_at: float | None = None,
    batch_size: int = 8,
    rank: int | None = None,
    seed: int = 0,
) -> Relearned:
    """Train a model on items, as an attacker or a later fine-tuning would, and watch what comes back.

    Args:
        model: In the state that is attacked; afterwards it is what it was, bit for bit.
        items: What it is trained on: the completions after their prompts.
        steps: Of AdamW at most.
        learning_rate: Constant; adapters need about ten times that of all weights.
        watch: Any number of the model; called before the first step and after each.
        stop_at: Stop once the watched number reaches this.
        batch_size: Items in a step.
        rank: Train low-rank adapters (LoRA) of this rank beside the blocks' linear layers; all weights if None.
        seed: Of the order and of the adapters.

    Raises:
        InputError: No item, a setting out of range, or quantised weights where all are to be trained.
    """
    if rank is None:
        need_float(model, "training all weights further")
    if not items or steps < 1 or batch_size < 1 or not learning_rate > 0:
        raise InputError(
            f"{len(items)} items, steps={steps}, batch_size={batch_size}, learning_rate={learning_rate}: give at least "
            "one of each and a rate above 0"
        )
    rows = [tokenize(model, Passage(one.prompt, one.completion), number=i) for i, one in enumerate(items)]
    plan = _Plan(steps, learning_rate, watch, stop_at, batch_size, seed)
    with _frozen(model):
        if rank is not None:
            with adapters(model, rank=rank, seed=seed) as found:
                return Relearned(_train(model, rows, found.parameters(), plan), found.change())
        with _all_weights(model) as parameters:
            curve = _train(model, rows, list(parameters.values()), plan)
            return Relearned(curve, WeightChange({name: one.detach().clone() for name, one in parameters.items()}))


@contextmanager
def _frozen(model: CodeModel) -> Iterator[None]:
    """Let no weight want a gradient, and give each its own wish back."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.hf.parameters()]
    model.hf.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None


@contextmanager
def _all_weights(model: CodeModel) -> Iterator[dict[str, nn.Parameter]]:
    """Yield all weights to be trained, and put the old bytes back."""
    parameters = dict(model.hf.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    model.hf.requires_grad_(True)
    try:
        yield parameters
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])


@dataclass(frozen=True)
class _Plan:
    """How a training runs; see `relearn`."""

    steps: int
    learning_rate: float
    watch: Callable[[CodeModel], float]
    stop_at: float | None
    batch_size: int
    seed: int


def _train(model: CodeModel, rows: list[Row], trained: list[nn.Parameter], plan: _Plan) -> list[float]:
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=0.0)
    rng = random.Random(plan.seed)
    curve, waiting = [plan.watch(model)], []
    while len(curve) <= plan.steps and (plan.stop_at is None or curve[-1] < plan.stop_at):
        if len(waiting) < min(plan.batch_size, len(rows)):
            waiting += rng.sample(rows, len(rows))
        batch, waiting = waiting[: plan.batch_size], waiting[plan.batch_size :]
        _loss(model, batch).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        curve.append(plan.watch(model))
    return curve


def _loss(model: CodeModel, batch: Sequence[Row]) -> Tensor:
    """Mean cross-entropy of the completions, in nats a token; padded on the right."""
    width = max(len(row.ids) for row in batch)
    ids = torch.tensor([[*r.ids, *[model.pad_id] * (width - len(r.ids))] for r in batch], device=model.device)
    mask = torch.tensor([[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in batch], device=model.device)
    places = torch.arange(width, device=model.device)[None]
    first = torch.tensor([[r.n_prompt] for r in batch], device=model.device)
    labels = ids.masked_fill((mask == 0) | (places < first), _IGNORED)
    logits = model.hf(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED)
