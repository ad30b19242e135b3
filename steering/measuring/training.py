"""A patch trained to make the right answers likely: rank one, one direction a layer, through the sweep's shared prefix.

    patch = train_patch(model, questions, cell.patch(mean_differences), seed=0)

It is what ReFT-r1 trains (Wu et al. 2025, arXiv:2501.17148, section 3: a rank-one intervention with the language-model
loss), without its gate: the direction is added always, at the prompt's last token only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ellora_trust.progress import Progress
from steering.sweep import Patch, Reading, patched_logits

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.measuring.trials import Question

EPOCHS = 3
BATCH = 8
# Of the root mean square of the first direction: some tens of steps can turn it, not replace it at once.
RATE = 0.05


def train_patch(
    model: CodeModel, questions: Sequence[Question], start: Patch, *, seed: int = 0, progress: bool = False
) -> Patch:
    """Return a patch at the same layers with less loss on these questions.

    Adam, 3 epochs in batches of 8, a constant rate of 0.05 times the root mean square of the start.

    Args:
        model: The model; its weights stay as they are.
        questions: Prompts with their right answers.
        start: Where training begins.
        seed: Of the order.
        progress: Show a progress bar.
    """
    readings = [Reading.of(model, one.prompt, one.target) for one in questions]
    deltas = start.deltas.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([deltas], lr=RATE * float(start.deltas.square().mean().sqrt()))
    rng = random.Random(seed)
    with Progress(EPOCHS * len(readings), "training directions", enabled=progress) as bar:
        for _ in range(EPOCHS):
            order = rng.sample(readings, len(readings))
            for first in range(0, len(order), BATCH):
                batch = order[first : first + BATCH]
                gradient = torch.zeros_like(deltas)
                for reading in batch:
                    loss = answer_loss(model, reading, Patch(start.start, deltas))
                    gradient += torch.autograd.grad(loss, deltas)[0]
                    bar.advance(1)
                deltas.grad = gradient / len(batch)
                optimizer.step()
    return Patch(start.start, deltas.detach())


def answer_loss(model: CodeModel, reading: Reading, patch: Patch) -> Tensor:
    """Return -log p of the reading's answer under a patch, in nats."""
    answer = torch.tensor(reading.answer, device=model.device)
    with torch.enable_grad():
        logits = patched_logits(model, reading, [patch])[0]
        return torch.nn.functional.cross_entropy(logits, answer, reduction="sum")
