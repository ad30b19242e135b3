"""`capture` and `edit`: the only two ways anything here touches activations.

Both are context managers over plain torch forward hooks. They know the index of every token in its own text, whatever
the padding side, the batch, or how much of the text is already in the key-value cache, and they leave no trace.

    activations = capture(model, prompts, sites="resid.*", positions=["last", "mean"])
    activations["resid.12", "last"]                       # (n_prompts, d_model)

    with edit(model, {"resid.12": lambda h, at: h + direction}):
        model.generate(prompts)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ellora_trust.errors import InputError
from ellora_trust.positions import ChunkWeights, Passage, Position, chunk_weights, parse_positions
from ellora_trust.sites import Site, resolve, visit

if TYPE_CHECKING:
    from pathlib import Path

    from ellora_trust.model import CodeModel
    from ellora_trust.store import Activations

# (activation (batch, tokens, width), index of each token in its text (batch, tokens), -1 in padding) -> activation,
# or None to leave it
EditFunction = Callable[[Tensor, Tensor], Tensor | None]


class TokenClock:
    """Knows, during a forward, which token of its own text each column is.

    Attributes:
        positions: (batch, tokens) of the running forward; -1 marks padding and finished rows.
        tokens: Its token ids, (batch, tokens), or its embeddings where it was given those.
        active: Rows that still count, (batch,) bool; None means all.
    """

    def __init__(self) -> None:
        self.positions = torch.empty(0, 0, dtype=torch.long)
        self.tokens = torch.empty(0, 0, dtype=torch.long)
        self.active: Tensor | None = None
        self.on_tick: Callable[[], None] | None = None

    def attach(self, owner: nn.Module) -> Any:
        return owner.register_forward_pre_hook(self._read, with_kwargs=True)

    def _read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = kwargs.get("input_ids", args[0] if args else None)
        tokens = kwargs["inputs_embeds"] if tokens is None else tokens
        batch, length = tokens.shape[:2]
        self.tokens = tokens
        self.positions = self._positions(batch, length, kwargs).to(tokens.device)
        if self.active is not None:
            self.positions = torch.where(self.active[:, None], self.positions, -1)
        if self.on_tick is not None:
            self.on_tick()

    @staticmethod
    def _positions(batch: int, length: int, kwargs: dict[str, Any]) -> Tensor:
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2:
            counted = mask.long().cumsum(-1) - 1
            return torch.where(mask.bool(), counted, -1)[:, -length:]
        if kwargs.get("position_ids") is not None:
            return kwargs["position_ids"].expand(batch, length)
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        return torch.arange(past, past + length).expand(batch, length)


@contextmanager
def edit(model: CodeModel, edits: Mapping[str | Site, EditFunction]) -> Iterator[None]:
    """Replace activations in every forward inside the `with`, in prefill and in cached decoding alike.

    Args:
        model: The model whose forwards are edited, also those of its own `generate`.
        edits: Site name (with `*` for every layer) to a function of (activation, positions): the activation is
            (batch, tokens, width), the positions are (batch, tokens), each token's 0-based index in its own text and
            -1 in padding. The function returns a tensor of the activation's shape, or None to leave it as it is.

    Raises:
        InputError: An unknown site; or, during a forward, a function that returns another shape.
    """
    with ExitStack() as stack:
        clock = TokenClock()
        stack.callback(clock.attach(model.arch.owner).remove)
        for name, function in edits.items():
            for site in resolve(model, name):
                stack.callback(visit(model.arch, site, _editor(site, function, clock)).remove)
        yield


def _editor(site: Site, function: EditFunction, clock: TokenClock) -> Callable[[Tensor], Tensor | None]:
    def visitor(hidden: Tensor) -> Tensor | None:
        # Some families flatten batch and tokens before their MLP.
        shaped = hidden.reshape(*clock.positions.shape, hidden.shape[-1])
        # A model spread over devices has its layers elsewhere than its positions.
        new = function(shaped.to(clock.positions.device), clock.positions)
        if new is None:
            return None
        if new.shape != shaped.shape:
            raise InputError(
                f"the edit at {site} returned shape {tuple(new.shape)}; it must return {tuple(shaped.shape)}, the "
                "shape it was given"
            )
        return new.reshape(hidden.shape).to(hidden.device)

    return visitor


@dataclass(frozen=True)
class Partial:
    """What a shared prefix contributed: the state of a batch of one row."""

    sums: Mapping[Site, Tensor]
    counts: Tensor
    tokens: Mapping[Site, list[list[list[Tensor]]]]


class Recorder:
    """Pools activations inside the hooks, over as many forwards as a text takes.

    Memory is O(sites x positions x width) a row, however long the text, unless a position asks for `all` tokens.
    """

    def __init__(self, model: CodeModel, sites: Iterable[str | Site], positions: Iterable[str | int | Position]):
        self.sites = resolve(model, sites)
        self.positions = parse_positions([p.name if isinstance(p, Position) else p for p in positions])
        self.clock = TokenClock()
        self._arch = model.arch
        self.device = model.device
        self._maxima = [p for p, position in enumerate(self.positions) if position.reduction == "max"]
        self._ragged = [p for p, position in enumerate(self.positions) if position.reduction == "all"]
        self._chunk: ChunkWeights | None = None

    @contextmanager
    def attached(self) -> Iterator[Recorder]:
        """Register the hooks; they are gone afterwards, also after an exception while registering."""
        with ExitStack() as stack:
            stack.callback(self.clock.attach(self._arch.owner).remove)
            self.clock.on_tick = self._tick
            for site in self.sites:
                stack.callback(visit(self._arch, site, self._reader(site), reads=True).remove)
            yield self

    def start(self, ranges: Tensor, after: Partial | None = None) -> None:
        """Begin a batch.

        Args:
            ranges: Token range of each position, (batch, n_positions, 2).
            after: What a prefix that every row shares has already contributed.
        """
        batch, n = ranges.shape[:2]
        self.ranges = ranges
        self.rows: Tensor | None = None
        self.clock.active = None
        if after is None:
            after = self._nothing(n, ranges.device)
        self.sums = {site: rows.expand(batch, -1, -1).clone() for site, rows in after.sums.items()}
        self.counts = after.counts.expand(batch, -1, -1).clone()
        self.tokens = {site: [[list(p) for p in rows[0]] for _ in range(batch)] for site, rows in after.tokens.items()}

    def _nothing(self, n: int, device: torch.device) -> Partial:
        sums = {site: torch.zeros(1, n, site.width(self._arch), device=device) for site in self.sites}
        for rows in sums.values():
            rows[:, self._maxima] = -torch.inf
        tokens: dict[Site, list[list[list[Tensor]]]] = {site: [[[] for _ in self._ragged]] for site in self.sites}
        return Partial(sums, torch.zeros(1, n, 1, device=device), tokens)

    def partial(self) -> Partial:
        """Return the state of the current batch, to start others from."""
        return Partial(self.sums, self.counts, self.tokens)

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the current batch, (n_left,); the others are finished."""
        self.rows = rows if self.rows is None else self.rows[rows]
        if self.clock.active is not None:
            self.clock.active = self.clock.active[rows]

    def _tick(self) -> None:
        ranges = self.ranges if self.rows is None else self.ranges[self.rows]
        self._chunk = chunk_weights(self.positions, ranges, self.clock.positions)
        where = slice(None) if self.rows is None else self.rows
        added = self._chunk.weights.sum(-1, keepdim=True)
        self.counts[where] = self.counts[where] * self._chunk.keep + added

    def _reader(self, site: Site) -> Callable[[Tensor], None]:
        def read(hidden: Tensor) -> None:
            chunk = self._chunk
            assert chunk is not None, "the clock ticks before any site is reached"
            hidden = hidden.detach().reshape(*self.clock.positions.shape, hidden.shape[-1])
            hidden = hidden.to(self.device, torch.float32)
            where = slice(None) if self.rows is None else self.rows
            sums = self.sums[site]
            sums[where] = torch.baddbmm(sums[where] * chunk.keep, chunk.weights, hidden)
            for p in self._maxima:
                best = hidden.masked_fill(~chunk.inside[:, p, :, None], -torch.inf).amax(1)
                sums[where, p] = torch.maximum(sums[where, p], best)
            for r, p in enumerate(self._ragged):
                self._append(site, r, hidden, chunk.inside[:, p])

        return read

    def _append(self, site: Site, r: int, hidden: Tensor, inside: Tensor) -> None:
        rows = range(len(hidden)) if self.rows is None else self.rows.tolist()
        for b, row in enumerate(rows):
            self.tokens[site][row][r].append(hidden[b, inside[b]].clone())

    def finish(self) -> dict[tuple[str, str], Tensor | list[Tensor]]:
        """Return (site, position) -> (batch, width), or for `all` a list of (n_tokens, width).

        A position that no token was at (the mean over an empty answer) is zero.
        """
        result: dict[tuple[str, str], Tensor | list[Tensor]] = {}
        for site in self.sites:
            for p, position in enumerate(self.positions):
                key = (str(site), position.name)
                if p in self._ragged:
                    r = self._ragged.index(p)
                    result[key] = [torch.cat(row[r]) for row in self.tokens[site]]
                elif p in self._maxima:
                    result[key] = self.sums[site][:, p].nan_to_num(neginf=0.0)
                else:
                    result[key] = self.sums[site][:, p] / self.counts[:, p].clamp_min(1)
        return result


def capture(
    model: CodeModel,
    prompts: Sequence[str | Passage],
    sites: str | Iterable[str] = "resid.*",
    positions: str | int | Iterable[str | int] = "last",
    *,
    store: Path | None = None,
    token_budget: int | None = None,
    progress: bool = False,
) -> Activations:
    """Return activations at some sites and positions of each prompt; the language-model head is never run.

    Args:
        model: The model to read.
        prompts: Texts, or passages with an answer and named spans.
        sites: Names as in `ellora_trust.sites`.
        positions: Names as in `ellora_trust.positions`.
        store: Folder for memory-mapped shards; a killed capture started again goes on where it stopped.
        token_budget: Padded tokens in a batch; the model's own default if None.
        progress: Show a progress bar.

    Raises:
        InputError: No prompt, an empty one, one longer than the context, or an unknown site or position.
    """
    from ellora_trust.runs import capture_passages

    passages = [Passage(p) if isinstance(p, str) else p for p in prompts]
    recorder = Recorder(model, [sites] if isinstance(sites, str) else sites, parse_positions(positions))
    return capture_passages(model, passages, recorder, store=store, token_budget=token_budget, progress=progress)
