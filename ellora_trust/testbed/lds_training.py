"""Makes the ground truth of the linear datamodelling score: small models retrained on random halves of a corpus.

    setting = Setting()
    retrain(setting, tokenizer, Path("runs/lds"), workers=2, progress=True)     # resumes where it stopped

All models of a seed share initialisation and order: a step reads the same batch, less the documents that are left out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ellora_trust.cachedir import replacing
from ellora_trust.progress import Progress
from ellora_trust.quiet import quiet_transformers
from ellora_trust.testbed.batches import IGNORED
from ellora_trust.testbed.documents import corpus_hash
from ellora_trust.testbed.lds import Truth
from ellora_trust.testbed.lds_setting import BoolArray, Setting, queries
from ellora_trust.testbed.training import make_optimizer

FloatArray = NDArray[np.float64]
_EVALUATED = 256  # queries in a batch


@dataclass(frozen=True)
class Texts:
    """Token ids, padded on the right, and which of them count.

    Attributes:
        ids: (n, longest), int64; IGNORED at the padding.
        first: Where the part that counts begins, (n,).
    """

    ids: Tensor
    first: Tensor

    @classmethod
    def of(cls, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> Texts:
        """Tokenise texts given as what does not count and what does; both end in the end-of-text token."""
        rows, first = [], []
        for before, after in pairs:
            start = tokenizer(before).input_ids if before else []
            rows.append([*start, *tokenizer(after).input_ids, tokenizer.eos_token_id])
            first.append(max(1, len(start)))
        width = max(len(row) for row in rows)
        padded = [row + [IGNORED] * (width - len(row)) for row in rows]
        return cls(torch.tensor(padded), torch.tensor(first))

    def losses(self, model: Any, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return summed losses in nats and numbers of tokens of some texts, (n_chosen,) each."""
        ids = self.ids[chosen]
        ids = ids[:, : int((ids != IGNORED).sum(1).max())]
        logits = model(input_ids=ids.clamp_min(0)).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        counts = (torch.arange(1, ids.shape[1]) >= self.first[chosen, None]) & (ids[:, 1:] != IGNORED)
        return (each * counts).sum(1), counts.sum(1)


def train_subset(setting: Setting, tokenizer: Any, texts: Texts, subset: BoolArray, *, seed: int = 0) -> Any:
    """Return a model trained on a subset of the documents, (n_documents,); the same seed has the same batches."""
    recipe = setting.recipe(seed, len(tokenizer))
    model = recipe.build(tokenizer)
    optimizer = make_optimizer(model, recipe)
    batches = [one for epoch in range(setting.epochs) for one in _batches(setting, texts, f"{seed}/{epoch}")]
    for step, numbers in enumerate(batches):
        batch = [number for number in numbers if subset[number]]
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, len(batches))
        if not batch:
            continue
        total, count = texts.losses(model, torch.tensor(batch))
        (total.sum() / count.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()


def _batches(setting: Setting, texts: Texts, key: str) -> list[list[int]]:
    """All documents in batches of about one length; which of them are in a subset changes nothing."""
    rng = random.Random(key)
    order = list(range(len(texts.ids)))
    rng.shuffle(order)
    lengths = (texts.ids != IGNORED).sum(1).tolist()
    order.sort(key=lengths.__getitem__)  # stable, so documents of one length stay shuffled
    found = [order[start : start + setting.batch] for start in range(0, len(order), setting.batch)]
    rng.shuffle(found)
    return found


@torch.no_grad()
def query_losses(model: Any, texts: Texts) -> FloatArray:
    """Return the mean loss of each query's answer in nats per token, (n_queries,)."""
    parts = []
    for chosen in torch.arange(len(texts.ids)).split(_EVALUATED):
        total, count = texts.losses(model, chosen)
        parts.append((total / count).double())
    return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Trainer:
    """Everything a process needs to train one of the models.

    Attributes:
        setting: All that decides.
        tokenizer: Whose vocabulary the models have.
        folder: Where the losses of each model are kept, so that a stopped run goes on.
    """

    setting: Setting
    tokenizer: Any
    folder: Path

    @cached_property
    def documents(self) -> Texts:
        return Texts.of(self.tokenizer, [("", document.text) for document in self.setting.documents()])

    @cached_property
    def questions(self) -> Texts:
        return Texts.of(self.tokenizer, [(one.prompt, one.answer) for one in queries(self.setting)])

    def losses(self, job: tuple[int, int]) -> list[float]:
        """Return what the model of a subset and a seed makes of the queries."""
        number, seed = job
        path = self.folder / f"{number:03d}-{seed}.json"
        if not path.exists():
            subset = self.setting.subsets(len(self.documents.ids))[number]
            model = train_subset(self.setting, self.tokenizer, self.documents, subset, seed=seed)
            with replacing(path) as beside:
                beside.write_text(json.dumps(query_losses(model, self.questions).tolist()), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))


def retrain(setting: Setting, tokenizer: Any, out: Path, *, workers: int = 1, progress: bool = False) -> Path:
    """Train one model a subset and the base model on all, and write what a scorer needs.

    Args:
        setting: All that decides.
        tokenizer: Whose vocabulary the models have.
        out: Folder of the base model and the truth; beside it, `NAME-runs` keeps the losses of each model.
        workers: Processes of one thread each, which for models this small is faster than threads.
        progress: Show rate and time left.

    Returns:
        The folder, which `Truth.read` and `et.load` read.

    Raises:
        EnvironmentProblem: The folder cannot be written.
    """
    trainer = Trainer(setting, tokenizer, out.with_name(f"{out.name}-runs"))
    jobs = [(i, seed) for seed in range(setting.n_seeds) for i in range(setting.n_subsets)]
    rows: list[list[float]] = []
    with Progress(len(jobs), "retraining", enabled=progress) as bar, ExitStack() as stack:
        results = map(trainer.losses, jobs)
        if workers > 1:
            pool = ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,))
            results = stack.enter_context(pool).map(trainer.losses, jobs)
        for row in results:
            rows.append(row)
            bar.advance(1)
    documents = setting.documents()
    base = train_subset(setting, tokenizer, trainer.documents, np.ones(len(documents), dtype=bool))
    truth = Truth(
        setting,
        [document.id for document in documents],
        corpus_hash(documents),
        queries(setting),
        setting.subsets(len(documents)),
        np.array(rows).reshape(setting.n_seeds, setting.n_subsets, -1),
        query_losses(base, trainer.questions),
    )
    with replacing(out) as beside, quiet_transformers():
        base.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        truth.write(beside)
    return out
