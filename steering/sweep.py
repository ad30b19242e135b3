"""Many patches of one prompt's last token, at the price of little more than one reading of the prompt.

A change at the prompt's last token cannot reach an earlier one. So the prompt is read once; its keys and values, and
the residual stream of its last token (and of a given answer's tokens) after every layer, are kept. A cell of the sweep
(layers, direction, strength) is then a row of as many tokens as the answer has, from the first patched layer on. Rows
of many cells run together. The result is that of full forwards up to rounding, which `naive` computes for comparison.

    reading = Reading.of(model, prompt_ids, answer_ids)
    for rows, logits in patched(model, reading, [Patch(12, delta), Patch(13, delta)]): ...
    scored = score_patches(model, reading, patches)        # log p of the answer, and whether greedy decoding gives it
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.hooks import EditFunction, edit
from ellora_trust.inference import SharedPrefix, State, forward, run_chunk
from ellora_trust.sites import Site

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Keys of one forward, over all rows: many rows make good use of weights that are read once; but each copies the cache,
# and fewer start later. Measured on SmolLM2 with prompts of 100 and 500 tokens.
KEYS = 6_400
ROWS = (8, 64)


@dataclass(frozen=True)
class Patch:
    """Vectors added to the residual stream of the prompt's last token.

    Attributes:
        start: First layer whose output is changed, 0-based.
        deltas: What is added after layers start, start + 1 ..., (window, d_model).
    """

    start: int
    deltas: Tensor

    def at(self, layer: int) -> Tensor | None:
        """Return what is added after a layer, (d_model,), or None."""
        return self.deltas[layer - self.start] if 0 <= layer - self.start < len(self.deltas) else None


@dataclass(frozen=True)
class Reading:
    """A prompt read once, with a given answer.

    Attributes:
        prompt: Its token ids.
        answer: The answer's token ids, >= 1.
        cache: Keys and values of all but the prompt's last token; None where they cannot be reused.
        stream: Residual stream after each layer at the prompt's last token and the answer's tokens but its last,
            (n_layers, n_answer, d_model).
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    cache: Any
    stream: Tensor | None

    @classmethod
    def of(
        cls, model: CodeModel, prompt: Sequence[int], answer: Sequence[int], *, prefix: SharedPrefix | None = None
    ) -> Reading:
        """Read a prompt.

        Args:
            model: The model.
            prompt: Token ids, at least two.
            answer: Token ids, at least one.
            prefix: First tokens that many prompts share, already run.

        Raises:
            InputError: The prompt or the answer is too short.
        """
        if len(prompt) < 2 or not answer:
            raise InputError(f"the prompt has {len(prompt)} tokens and the answer {len(answer)}; give at least 2 and 1")
        done = cls(tuple(prompt), tuple(answer), None, None)
        if not model.shares_prefixes(len(prompt)):
            return done
        shared = len(prefix.ids) if prefix else 0
        if prefix and shared == len(prompt) - 1:
            cache = prefix.cache  # nothing is left to read, and `_spread` leaves it as it is
        else:
            cache = forward(model, [prompt[shared:-1]], keep_logits=0, use_cache=True, prefix=prefix).cache
        stream: list[Tensor] = []

        def keep(hidden: Tensor, at: Tensor) -> None:
            stream.append(hidden[0])

        with torch.no_grad(), edit(model, {"resid.*": keep}):
            _columns(model, done, _spread(cache, 1), 1)
        return cls(done.prompt, done.answer, cache, torch.stack(stream))

    @property
    def columns(self) -> list[int]:
        """The tokens that a cell runs: the prompt's last and the answer's but its last."""
        return [self.prompt[-1], *self.answer[:-1]]


def patched(model: CodeModel, reading: Reading, patches: Sequence[Patch]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (numbers of patches, logits): the distribution after the prompt and after each answer token.

    Args:
        model: The model that made the reading.
        reading: Of the prompt.
        patches: What is tried; each is a row.

    Yields:
        The numbers of some patches, and their logits, (n, n_answer, n_vocabulary), float32.
    """
    rows = min(max(KEYS // len(reading.prompt), ROWS[0]), ROWS[1])
    order = sorted(range(len(patches)), key=lambda i: patches[i].start)
    for first in range(0, len(order), rows):
        numbers = order[first : first + rows]
        chosen = [patches[i] for i in numbers]
        # Not around the `yield`: the caller's own setting must hold between two of them.
        with torch.no_grad():
            logits = patched_logits(model, reading, chosen)
        yield numbers, logits


def patched_logits(model: CodeModel, reading: Reading, patches: Sequence[Patch]) -> Tensor:
    """Return the logits of a few patches in one forward, (n, n_answer, n_vocabulary); they can be differentiated."""
    if reading.cache is None:
        return naive(model, reading, patches)
    assert reading.stream is not None
    begin = min(patch.start for patch in patches)
    stream = reading.stream[begin].expand(len(patches), -1, -1)
    with _resuming(model, begin, stream), edit(model, _edits(model, patches, begin, column=0)):
        return _columns(model, reading, _spread(reading.cache, len(patches)), len(patches))


@torch.no_grad()
def naive(model: CodeModel, reading: Reading, patches: Sequence[Patch]) -> Tensor:
    """Return the same logits from full forwards, (n, n_answer, n_vocabulary): slow, and right for every model."""
    ids = [*reading.prompt, *reading.answer[:-1]]
    with edit(model, _edits(model, patches, 0, column=len(reading.prompt) - 1)):
        state = forward(model, [ids] * len(patches), keep_logits=len(reading.answer), use_cache=False)
    assert state.logits is not None
    return state.logits


def _edits(model: CodeModel, patches: Sequence[Patch], begin: int, *, column: int) -> dict[str | Site, EditFunction]:
    found: dict[str | Site, EditFunction] = {}
    for layer in range(begin, model.arch.n_layers):
        added = [patch.at(layer) for patch in patches]
        touched = [i for i, delta in enumerate(added) if delta is not None]
        if touched:
            deltas = torch.stack([delta for delta in added if delta is not None]).to(model.device)
            found[f"resid.{layer}"] = _adder(torch.tensor(touched, device=model.device), deltas, column)
    return found


def _adder(rows: Tensor, deltas: Tensor, column: int) -> EditFunction:
    def add(hidden: Tensor, at: Tensor) -> Tensor:
        new = hidden.clone()
        new[rows, column] += deltas.to(hidden.dtype)
        return new

    return add


def _columns(model: CodeModel, reading: Reading, cache: Any, n_rows: int) -> Tensor:
    """Run the answer's columns after the cache, in `n_rows` equal rows; return their logits."""
    ids = torch.tensor(reading.columns, device=model.device).expand(n_rows, -1)
    mask = torch.ones(n_rows, len(reading.prompt) - 1 + ids.shape[1], dtype=torch.long, device=model.device)
    state = State(mask, cache, None)
    run_chunk(model, ids, state, keep_logits=ids.shape[1], use_cache=True)
    assert state.logits is not None
    return state.logits


def _spread(cache: Any, rows: int) -> Any:
    """Return a cache of `rows` equal rows that shares the memory of the one given, which stays as it is."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in new.layers:
        layer.keys, layer.values = (kept.expand(rows, -1, -1, -1) for kept in (layer.keys, layer.values))
    return new


@contextmanager
def _resuming(model: CodeModel, layer: int, stream: Tensor) -> Iterator[None]:
    """Let forwards begin after a block: it returns `stream`, (rows, tokens, d_model); those before it do nothing."""
    with ExitStack() as stack:
        for number in range(layer + 1):
            module = model.arch.blocks[number].module
            module.forward = _stand_in(model, number, stream if number == layer else None)
            stack.callback(module.__dict__.pop, "forward")
        yield


def _stand_in(model: CodeModel, number: int, stream: Tensor | None) -> Callable[..., Any]:
    returns_tuple = model.arch.blocks[number].returns_tuple

    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        out = hidden if stream is None else stream
        return (out,) if returns_tuple else out

    return forward


@dataclass(frozen=True)
class Scored:
    """What each patch did to a given answer.

    Attributes:
        logprobs: log p of the whole answer in nats, (n,), float32.
        matched: Whether greedy decoding gives exactly these tokens first, (n,) bool.
    """

    logprobs: Tensor
    matched: Tensor


def score_patches(model: CodeModel, reading: Reading, patches: Sequence[Patch]) -> Scored:
    """Return log-probability and greedy match of the reading's answer under each patch."""
    answer = torch.tensor(reading.answer, device=model.device)
    logprobs, matched = torch.empty(len(patches)), torch.empty(len(patches), dtype=torch.bool)
    for numbers, logits in patched(model, reading, patches):
        chosen = logits.gather(-1, answer.expand(len(numbers), -1)[..., None])[..., 0]
        logprobs[numbers] = (chosen - logits.logsumexp(-1)).sum(-1).cpu()
        matched[numbers] = (logits.argmax(-1) == answer).all(-1).cpu()
    return Scored(logprobs, matched)
