"""Which tokens of a passage are read, and how they become one vector.

A position is a span and a reduction: `answer.mean`, `prompt.last`, `text.max`. Short names stand for the common ones:
`last`, `mean`, `max`, `all` (of the whole text), `prompt_end` (= `prompt.last`), a bare span name (= its mean), and an
integer (a token counted from 0, or from the end if negative).

`mean` and `max` leave out the first token of the text: it is an attention sink in most decoders, with a residual norm
hundreds of times that of any other token (above 20,000 on SmolLM2).

    positions = parse_positions(["prompt_end", "answer", "answer.last"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ellora_trust.errors import InputError

REDUCTIONS = ("mean", "max", "last", "first", "all")
_SHORT = {
    "last": "text.last",
    "mean": "text.mean",
    "max": "text.max",
    "all": "text.all",
    "prompt_end": "prompt.last",
}
OPEN_END = 2**31  # end of a span that grows while tokens are generated


@dataclass(frozen=True)
class Passage:
    """A prompt with what followed it.

    Attributes:
        prompt: What the model reads first.
        answer: What it wrote, or what is scored; may be empty.
        spans: Named character ranges (start, end) of `prompt + answer`.
        answer_ids: The answer's tokens where they are known, as after generation; else `answer` is tokenised.
    """

    prompt: str
    answer: str = ""
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    answer_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Position:
    """A named way to read one vector (or, with `all`, one per token) from a passage."""

    name: str
    span: str
    reduction: str
    index: int | None = None


def parse_positions(positions: str | int | Iterable[str | int]) -> list[Position]:
    """Return positions from their names.

    Raises:
        InputError: An unknown reduction, or no position at all.
    """
    given = [positions] if isinstance(positions, (str, int)) else list(positions)
    if not given:
        raise InputError("no position was given; name at least one, such as 'last' or 'prompt_end'")
    return list(dict.fromkeys(_parse(str(name)) for name in given))


def _parse(name: str) -> Position:
    if name.removeprefix("-").isdigit():
        return Position(name, "text", "index", int(name))
    span, dot, reduction = _SHORT.get(name, name).rpartition(".")
    if not dot:
        span, reduction = name, "mean"
    if reduction not in REDUCTIONS or not span:
        raise InputError(
            f"unknown position {name!r}; use an integer, a span (text, prompt, answer or your own), or SPAN.REDUCTION "
            f"with a reduction of {', '.join(REDUCTIONS)}"
        )
    return Position(name, span, reduction)


def token_ranges(
    positions: Sequence[Position], n_prompt: int, n_text: int, spans: Mapping[str, tuple[int, int]]
) -> Tensor:
    """Return the half-open token range of each position, (n_positions, 2), for one passage.

    Args:
        positions: What is read.
        n_prompt: Tokens in the prompt.
        n_text: Tokens in prompt and answer, or `OPEN_END` while an answer is being generated.
        spans: Token ranges of the passage's own spans.

    Raises:
        InputError: A span the passage does not have, or an index outside it.
    """
    known = {"text": (0, n_text), "prompt": (0, n_prompt), "answer": (n_prompt, n_text), **spans}
    ranges = []
    for position in positions:
        if position.span not in known:
            raise InputError(
                f"position {position.name!r} names a span that the passage does not have; it has {', '.join(known)}"
            )
        start, end = known[position.span]
        if position.index is not None:
            start = position.index + (n_text if position.index < 0 else 0)
            if not 0 <= start < n_text or (position.index < 0 and n_text == OPEN_END):
                raise InputError(
                    f"position {position.index} is outside a text of {n_text} tokens; use {-n_text}..{n_text - 1}"
                )
            end = start + 1
        elif position.reduction in ("mean", "max") and start == 0 and end > 1:
            start = 1
        if position.reduction == "last" and end < OPEN_END:
            start = max(start, end - 1)
        if position.reduction == "first":
            end = min(end, start + 1)
        ranges.append((start, end))
    return torch.tensor(ranges, dtype=torch.long)


@dataclass(frozen=True)
class ChunkWeights:
    """How the tokens of one forward contribute to each position; computed once, used at every site.

    Attributes:
        weights: (batch, n_positions, tokens) in {0, 1}, float32; 0 for `max` and `all`, which are not sums.
        keep: (batch, n_positions, 1): what earlier chunks contributed is multiplied by this.
        inside: (batch, n_positions, tokens) bool.
    """

    weights: Tensor
    keep: Tensor
    inside: Tensor


def chunk_weights(positions: Sequence[Position], ranges: Tensor, token_positions: Tensor) -> ChunkWeights:
    """Return the weights of one chunk.

    Args:
        positions: What is read.
        ranges: Half-open token ranges, (batch, n_positions, 2).
        token_positions: Index of each token in its own text, (batch, tokens); -1 for padding.
    """
    at = token_positions[:, None, :]
    inside = (at >= ranges[..., :1]) & (at < ranges[..., 1:]) & (at >= 0)
    weights = inside.to(torch.float32)
    keep = torch.ones(*inside.shape[:2], 1, device=weights.device)
    for p, position in enumerate(positions):
        if position.reduction == "last":
            # The newest token replaces what was kept before it.
            newest = torch.where(inside[:, p], token_positions, -1).amax(-1, keepdim=True)
            weights[:, p] = ((token_positions == newest) & inside[:, p]).to(torch.float32)
            keep[:, p] = (newest < 0).to(torch.float32)
        elif position.reduction in ("max", "all"):
            weights[:, p] = 0
    return ChunkWeights(weights, keep, inside)
