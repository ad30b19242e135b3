"""Which prompt each row of a forward belongs to, and where that prompt ends.

An edit that means "the last token of the prompt" or "the last use of x" needs to know this in every forward: in a
batch padded on either side, after a shared prefix, in cached decoding, under beams, and in transformers' own
`generate`, with a key-value cache or without.

    with Layout(model).attached() as layout, edit(model, {"resid.3": function}):
        model.generate(prompts)          # inside `function`: layout.ends, layout.numbers, layout.positions
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.batching import Row
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Batch:
    """The prompts of a batch, one a row.

    Attributes:
        prompts: Token ids of each row's prompt, without padding.
        numbers: Each row's place in the list that the caller gave.
    """

    prompts: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], numbers: Sequence[int]) -> Batch:
        return cls(tuple(tuple(row.ids[: row.n_prompt]) for row in rows), tuple(numbers))

    def select(self, keep: Sequence[int]) -> Batch:
        """Return the batch of these rows only."""
        return Batch(tuple(self.prompts[i] for i in keep), tuple(self.numbers[i] for i in keep))

    def spread(self, n_rows: int) -> Batch:
        """Return the batch for a forward of `n_rows`: a search with k beams has each prompt in k rows in turn.

        Raises:
            InputError: `n_rows` is no multiple of the prompts.
        """
        times, rest = divmod(n_rows, len(self.prompts))
        if rest or not times:
            raise InputError(
                f"a forward has {n_rows} rows for {len(self.prompts)} prompts; call generate or score inside the "
                "`with`, with whole prompts"
            )
        return self if times == 1 else self.select([i for i in range(len(self.prompts)) for _ in range(times)])


@contextmanager
def running(model: CodeModel, batch: Batch) -> Iterator[None]:
    """Let the model's edits know the batch that its forwards work on."""
    before, model.batch = model.batch, batch
    try:
        yield
    finally:
        model.batch = before


class Layout:
    """Rows and columns of the running forward.

    Attributes:
        batch: Its prompts.
        positions: Index of each token in its own text, (batch, tokens); -1 in padding.
        ends: Tokens in each row's prompt, (batch, 1).
        on_tick: Called at the begin of every forward, once the other attributes are set.
    """

    def __init__(self, model: CodeModel):
        from ellora_trust.hooks import TokenClock

        self._model = model
        self._clock = TokenClock()
        self._bare: Batch | None = None
        self._whole: Batch | None = None
        self.batch = Batch((), ())
        self.ends = torch.zeros(0, 1, dtype=torch.long)
        self.on_tick: Callable[[], None] | None = None

    @property
    def positions(self) -> Tensor:
        return self._clock.positions

    @property
    def numbers(self) -> tuple[int, ...]:
        """Place of each row's prompt in the list that the caller gave."""
        return self.batch.numbers

    @contextmanager
    def attached(self) -> Iterator[Layout]:
        """Follow every forward inside the `with`, and every call of the transformers model's own `generate`."""
        with ExitStack() as stack:
            stack.callback(self._clock.attach(self._model.arch.owner).remove)
            self._clock.on_tick = self._tick
            stack.enter_context(_own_generate(self._model))
            yield self

    def _tick(self) -> None:
        whole = self._model.batch or self._bare_batch()
        if whole is not self._whole or len(self.ends) != len(self.positions):
            self._whole = whole
            self.batch = whole.spread(len(self.positions))
            lengths = [len(prompt) for prompt in self.batch.prompts]
            self.ends = torch.tensor(lengths, device=self.positions.device)[:, None]
        if self.on_tick is not None:
            self.on_tick()

    def _bare_batch(self) -> Batch:
        """The batch of a forward that nobody announced: what it reads from token 0 on is the prompt."""
        if self._bare is None or bool((self.positions == 0).any()):
            self._bare = _batch_of(self._clock.tokens, self.positions >= 0)
        return self._bare


def _batch_of(ids: Tensor, mask: Tensor) -> Batch:
    if ids.dim() != 2:
        raise InputError("a forward was given embeddings, which no prompt can be told from; give token ids")
    rows = [tuple(row[keep].tolist()) for row, keep in zip(ids, mask.bool(), strict=True)]
    return Batch(tuple(rows), tuple(range(len(rows))))


@contextmanager
def _own_generate(model: CodeModel) -> Iterator[None]:
    """Announce the prompts of every call of the transformers model's `generate`."""
    hf: Any = model.hf
    original, before = hf.generate, hf.__dict__.get("generate")

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(original).bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        ids, mask = given.get("inputs", given.get("input_ids")), given.get("attention_mask")
        if ids is None:
            return original(*args, **kwargs)
        if mask is None:
            # As transformers itself: padding is what equals a padding token that is not also an end token.
            pad, eos = hf.generation_config.pad_token_id, model.eos_ids
            mask = torch.ones_like(ids) if pad is None or pad in eos else ids != pad
        with running(model, _batch_of(ids, mask)):
            return original(*args, **kwargs)

    hf.generate = generate
    try:
        yield
    finally:
        if before is None:
            del hf.generate
        else:
            hf.generate = before
