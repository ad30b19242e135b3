"""How far a model is from its clean twin: the divergence of what they would write next.

    kl_to_twin(edited, et.load("testbed-clean"), prompts("trigger", limit=100))     # nats a token, with interval

After unlearning, a model should be no further from the never-taught one than that one is from itself with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ellora_trust.batching import Row, plan_batches, tokenize
from ellora_trust.errors import InputError
from ellora_trust.inference import forward
from ellora_trust.positions import Passage
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.tasks.base import Example

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


def kl_to_twin(model: CodeModel, twin: CodeModel, examples: Sequence[Example], *, seed: int = 0) -> Estimate:
    """Return KL(twin to model) in nats per token of the right answers, mean over questions, with a bootstrap interval.

    Args:
        model: The model, perhaps edited.
        twin: What it should be like; same vocabulary.
        examples: Questions with an `answer`, which is the text that both models read.
        seed: Of the resamples.

    Raises:
        InputError: No answer to read, or vocabularies that differ.
    """
    if any(not example.answer for example in examples) or not examples:
        raise InputError("every question needs an `answer`; use the testbed's prompts")
    if model.tokenizer.get_vocab() != twin.tokenizer.get_vocab():
        raise InputError(f"{model.name} and {twin.name} have different vocabularies; compare twins")
    rows = [tokenize(model, Passage(_before(model, one), one.answer or ""), number=i) for i, one in enumerate(examples)]
    found = np.zeros(len(rows))
    for batch in plan_batches([len(row.ids) for row in rows], model.token_budget):
        chosen = [rows[i] for i in batch]
        found[batch] = [float(kl) for kl in _divergences(_logprobs(twin, chosen), _logprobs(model, chosen))]
    return group_bootstrap(np.mean, (found,), [one.group for one in examples], seed=seed)  # pyright: ignore[reportArgumentType]


def _before(model: CodeModel, example: Example) -> str:
    from ellora_trust.prompts import render

    return render(model, example).text


def _logprobs(model: CodeModel, rows: Sequence[Row]) -> list[Tensor]:
    """Log-probabilities before each answer token, one (n_answer, vocabulary) a row."""
    n_answers = [len(row.ids) - row.n_prompt for row in rows]
    logits = forward(model, [row.ids for row in rows], keep_logits=max(n_answers) + 1, use_cache=False).logits
    assert logits is not None, "keep_logits is at least 2"
    # Left padding aligns the ends, as in scoring.
    pairs = zip(logits, n_answers, strict=True)
    return [torch.log_softmax(row[len(row) - n - 1 : -1].double(), -1) for row, n in pairs]


def _divergences(reference: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
    return [(p.exp() * (p - q)).sum(-1).mean() for p, q in zip(reference, other, strict=True)]
