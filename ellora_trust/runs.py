"""Many texts through a model: shards in a fixed order, each one whole or absent, with progress and resume.

result = run(model, passages, decoding=Decoding(max_new_tokens=8), recorder=recorder, store=Path("runs/store"))
result.generations, result.activations
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ellora_trust.batching import Row, plan_batches, tokenize
from ellora_trust.decoding import Decoding, Generation, generate_batch, score_as_generations
from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder
from ellora_trust.inference import SharedPrefix, forward, start_recorder
from ellora_trust.layout import Batch, running
from ellora_trust.positions import Passage
from ellora_trust.progress import Progress
from ellora_trust.share import ALL, Share
from ellora_trust.store import Activations, ActivationStore, Key, Values

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Run:
    """What came of it, in the order of the passages.

    Attributes:
        generations: Empty if nothing was generated.
        activations: Empty if nothing was recorded.
    """

    generations: list[Generation]
    activations: Activations


def run(
    model: CodeModel,
    passages: Sequence[Passage],
    *,
    decoding: Decoding | None = None,
    score: bool = False,
    recorder: Recorder | None = None,
    store: Path | None = None,
    token_budget: int | None = None,
    share: Share = ALL,
    progress: bool = False,
    label: str = "running",
) -> Run:
    """Generate from, or score, or only record each passage; one forward pass a token.

    Args:
        model: The model.
        passages: What it reads.
        decoding: How to answer; None generates nothing.
        score: Score the passages' own answers.
        recorder: What to capture; None captures nothing.
        store: Folder for shards; a killed run started again goes on where it stopped.
        token_budget: Padded tokens in a batch; the model's own default if None.
        share: Which shards of the store to write; of a part of them nothing is returned, since a call without a share
            joins them.
        progress: Show a progress bar on standard error.
        label: What the bar says.

    Raises:
        InputError: No passage, one that does not fit, or a share without a store.
    """
    if not passages:
        raise InputError("there is nothing to run: the list of prompts is empty; give at least one")
    if share.of > 1 and store is None:
        raise InputError(f"share {share.name} has nowhere to go; give the folder that all shares write to as store")
    reserve = decoding.max_new_tokens if decoding else 0
    rows = [tokenize(model, p, number=i, reserve=reserve) for i, p in enumerate(passages)]
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
    disk = ActivationStore(store, _identity(model, rows, decoding, recorder, score), order) if store else None
    shards = disk.shards if disk else [order]
    mine = [number for number in range(len(shards)) if share.has(number)]
    work = _Work(model, rows, decoding, score, recorder, token_budget or model.token_budget)
    for observer in model.observers if decoding else ():
        observer.start(len(rows))
    with (
        recorder.attached() if recorder else nullcontext(),
        Progress(sum(len(shards[number]) for number in mine), label, enabled=progress) as bar,
    ):
        if disk is None:
            return _in_order(order, *work.shard(order, bar))
        for number in mine:
            if disk.done(number):
                bar.advance(len(shards[number]))
                continue
            generations, values = work.shard(shards[number], bar)
            disk.write(number, values, [g.to_dict() for g in generations])
    if share.of > 1:
        return Run([], Activations({}))
    return Run([Generation(**g) for g in disk.records()], disk.activations() if recorder else Activations({}))


def _in_order(order: list[int], generations: list[Generation], values: dict[Key, Values]) -> Run:
    """What was run in some order, in the order that was given."""
    back = torch.tensor(order).argsort()
    sorted_generations = [generations[place] for place in back.tolist()] if generations else []
    return Run(sorted_generations, Activations({key: _reorder(value, back) for key, value in values.items()}))


def capture_passages(
    model: CodeModel,
    passages: Sequence[Passage],
    recorder: Recorder,
    *,
    store: Path | None,
    token_budget: int | None,
    progress: bool,
) -> Activations:
    """Read the passages and return what the recorder saw."""
    result = run(
        model,
        passages,
        recorder=recorder,
        store=store,
        token_budget=token_budget,
        progress=progress,
        label="capturing",
    )
    return result.activations


@dataclass
class _Work:
    model: CodeModel
    rows: list[Row]
    decoding: Decoding | None
    score: bool
    recorder: Recorder | None
    token_budget: int
    prefix: SharedPrefix | None = None

    def shard(self, numbers: Sequence[int], bar: Progress) -> tuple[list[Generation], dict[Key, Values]]:
        """Run these rows; generations and activations come back in the order of `numbers`."""
        if self.prefix is None:
            self.prefix = SharedPrefix.compute(self.model, self.rows, self.recorder)
        n_shared = len(self.prefix.ids)
        reserve = self.decoding.max_new_tokens if self.decoding else 0
        lengths = [len(self.rows[n].ids) - n_shared + reserve for n in numbers]
        generations: dict[int, Generation] = {}
        pieces: dict[Key, dict[int, torch.Tensor]] = {}
        for batch in plan_batches(lengths, self.token_budget):
            chosen = [numbers[i] for i in batch]
            rows = [self.rows[n] for n in chosen]
            generations.update(zip(batch, self._batch(rows, chosen), strict=False))
            if self.recorder:
                for key, value in self.recorder.finish().items():
                    pieces.setdefault(key, {}).update(zip(batch, value, strict=True))
            bar.advance(len(batch))
        values = {key: self._join(key, found) for key, found in pieces.items()}
        return [generations[i] for i in sorted(generations)], values

    def _batch(self, rows: list[Row], numbers: list[int]) -> list[Generation]:
        with running(self.model, Batch.of(rows, numbers)):
            return self._forward(rows, numbers)

    def _forward(self, rows: list[Row], numbers: list[int]) -> list[Generation]:
        assert self.prefix is not None, "shard() computes it"
        if self.decoding:
            return generate_batch(self.model, rows, self.decoding, self.prefix, recorder=self.recorder, numbers=numbers)
        if self.score:
            return score_as_generations(self.model, rows, self.prefix, recorder=self.recorder)
        if self.recorder:
            start_recorder(self.recorder, rows, self.prefix)
        ids = [row.ids[len(self.prefix.ids) :] for row in rows]
        forward(self.model, ids, keep_logits=0, use_cache=False, prefix=self.prefix)
        return []

    @staticmethod
    def _join(key: Key, found: dict[int, torch.Tensor]) -> Values:
        ordered = [found[i].cpu() for i in sorted(found)]
        return ordered if key[1] == "all" or key[1].endswith(".all") else torch.stack(ordered)


def _reorder(value: Values, back: torch.Tensor) -> Values:
    return [value[i] for i in back.tolist()] if isinstance(value, list) else value[back]


def _identity(
    model: CodeModel, rows: list[Row], decoding: Decoding | None, recorder: Recorder | None, score: bool
) -> dict[str, object]:
    texts = json.dumps([(row.ids, row.n_prompt, dict(row.spans)) for row in rows])
    return {
        "model": model.fingerprint,
        "sites": [str(site) for site in recorder.sites] if recorder else [],
        "positions": [position.name for position in recorder.positions] if recorder else [],
        "decoding": asdict(decoding) if decoding else None,
        "score": score,
        "texts": hashlib.sha256(texts.encode()).hexdigest(),
        "n": len(rows),
    }
