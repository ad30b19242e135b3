"""Generation, row by row exact: greedy or sampled, with stop strings, log-probabilities and entropies.

decoding = Decoding(max_new_tokens=8, stop=("\\n",))
generate_batch(model, rows, decoding, SharedPrefix([]))     # list of Generation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ellora_trust.batching import Row
from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder
from ellora_trust.inference import SharedPrefix, State, forward, score_batch, start_recorder, step

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Finish = Literal["stop", "eos", "length", "abstain", "given"]


@dataclass(frozen=True)
class Decoding:
    """How an answer is produced.

    Attributes:
        max_new_tokens: At most this many tokens, >= 1.
        stop: An answer ends before the first of these strings.
        temperature: 0 is greedy; otherwise logits are divided by it.
        seed: Of the sampling; each row has its own stream, so that batching changes nothing.
    """

    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if self.temperature < 0:
            raise InputError(f"temperature is {self.temperature}; it must be 0 (greedy) or positive")


@dataclass(frozen=True)
class Generation:
    """One answer.

    Attributes:
        text: The answer, without the stop string.
        tokens: All generated token ids, the one that ended the answer included.
        n_answer: How many of them make up `text`.
        logprobs: log p of each token, in nats, one for each of `tokens`, at temperature 1.
        entropies: Entropy in nats of the distribution each token was chosen from, at temperature 1.
        finish: What ended it: a stop string, the end-of-text token, the length limit, or an observer (`abstain`);
            `given` where the answer was not generated but scored.
    """

    text: str
    tokens: list[int]
    n_answer: int
    logprobs: list[float]
    entropies: list[float]
    finish: Finish

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Draft:
    """An answer being written."""

    number: int
    random: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    done: Generation | None = None
    fed_last: bool = False

    def needs_feed(self, recording: bool) -> bool:
        """Whether its newest token must be run: to go on, or because somebody reads the answer's activations."""
        if self.done is None:
            return True
        return recording and not self.fed_last and self.done.n_answer == len(self.tokens)

    def finish(self, text: str, n_answer: int, finish: Finish) -> None:
        self.done = Generation(text, self.tokens, n_answer, self.logprobs, self.entropies, finish)


def generate_batch(
    model: CodeModel,
    rows: Sequence[Row],
    decoding: Decoding,
    prefix: SharedPrefix,
    *,
    recorder: Recorder | None = None,
    numbers: Sequence[int] | None = None,
) -> list[Generation]:
    """Generate an answer for each row.

    Args:
        model: The model.
        rows: Prompts (their answers are empty).
        decoding: How.
        prefix: First tokens that the rows share.
        recorder: Attached; it sees every token of the answer, the last one too.
        numbers: Each row's place in the whole run, which seeds its sampling.
    """
    drafts = [_Draft(n, _stream(decoding, n, model.device)) for n in (numbers or range(len(rows)))]
    if recorder is not None:
        start_recorder(recorder, rows, prefix, grows=True)
    n_shared = len(prefix.ids)
    for observer in model.observers:
        observer.begin(rows, [draft.number for draft in drafts], n_shared)
    state = forward(model, [row.ids[n_shared:] for row in rows], keep_logits=1, use_cache=True, prefix=prefix)
    live = list(drafts)
    while live:
        _heed(model, live)
        if state.logits is not None:
            _extend(model, live, state.logits[:, -1], decoding)
        live = _advance(model, live, state, recorder)
    done = [draft.done for draft in drafts if draft.done is not None]
    for observer in model.observers:
        observer.end(done)
    return done


def _stream(decoding: Decoding, number: int, device: torch.device) -> torch.Generator | None:
    if decoding.temperature == 0:
        return None
    # A row's stream depends on nothing but the seed and its number.
    return torch.Generator(device).manual_seed(decoding.seed * 1_000_003 + number)


def _heed(model: CodeModel, live: list[_Draft]) -> None:
    """Let observers see what was read; an answer that one of them stops ends with what there is."""
    for observer in model.observers:
        for i in observer.stops([draft.tokens if draft.done is None else None for draft in live]):
            live[i].finish(model.decode(live[i].tokens), len(live[i].tokens), "abstain")
            live[i].fed_last = True


def _extend(model: CodeModel, live: list[_Draft], logits: Tensor, decoding: Decoding) -> None:
    """Choose the next token of every row that is not done, and notice which are done with it."""
    logprobs = torch.log_softmax(logits, -1)
    entropies = -(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1)
    chosen = _choose(live, logits, decoding)
    values = logprobs.gather(-1, chosen[:, None])[:, 0].tolist()
    for draft, token, value, entropy in zip(live, chosen.tolist(), values, entropies.tolist(), strict=True):
        if draft.done is None:
            draft.tokens.append(token)
            draft.logprobs.append(value)
            draft.entropies.append(entropy)
            _notice_end(model, draft, decoding)


def _choose(live: list[_Draft], logits: Tensor, decoding: Decoding) -> Tensor:
    if decoding.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits / decoding.temperature, -1)
    # argmax(p / Exponential(1)) is a sample from p, and lets each row draw from its own stream.
    noise = [torch.empty_like(logits[0]).exponential_(generator=draft.random) for draft in live]
    return (probabilities / torch.stack(noise)).argmax(-1)


def _notice_end(model: CodeModel, draft: _Draft, decoding: Decoding) -> None:
    tokens = draft.tokens
    if tokens[-1] in model.eos_ids:
        draft.finish(model.decode(tokens[:-1]), len(tokens) - 1, "eos")
        return
    text = model.decode(tokens)
    cuts = [at for at in (text.find(stop) for stop in decoding.stop) if at >= 0]
    if cuts:
        # A token may hold the answer's end and the stop string: it counts if it begins before the cut.
        n_answer = sum(len(model.decode(tokens[:i])) < min(cuts) for i in range(len(tokens)))
        draft.finish(text[: min(cuts)], n_answer, "stop")
    elif len(tokens) == decoding.max_new_tokens:
        draft.finish(text, len(tokens), "length")


def _advance(model: CodeModel, live: list[_Draft], state: State, recorder: Recorder | None) -> list[_Draft]:
    """Feed the newest tokens; rows that need nothing more leave the batch once they are half of it."""
    recording = recorder is not None or any(observer.needs_last for observer in model.observers)
    wanted = [draft.needs_feed(recording) for draft in live]
    if not any(wanted):
        return []
    if 2 * sum(wanted) <= len(live) and hasattr(state.cache, "batch_select_indices"):
        kept = [i for i, want in enumerate(wanted) if want]
        keep = torch.tensor(kept, device=model.device)
        live = [live[i] for i in kept]
        state.cache.batch_select_indices(keep)
        state.mask = state.mask[keep]
        if recorder is not None:
            recorder.select(keep)
        if model.batch is not None:
            model.batch = model.batch.select(kept)
        for observer in model.observers:
            observer.select(kept)
        wanted = [True] * len(live)
    if recorder is not None:
        recorder.clock.active = torch.tensor(wanted, device=model.device)
    # A row that was stopped at once has no token; what it is fed counts for nothing.
    tokens = torch.tensor([draft.tokens[-1] if draft.tokens else model.pad_id for draft in live], device=model.device)
    unfinished = any(draft.done is None for draft in live)
    step(model, tokens, state, keep_logits=1 if unfinished else 0)
    for draft in live:
        draft.fed_last = draft.done is not None
    return live


def score_as_generations(
    model: CodeModel, rows: Sequence[Row], prefix: SharedPrefix, *, recorder: Recorder | None = None
) -> list[Generation]:
    """Return given answers as if they had been generated: tokens with log-probability and entropy."""
    scores = score_batch(model, rows, prefix, recorder=recorder)
    done = []
    for row, score in zip(rows, scores, strict=True):
        tokens = row.ids[row.n_prompt :]
        logprobs, entropies = score.logprobs.tolist(), score.entropies.tolist()
        done.append(Generation(model.decode(tokens), tokens, len(tokens), logprobs, entropies, "given"))
    return done
