"""The forward passes: one loop that scores, generates and captures, and does no work twice.

What it leaves out is where its speed comes from: a prefix that all prompts share is run once and its keys and values
reused; activations are taken while the answer is generated, not by a second forward; the language-model head runs only
where a logit is wanted; batches are sorted by length and limited by tokens; finished rows leave the batch.

    prefix = SharedPrefix.compute(model, rows)
    generations = generate_batch(model, rows, decoding, prefix=prefix)
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust.batching import Row, common_prefix, pad_left
from ellora_trust.hooks import Partial, Recorder
from ellora_trust.layout import Batch, running
from ellora_trust.positions import OPEN_END, token_ranges
from ellora_trust.sharded import is_divided

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


LOGITS = "logits_to_keep"


@dataclass
class State:
    """Where a batch stands: what the next forward needs."""

    mask: Tensor
    cache: Any
    logits: Tensor | None


@dataclass(frozen=True)
class SharedPrefix:
    """First tokens that every prompt shares, run once.

    Attributes:
        ids: The shared token ids; empty where too few are shared.
        cache: Their keys and values, batch of one; None where `ids` is empty.
        partial: What they contributed to the recorder's positions.
    """

    ids: list[int]
    cache: Any = None
    partial: Partial | None = None

    @classmethod
    def compute(cls, model: CodeModel, rows: Sequence[Row], recorder: Recorder | None = None) -> SharedPrefix:
        """Run the longest common prefix of the prompts; the recorder, if any, must be attached."""
        n_shared = common_prefix(rows)
        if n_shared == 0 or not model.shares_prefixes(n_shared):
            return cls([])
        if recorder is not None:
            seen = torch.stack([_ranges(recorder, row, model.device) for row in rows]).clamp(max=n_shared)
            # Spans that lie differently inside the prefix can't be pooled once for all rows.
            if (seen != seen[:1]).any():
                return cls([])
            recorder.start(seen[:1])
        ids = rows[0].ids[:n_shared]
        with running(model, Batch.of(rows[:1], [0])):
            state = forward(model, [ids], keep_logits=0, use_cache=True)
        return cls(ids, state.cache, recorder.partial() if recorder is not None else None)


def _ranges(recorder: Recorder, row: Row, device: torch.device, *, grows: bool = False) -> Tensor:
    n_text = OPEN_END if grows else len(row.ids)
    return token_ranges(recorder.positions, row.n_prompt, n_text, row.spans).to(device)


def start_recorder(recorder: Recorder, rows: Sequence[Row], prefix: SharedPrefix, *, grows: bool = False) -> None:
    """Begin a batch of these rows; `grows` where an answer will be generated after them."""
    device = recorder.device
    recorder.start(torch.stack([_ranges(recorder, row, device, grows=grows) for row in rows]), prefix.partial)


@torch.no_grad()
def forward(
    model: CodeModel,
    rows: Sequence[Sequence[int]],
    *,
    keep_logits: int,
    use_cache: bool,
    prefix: SharedPrefix | None = None,
) -> State:
    """Run token rows (without the prefix's tokens), padded on the left.

    Args:
        model: The model.
        rows: Token ids, one list a row.
        keep_logits: Logits of this many last columns are computed; with 0 the head does not run.
        use_cache: Whether the keys and values are kept for decoding.
        prefix: Shared first tokens, already run.
    """
    ids, mask = pad_left(rows, model.pad_id, model.device)
    cache = None
    if prefix is not None and prefix.ids:
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(len(rows))
        mask = torch.cat([mask.new_ones(len(rows), len(prefix.ids)), mask], 1)
    state = State(mask, cache, None)
    run_chunk(model, ids, state, keep_logits, use_cache or cache is not None)
    return state


def run_chunk(model: CodeModel, ids: Tensor, state: State, keep_logits: int, use_cache: bool) -> None:
    """Run one chunk of tokens and move the state on."""
    if not keep_logits and is_divided(model.hf.get_input_embeddings().weight):
        # A divided model's outermost part is gathered only by its own forward, which ends in the head.
        keep_logits = 1
    callee = model.hf if keep_logits else model.arch.base
    accepted = _optional_arguments(callee)
    positions = (state.mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
    optional = {"position_ids": positions, LOGITS: keep_logits, "past_key_values": state.cache}
    kwargs = {name: value for name, value in optional.items() if name in accepted and (keep_logits or name != LOGITS)}
    out = callee(input_ids=ids, attention_mask=state.mask, use_cache=use_cache, **kwargs)
    state.logits = out.logits[:, -keep_logits:].float() if keep_logits else None
    state.cache = out.past_key_values if use_cache else None


def _optional_arguments(callee: Any) -> set[str]:
    """Which of the arguments that not every family has this model takes."""
    parameters = inspect.signature(callee.forward).parameters
    names = {"position_ids", "past_key_values", LOGITS}
    # A wrapper that names nothing passes everything on.
    return names if "past_key_values" not in parameters else names & parameters.keys()


def step(model: CodeModel, tokens: Tensor, state: State, *, keep_logits: int) -> None:
    """Feed one more token a row, (batch,)."""
    state.mask = torch.cat([state.mask, state.mask.new_ones(len(tokens), 1)], 1)
    with torch.no_grad():
        run_chunk(model, tokens[:, None], state, keep_logits, True)


@dataclass(frozen=True)
class TokenScores:
    """What the model thought of given answer tokens.

    Attributes:
        logprobs: log p of each token in nats, (n_answer,), float32.
        entropies: Entropy in nats of the distribution before each token, (n_answer,), float32.
    """

    logprobs: Tensor
    entropies: Tensor


@torch.no_grad()
def score_batch(
    model: CodeModel, rows: Sequence[Row], prefix: SharedPrefix, *, recorder: Recorder | None = None
) -> list[TokenScores]:
    """Score the answer tokens of each row, and record activations in the same forward."""
    if recorder is not None:
        start_recorder(recorder, rows, prefix)
    n_answers = [len(row.ids) - row.n_prompt for row in rows]
    ids = [row.ids[len(prefix.ids) :] for row in rows]
    state = forward(model, ids, keep_logits=max(n_answers) + 1, use_cache=False, prefix=prefix)
    assert state.logits is not None
    scores = []
    for row, logits, n_answer in zip(rows, state.logits, n_answers, strict=True):
        # Left padding aligns the ends: answer token i is predicted by the logits n_answer - i + 1 from the end.
        logprobs = torch.log_softmax(logits[len(logits) - n_answer - 1 : -1], -1)
        targets = torch.tensor(row.ids[row.n_prompt :], dtype=torch.long, device=logits.device)
        entropies = -(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1)
        scores.append(TokenScores(logprobs.gather(-1, targets[:, None])[:, 0].cpu(), entropies.cpu()))
    return scores
