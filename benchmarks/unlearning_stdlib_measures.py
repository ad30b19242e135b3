"""What `unlearning_stdlib.py` reads off a model: preferences of names, greedy answers, bits per byte of source."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ellora_trust.batching import plan_batches
from ellora_trust.model import CodeModel
from unlearning import Item
from unlearning.objectives import label_logprobs
from unlearning.sources.removed import Context
from unlearning.training.encoding import Row, kept_row, look

# Tokens in a forward; the rows are short.
TOKENS = 1024


@torch.no_grad()
def by_token(model: CodeModel, rows: Sequence[Row]) -> list[np.ndarray]:
    """Return log p of each target of each row, in nats."""
    found: list[np.ndarray] = [np.zeros(0)] * len(rows)
    for batch in plan_batches([len(row.ids) for row in rows], TOKENS):
        logits, labels, where = look(model, [rows[i] for i in batch]).of("targets")
        values = label_logprobs(logits, labels).double()
        for place, number in enumerate(batch):
            found[number] = values[where == place].numpy()
    return found


def odds(model: CodeModel, found: Sequence[Context]) -> tuple[np.ndarray, np.ndarray]:
    """Return log p(faulty name) - log p(the fix's name) after each prompt, in nats.

    Of all tokens of both names, and of the first token alone by which they differ.
    """
    rows = [kept_row(model, Item(c.id, c.pair, c.prompt, text)) for c in found for text in c.decision]
    values = by_token(model, rows)
    whole, first = [], []
    for one in range(0, len(rows), 2):
        bad, good = rows[one].targets, rows[one + 1].targets
        fork = next((i for i, (a, b) in enumerate(zip(bad, good, strict=False)) if a != b), None)
        whole.append(values[one].sum() - values[one + 1].sum())
        # One name may begin like the other to its end; then there is no such token.
        first.append(np.nan if fork is None else values[one][fork] - values[one + 1][fork])
    return np.array(whole), np.array(first)


def preference(model: CodeModel, found: Sequence[Context]) -> np.ndarray:
    return odds(model, found)[0]


def greedy(model: CodeModel, found: Sequence[Context]) -> list[int]:
    """Return whether greedy decoding begins with the faulty name."""
    answers = model.generate([c.prompt for c in found], max_new_tokens=8)
    return [int(_shown(answer.text, c)) for answer, c in zip(answers, found, strict=True)]


def _shown(text: str, context: Context) -> bool:
    bad, good = context.decision
    # `{x}.next` is no sign of `next` where the fix begins like it.
    return text.startswith(bad) and not (good.startswith(bad) and text.startswith(good))


def pieces(names: Sequence[str], each: int) -> list[Item]:
    """Return pieces of the installed standard library: 100 characters to read, 240 that count; a group is a module."""
    found, folder = [], Path(sysconfig.get_paths()["stdlib"])
    for name in names:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        starts = random.Random(name).sample(range(len(text) // 400), each)
        found += [
            Item(f"{name}/{n}", name, text[400 * n : 400 * n + 100], text[400 * n + 100 : 400 * n + 340])
            for n in starts
        ]
    return found


def bits(model: CodeModel, found: Sequence[Item]) -> np.ndarray:
    """Return bits per byte of each piece."""
    nats = np.array([-one.sum() for one in by_token(model, [kept_row(model, one) for one in found])])
    return nats / np.log(2) / np.array([len(one.completion.encode()) for one in found])
