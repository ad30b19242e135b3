"""A transformers model's own `generate`, watched: which row of which forward became which token of which answer.

Rows of greedy search and sampling stay where they are. Beams move: `beam_indices` names the row that each token was
chosen from, and that row had just read the token before it. So a beam's token t has the score of forward t + 1 at
row `beam_indices[t + 1]`. The last token of an answer cut by the length limit is never run by `generate`; where the
probe's position includes it, one more step, up to the probe's layer, reads it.

    with watched_generate(hf, watch, arch):
        hf.generate(input_ids, max_new_tokens=32)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, StoppingCriteriaList

from ellora_trust.architecture import Architecture
from ellora_trust.errors import InputError
from probes.watching.answer import WatchedAnswer, n_read
from probes.watching.batch import Batch
from probes.watching.policies import RiskStop, least_risky
from probes.watching.trace import Trace
from probes.watching.watch import Watch

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Call:
    """One call of `generate`, resolved.

    Attributes:
        arguments: As given, by name.
        n_columns: Columns of the output that are prompt.
        beams: 1 unless it is a beam search.
        samples: Whether tokens are drawn.
        eos: Tokens that end a text.
        stop: Strings that end one.
    """

    arguments: dict[str, Any]
    n_columns: int
    beams: int
    samples: bool
    eos: frozenset[int]
    stop: tuple[str, ...]

    @classmethod
    def of(cls, hf: Any, arguments: dict[str, Any]) -> Call:
        given = arguments.get("generation_config") or hf.generation_config
        defaults = hf.generation_config

        def setting(name: str) -> Any:
            values = (arguments.get(name), getattr(given, name, None), getattr(defaults, name, None))
            return next((value for value in values if value is not None), None)

        ids = arguments.get("input_ids", arguments.get("inputs"))
        # Without ids the output holds new tokens only, or begins with the one that starts a text.
        n_columns = ids.shape[1] if ids is not None else int("inputs_embeds" not in arguments)
        eos, stop = setting("eos_token_id"), setting("stop_strings") or ()
        return cls(
            arguments,
            n_columns,
            setting("num_beams") or 1,
            bool(setting("do_sample")),
            frozenset([eos] if isinstance(eos, int) else eos if eos is not None else []),
            (stop,) if isinstance(stop, str) else tuple(stop),
        )

    def wants(self, name: str, hf: Any) -> bool:
        """Whether a flag of the generation config is on."""
        config = self.arguments.get("generation_config") or hf.generation_config
        return bool(self.arguments.get(name, getattr(config, name, False)))


@contextmanager
def watched_generate(hf: Any, watch: Watch, arch: Architecture) -> Iterator[None]:
    """Tell the watch about every call of this model's `generate` inside the `with`."""
    before = hf.__dict__.get("generate")
    original = hf.generate

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        arguments = inspect.signature(original).bind(*args, **kwargs).arguments
        arguments |= arguments.pop("kwargs", {})
        return _Generation(hf, original, watch, arch).run(arguments)

    hf.generate = generate
    try:
        yield
    finally:
        if before is None:
            del hf.generate
        else:
            hf.generate = before


@dataclass
class _Generation:
    """A call under way."""

    hf: Any
    original: Callable[..., Any]
    watch: Watch
    arch: Architecture

    def run(self, arguments: dict[str, Any]) -> Any:
        if self.watch.policy.samples == 1:
            return self.once(arguments)
        call = Call.of(self.hf, arguments)
        _check_resample(call, self.hf)

        def draw(rows: Sequence[int] | None) -> list[tuple[Tensor, WatchedAnswer]]:
            some = arguments if rows is None else _rows_of(arguments, rows)
            return list(zip(self.once(some), self.watch.answers, strict=True))

        kept = least_risky(draw, self.watch.policy.samples)
        self.watch.replace([answer for _, answer in kept])
        pad = arguments.get("pad_token_id", self.hf.generation_config.pad_token_id)
        filler = min(call.eos, default=0) if pad is None else pad
        return torch.nn.utils.rnn.pad_sequence([ids for ids, _ in kept], batch_first=True, padding_value=filler)

    def once(self, arguments: dict[str, Any]) -> Any:
        """Generate once, and record every answer."""
        call, watch = Call.of(self.hf, arguments), self.watch
        watch.clear()
        unwrap = call.beams > 1 and not call.wants("return_dict_in_generate", self.hf)
        changed: dict[str, Any] = {"return_dict_in_generate": True} if unwrap else {}
        if "inputs_embeds" in arguments and watch.needs_last:
            raise InputError("this probe reads the answer to its last token, which needs token ids; give input_ids")
        if watch.policy.decide is not None:
            if call.beams > 1:
                raise InputError(
                    f"{call.beams} beams are no answers yet that could be judged token by token; use num_beams=1, or "
                    "policy='flag' without on_token"
                )
            criteria = [*(arguments.get("stopping_criteria") or []), RiskStop(watch, watch.policy.decide)]
            changed["stopping_criteria"] = StoppingCriteriaList(criteria)
        watch.batch = batch = Batch(Trace(), beams=call.beams > 1, n_columns=call.n_columns or None)
        with watch.tap.into(batch.trace):
            out = self.original(**{**arguments, **changed})
            self._record(call, batch, out)
        watch.batch = None
        watch.tap.close()
        return out.sequences if unwrap else out

    def _record(self, call: Call, batch: Batch, out: Any) -> None:
        sequences: Tensor = getattr(out, "sequences", out)
        tokens = [_ended(row, call, self._decode(call)) for row in sequences[:, call.n_columns :].tolist()]
        rows = np.arange(len(tokens))
        table = batch.trace.table()
        if call.beams > 1:
            # Beams share no row with their answers: follow each from forward to forward.
            lineage = out.beam_indices.cpu().numpy()
            table, rows = batch.trace.along(lineage), lineage[:, 0]
        n_prompts = [batch.n_prompt(row) for row in rows.tolist()]
        ends = [n + n_read(len(ids), n_answer) for n, (ids, n_answer, _) in zip(n_prompts, tokens, strict=True)]
        table = self._completed(call, sequences, table, n_prompts, ends)
        for number, (ids, n_answer, finish) in enumerate(tokens):
            values = table[number, : ends[number]]
            self.watch.record(number, values, n_prompts[number], ids, n_answer=n_answer, finish=finish)

    def _completed(
        self, call: Call, sequences: Tensor, table: np.ndarray, n_prompts: list[int], ends: list[int]
    ) -> np.ndarray:
        """Read last tokens that were generated but never run, where the probe's position has them."""
        width = max(ends)
        if table.shape[1] < width:
            table = np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=np.nan)
        last = table[np.arange(len(ends)), np.array(ends) - 1]
        unread = np.isnan(last) & ~np.array([self.watch.was_stopped(number) for number in range(len(ends))])
        if not (self.watch.needs_last and unread.any()):
            return table
        n_pads = torch.tensor([call.n_columns - n for n in n_prompts], device=sequences.device)
        mask = (torch.arange(sequences.shape[1], device=sequences.device) >= n_pads[:, None]).long()
        again = Trace()
        with self.watch.tap.into(again, only_this=True):
            _read(self.arch.base, sequences, mask, self._cache(call, sequences))
        found = again.table()
        found = np.pad(found, ((0, 0), (0, max(table.shape[1] - found.shape[1], 0))), constant_values=np.nan)
        return np.where(np.isnan(table), found[:, : table.shape[1]], table)

    def _cache(self, call: Call, sequences: Tensor) -> DynamicCache | None:
        """The cache that `generate` used, if it ends before the last token and nobody else will use it."""
        cache = self.watch.tap.clock.cache
        others = "past_key_values" in call.arguments or call.wants("return_dict_in_generate", self.hf)
        if others or call.beams > 1 or not isinstance(cache, DynamicCache):
            return None
        return cache if cache.get_seq_length() == sequences.shape[1] - 1 else None

    @staticmethod
    def _decode(call: Call) -> Decode:
        tokenizer: Any = call.arguments.get("tokenizer")
        return lambda ids: tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _ended(ids: list[int], call: Call, decode: Decode) -> tuple[list[int], int, str]:
    """One row's generated tokens without padding, how many of them are text, and what ended it."""
    first_eos = next((i for i, token in enumerate(ids) if token in call.eos), None)
    if call.stop:
        for n in range(1, len(ids[:first_eos]) + 1):
            text = decode(ids[:n])
            cuts = [at for at in (text.find(stop) for stop in call.stop) if at >= 0]
            if cuts:
                # A token may hold the answer's end and the stop string: it counts if it begins before the cut.
                return ids[:n], sum(len(decode(ids[:i])) < min(cuts) for i in range(n)), "stop"
    if first_eos is not None:
        return ids[: first_eos + 1], first_eos, "eos"
    return ids, len(ids), "length"


@torch.no_grad()
def _read(base: Any, ids: Tensor, mask: Tensor, cache: DynamicCache | None) -> None:
    """Run the columns that the cache lacks."""
    start = ids.shape[1] - 1 if cache is not None else 0
    optional: dict[str, Any] = {}
    if "position_ids" in inspect.signature(base.forward).parameters:
        optional["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, start:]
    if cache is not None:
        optional["past_key_values"] = cache
    base(input_ids=ids[:, start:], attention_mask=mask, use_cache=cache is not None, **optional)


def _rows_of(arguments: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """The arguments for some rows of the batch."""
    ids = arguments.get("input_ids", arguments.get("inputs"))
    n = len(ids) if ids is not None else 0
    pick = list(rows)
    return {k: v[pick] if isinstance(v, Tensor) and v.dim() and len(v) == n else v for k, v in arguments.items()}


def _check_resample(call: Call, hf: Any) -> None:
    returned = call.arguments.get("num_return_sequences") or getattr(hf.generation_config, "num_return_sequences", 1)
    if call.beams > 1 or not call.samples:
        raise InputError("policy 'resample' draws again, but nothing is drawn here; use do_sample=True and num_beams=1")
    if (returned or 1) > 1 or call.wants("return_dict_in_generate", hf):
        raise InputError(
            "policy 'resample' returns one tensor; leave out num_return_sequences, return_dict_in_generate"
        )
