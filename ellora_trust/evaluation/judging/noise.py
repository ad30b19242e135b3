"""The noise floor: the unchanged model against itself, computed another way. A change below it is no change.

noise_floor(comparer, before)        # beside every delta of a report
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ellora_trust.batching import Row, tokenize
from ellora_trust.evaluation.asking.answers import Answer, Asking, answer_all
from ellora_trust.evaluation.asking.cache import ItemCache, sha256
from ellora_trust.evaluation.asking.text import Piece
from ellora_trust.evaluation.changes.candidates import in_dtype
from ellora_trust.evaluation.judging.measures import prompts_of
from ellora_trust.evaluation.judging.results import Noise
from ellora_trust.positions import Passage
from ellora_trust.precision import packed_weights

if TYPE_CHECKING:
    from ellora_trust.evaluation.comparing import Comparer, State
    from ellora_trust.evaluation.judging.measures import StateReading
    from ellora_trust.model import CodeModel

# Padded tokens: rows go one by one.
ONE_ROW = 1
# Rows padded on the right together.
_ROWS = 8


def noise_floor(comparer: Comparer, before: State) -> list[Noise]:
    """Answer some items again: one row a batch, in another order, in bfloat16; read the text padded on the right.

    Quantised weights cannot be had in bfloat16, so that variant is left out for them.
    """
    model = comparer.model
    found = [
        *_answers(comparer, before, "one row a batch", model, Asking(token_budget=ONE_ROW)),
        *_answers(comparer, before, "another order", model, Asking(chunk=7), shuffled=True),
    ]
    if not packed_weights(model.hf):
        found += _answers(comparer, before, "bfloat16", in_dtype(model, torch.bfloat16), None)
    if before.reading is not None:
        found.append(_padding(model, comparer.pieces[: comparer.suite.noise], before.reading))
    return found


def _answers(
    comparer: Comparer,
    before: State,
    variant: str,
    model: CodeModel,
    asking: Asking | None,
    *,
    shuffled: bool = False,
) -> list[Noise]:
    identity = before.identity and sha256([before.identity, variant])
    cache = ItemCache(identity)
    found = []
    for question, known in zip(comparer.questions, before.answers, strict=True):
        n = min(comparer.suite.noise, len(known))
        order = np.random.default_rng(1).permutation(n) if shuffled else np.arange(n)
        examples = [question.examples[i] for i in order]
        again = answer_all(model, question.task, examples, cache=cache, asking=asking)
        found.append(noise_of(variant, question.asked.name, [known[i] for i in order], again))
    return found


def noise_of(variant: str, task: str, known: Sequence[Answer], again: Sequence[Answer]) -> Noise:
    """Return how verdicts on the same items differ."""
    change = [int(b.right) - int(a.right) for a, b in zip(known, again, strict=True)]
    return Noise(variant, task, len(change), sum(change) / len(change), sum(one != 0 for one in change))


def _padding(model: CodeModel, pieces: Sequence[Piece], known: StateReading) -> Noise:
    n = len(pieces)
    bits, likeliest = right_padded(model, pieces)
    flipped = int((likeliest != known.next_token[:n].argmax(-1).numpy()).sum())
    change = float((bits.sum() - known.bits[:n].sum()) / known.n_bytes[:n].sum())
    return Noise("padded on the right", "text", n, change, flipped)


def right_padded(model: CodeModel, pieces: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """Return bits of each piece and the likeliest token after each piece's prompt, (n,) each, padded on the right.

    The library pads on the left; this asks transformers' own forward the other way round.
    """
    rows = [tokenize(model, Passage(piece.context, piece.text), number=i) for i, piece in enumerate(pieces)]
    bits = []
    for row, logprobs in zip(rows, _right_padded(model, rows), strict=True):
        places = torch.arange(row.n_prompt - 1, len(row.ids) - 1)
        chosen = logprobs[places, torch.tensor(row.ids[row.n_prompt :])]
        bits.append(-float(chosen.double().sum()) / math.log(2))
    prompts = [tokenize(model, Passage(text), number=i) for i, text in enumerate(prompts_of(pieces))]
    likeliest = [
        int(one[len(row.ids) - 1].argmax()) for row, one in zip(prompts, _right_padded(model, prompts), strict=True)
    ]
    return np.array(bits), np.array(likeliest)


@torch.no_grad()
def _right_padded(model: CodeModel, rows: Sequence[Row]) -> Iterator[torch.Tensor]:
    """Yield the log-probabilities after each token of each row, in nats, on the CPU."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        width = max(len(row.ids) for row in part)
        ids = torch.tensor([row.ids + [model.pad_id] * (width - len(row.ids)) for row in part], device=model.device)
        mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in part], device=model.device)
        yield from torch.log_softmax(model.hf(input_ids=ids, attention_mask=mask).logits.float(), -1).cpu()
