"""What an attribution to a prompt explains: log p of an answer, or of an answer rather than a foil.

target = Target.of(model, prompt, " list", foil=" dict")    # why `list` rather than `dict`?
target.values(model, [target.prompt])                       # log p(answer) - log p(foil), in nats
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ellora_trust.batching import Row, plan_batches, tokenize
from ellora_trust.errors import InputError
from ellora_trust.inference import SharedPrefix, State, run_chunk, score_batch
from ellora_trust.positions import Passage

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """A prompt, its answer and what the answer is compared with, as token ids.

    Attributes:
        prompt: Token ids of the prompt.
        answer: Of the answer.
        foil: Of the answer that was not given; empty where there is no comparison.
        name: What is explained, for readers.
    """

    prompt: Ids
    answer: Ids
    foil: Ids
    name: str

    @classmethod
    def of(cls, model: CodeModel, prompt: str, answer: str, foil: str | None = None) -> Target:
        """Tokenise, the prompt and what follows it apart, as generation joins them.

        Raises:
            InputError: A text is empty or too long, or the foil is the answer.
        """
        if not answer or foil == "":
            raise InputError(f"the {'foil' if answer else 'answer'} is empty; give at least one character")
        if foil == answer:
            raise InputError(f"answer and foil are both {answer!r}; give a foil that differs, or None")
        row = tokenize(model, Passage(prompt, answer))
        other = tokenize(model, Passage(prompt, foil)) if foil is not None else row
        name = f"log p({answer!r})" + (f" - log p({foil!r})" if foil is not None else "")
        ids = tuple(row.ids)
        return cls(ids[: row.n_prompt], ids[row.n_prompt :], tuple(other.ids[row.n_prompt :]) if foil else (), name)

    @property
    def parts(self) -> list[tuple[Ids, int]]:
        """The continuations with their signs: +1 of the answer, -1 of the foil."""
        return [(self.answer, 1), (self.foil, -1)] if self.foil else [(self.answer, 1)]

    def values(self, model: CodeModel, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the target after each of some prompts, in nats, (n,), float64.

        Args:
            model: The model.
            prompts: Token ids; an empty prompt becomes the end-of-text token, after which a new text begins.
        """
        starts = [tuple(ids) or (model.pad_id,) for ids in prompts]
        # Sampled orders of few units meet the same text again and again.
        numbers = {start: number for number, start in enumerate(dict.fromkeys(starts))}
        rows = [Row([*start, *ids], len(start)) for start in numbers for ids, _ in self.parts]
        found = torch.empty(len(rows), dtype=torch.float64)
        for batch in plan_batches([len(row.ids) for row in rows], model.token_budget):
            scores = score_batch(model, [rows[i] for i in batch], SharedPrefix([]))
            found[batch] = torch.stack([score.logprobs.double().sum() for score in scores])
        signs = torch.tensor([float(sign) for _, sign in self.parts], dtype=torch.float64)
        values = (found.view(len(numbers), -1) * signs).sum(-1)
        return values[[numbers[start] for start in starts]]


def log_probability(model: CodeModel, ids: Tensor, n_answer: int) -> Tensor:
    """Return log p of the last `n_answer` tokens of equally long rows, (batch,), in nats; it can be differentiated.

    Args:
        model: The model.
        ids: Token ids without padding, (batch, tokens).
        n_answer: Tokens of the answer.
    """
    state = State(torch.ones_like(ids), None, None)
    run_chunk(model, ids, state, keep_logits=n_answer + 1, use_cache=False)
    assert state.logits is not None
    logprobs = torch.log_softmax(state.logits[:, :-1], -1)
    return logprobs.gather(-1, ids[:, -n_answer:, None])[..., 0].sum(-1)
