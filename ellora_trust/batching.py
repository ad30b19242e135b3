"""Texts to token rows, and rows to batches that waste little: sorted by length, limited by padded tokens.

rows = [tokenize(model, Passage("def f(x):")), ...]
for batch in plan_batches([len(row.ids) for row in rows], token_budget=2048): ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.positions import Passage

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Below this many shared tokens the copy of a cache costs more than it saves.
MIN_SHARED_TOKENS = 16


@dataclass(frozen=True)
class Row:
    """A tokenised passage.

    Attributes:
        ids: Token ids of prompt and answer.
        n_prompt: How many of them are the prompt.
        spans: Token ranges of the passage's own spans.
    """

    ids: list[int]
    n_prompt: int
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def tokenize(model: CodeModel, passage: Passage, *, number: int = 0, reserve: int = 0) -> Row:
    """Return the token row of one passage; prompt and answer are tokenised apart, as generation joins them.

    Args:
        model: Whose tokenizer and context length apply.
        passage: The text.
        number: Its place in the caller's list, for messages.
        reserve: Tokens that will be generated after it.

    Raises:
        InputError: The text is empty or longer than the model's context.
    """
    tokenizer = model.tokenizer
    prompt = tokenizer(passage.prompt).input_ids
    answer = passage.answer_ids
    if answer is None:
        answer = tokenizer(passage.answer, add_special_tokens=False).input_ids if passage.answer else []
    ids = [*prompt, *answer]
    if not prompt:
        raise InputError(f"prompt {number} is empty; give at least one character")
    if len(ids) + reserve > model.max_length:
        extra = f" and {reserve} tokens to generate" if reserve else ""
        raise InputError(
            f"prompt {number} has {len(ids)} tokens{extra}, but {model.name} reads at most {model.max_length}; "
            "shorten it or leave it out"
        )
    return Row(ids, len(prompt), _token_spans(model, passage, len(prompt), len(ids)))


def _token_spans(model: CodeModel, passage: Passage, n_prompt: int, n_text: int) -> dict[str, tuple[int, int]]:
    if not passage.spans:
        return {}
    from ellora_trust.spans.token_map import token_map

    prompt = token_map(model.tokenizer, passage.prompt)
    answer = None
    if passage.answer:
        answer = token_map(model.tokenizer, passage.answer, add_special_tokens=False, ids=passage.answer_ids)
    border = len(passage.prompt)
    spans = {}
    for name, (start, end) in passage.spans.items():
        tokens = list(prompt.tokens_of(start, min(end, border)))
        if answer is not None and end > border:
            tokens += [n_prompt + t for t in answer.tokens_of(max(start - border, 0), end - border)]
        if not tokens or tokens[-1] >= n_text:
            raise InputError(
                f"span {name!r} covers characters {start}..{end}, but the text has {border + len(passage.answer)}; "
                "give a non-empty range inside it"
            )
        spans[name] = (tokens[0], tokens[-1] + 1)
    return spans


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Return batches of indices, longest texts first, with (rows x longest) <= `token_budget` where a batch has > 1.

    Longest first, so that a machine too small for the work says so at once.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def common_prefix(rows: Sequence[Row]) -> int:
    """Return how many first tokens all prompts share, leaving every prompt at least one of its own; 0 if too few."""
    if len(rows) < 2:
        return 0
    # The first and the last in order differ the earliest of all.
    prompts = [row.ids[: row.n_prompt - 1] for row in rows]
    first, last = min(prompts), max(prompts)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return shared if shared >= MIN_SHARED_TOKENS else 0


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both (batch, longest), padded on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask
