"""Kronfluence: EK-FAC and plain gradients. Nothing is kept of a document; new questions read the corpus again.

By itself it takes every Linear, the head included; its language-model examples name modules of the body. Its default
damping is 1e-8; None is a tenth of the mean eigenvalue, as everywhere else here. It batches documents as they come, so
they are given sorted by length.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM

from attribution.gradient.losses import Counted
from benchmarks.attribution_peers.tool import IGNORED, Material, Scores, quiet, row

_DOCUMENTS, _QUERIES = 16, 128  # of a batch
_NAME = "peers"


class Kronfluence:
    """One strategy over some modules.

    Args:
        material: What is read.
        folder: Where factors go.
        strategy: Of its factors.
        head: Whether the head takes part.
        damping: Added to the eigenvalues; None for its heuristic.
    """

    n_bytes = 0

    def __init__(
        self,
        material: Material,
        folder: Path,
        *,
        strategy: Literal["ekfac", "identity"] = "ekfac",
        head: bool = True,
        damping: float | None = None,
    ):
        from kronfluence.analyzer import Analyzer, prepare_model
        from kronfluence.utils.dataset import DataLoaderKwargs

        hf = AutoModelForCausalLM.from_pretrained(material.checkpoint, dtype=torch.float32)
        body = [name for name, one in hf.named_modules() if isinstance(one, nn.Linear) and name != "lm_head"]
        task = _task(None if head else body)
        with quiet():
            analyzer = Analyzer(
                _NAME, prepare_model(hf, task), task, cpu=True, disable_tqdm=True, output_dir=str(folder)
            )
        analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=_collated))
        self._analyzer, self._strategy, self._damping = analyzer, strategy, damping
        self._factors = f"{strategy} {head}"
        self._order = np.argsort([len(text.ids) for text in material.documents], kind="stable")
        self._documents = _Texts([material.documents[i] for i in self._order])

    def build(self) -> None:
        from kronfluence.arguments import FactorArguments

        with quiet():
            # In a folder that has the factors, they are read: damping comes later.
            self._analyzer.fit_all_factors(
                self._factors,
                self._documents,
                per_device_batch_size=_DOCUMENTS,
                factor_args=FactorArguments(strategy=self._strategy),
            )

    def scores(self, targets: Sequence[Counted]) -> Scores:
        from kronfluence.arguments import ScoreArguments

        with quiet():
            self._analyzer.compute_pairwise_scores(
                _NAME,
                self._factors,
                _Texts(targets),
                self._documents,
                per_device_query_batch_size=_QUERIES,
                per_device_train_batch_size=_DOCUMENTS,
                score_args=ScoreArguments(damping_factor=self._damping),
                overwrite_output_dir=True,
            )
            found = self._analyzer.load_pairwise_scores(_NAME)["all_modules"]
        scores = np.empty(found.shape)
        scores[:, self._order] = found.double().numpy()
        return scores

    def ask(self, target: Counted) -> object:
        return self.scores([target])


def _task(modules: list[str] | None) -> Any:
    from kronfluence.task import Task

    class Loss(Task):
        # Parameters are passed by these names.
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            logits, labels = logits.flatten(0, 1), batch["labels"][:, 1:].flatten()
            if sample:
                drawn = torch.multinomial(logits.detach().softmax(-1), 1).flatten()
                labels = drawn.where(labels != IGNORED, labels)
            return cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self) -> list[str] | None:
            return modules

        def get_attention_mask(self, batch: Any) -> Tensor:
            return batch["attention_mask"]

    return Loss()


class _Texts(Dataset):
    def __init__(self, texts: Sequence[Counted]):
        self._rows = [row(text) for text in texts]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._rows[number]


def _collated(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    width = max(one["length"] for one in rows)

    def padded(name: str, value: int) -> Tensor:
        return torch.tensor([one[name] + [value] * (width - one["length"]) for one in rows])

    mask = torch.tensor([[1] * one["length"] + [0] * (width - one["length"]) for one in rows])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED), "attention_mask": mask}
