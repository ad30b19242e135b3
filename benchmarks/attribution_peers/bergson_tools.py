"""Bergson: its stored index, its TrackStar and its EK-FAC, through the functions behind its commands.

Settings are those of its commands but for the batch, which may not exceed the model's context. All three read
`model.base_model` and so leave the head out. Names are imported inside the functions: the package may be missing.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy

from attribution.gradient.losses import Counted
from benchmarks.attribution_peers.tool import Material, Scores, quiet, row

_BATCH = 2048  # tokens; its default


class _Bergson(ABC):
    n_bytes = 0

    def __init__(self, material: Material, folder: Path):
        self.material, self.folder = material, folder
        self.corpus = self._saved(material.documents, "corpus")

    def ask(self, target: Counted) -> object:
        return self.scores([target])

    @abstractmethod
    def scores(self, targets: Sequence[Counted]) -> Scores: ...

    def _saved(self, texts: Sequence[Counted], name: str) -> str:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        with quiet():
            Dataset.from_list([row(text) for text in texts]).save_to_disk(str(self.folder / name))
        return str(self.folder / name)

    def _config(self, run: Path, **settings: Any) -> Any:
        from bergson import DataConfig, IndexConfig

        size = min(_BATCH, self.material.model.max_length)
        return IndexConfig(
            run_path=str(run),
            model=str(self.material.checkpoint),
            data=DataConfig(dataset=self.corpus),
            token_batch_size=size,
            **settings,
        )

    def _read(self, place: Path) -> Scores:
        from bergson.data import load_scores

        return np.asarray(load_scores(place)[:], np.float64).T


class StoredIndex(_Bergson):
    """`bergson build` and `bergson query`: gradients on disk, projected to p x p a module, compared by cosine."""

    def __init__(self, material: Material, folder: Path, projection: int):
        super().__init__(material, folder)
        self.projection = projection

    def build(self) -> None:
        from bergson import Attributor, PreprocessConfig
        from bergson.build import build
        from bergson.utils.worker_utils import setup_model_and_peft

        config = self._config(self.folder / "index", projection_dim=self.projection)
        with quiet():
            build(config, PreprocessConfig())
            self._attributor = Attributor(config.run_path, unit_norm=True)
            self._hf: Any = setup_model_and_peft(config)[0]
        self.n_bytes = (Path(config.run_path) / "gradients.bin").stat().st_size // len(self.material.documents)

    def scores(self, targets: Sequence[Counted]) -> Scores:
        found = np.zeros((len(targets), len(self.material.documents)))
        for scores, target in zip(found, targets, strict=True):
            with self._attributor.trace(self._hf.base_model, None) as traced:
                one = row(target)
                logits = self._hf(torch.tensor([one["input_ids"]]), use_cache=False).logits[0, :-1]
                cross_entropy(logits, torch.tensor(one["labels"][1:]), reduction="sum").backward()
            self._hf.zero_grad(set_to_none=True)
            scores[traced.indices.flatten().numpy()] = traced.scores.flatten().numpy()
        return found


class TrackStar(_Bergson):
    """`bergson trackstar`: nothing is kept of a document; new questions read the corpus again."""

    def build(self) -> None:
        from bergson.cli.commands import Hessian
        from bergson.config import HessianConfig

        settings = self._config(self.folder / "run" / "value_hessian", projection_dim=16)
        with quiet():
            Hessian(hessian_cfg=HessianConfig(method="autocorrelation"), index_cfg=settings).execute()

    def scores(self, targets: Sequence[Counted]) -> Scores:
        from bergson import QuerySetConfig
        from bergson.cli.trackstar import trackstar
        from bergson.config import TrackstarConfig

        run = self.folder / "run"
        for name in ("query_hessian", "mixed_hessian", "query", "scores"):
            shutil.rmtree(run / name, ignore_errors=True)
        asked = QuerySetConfig(dataset=self._saved(targets, "asked"))
        with quiet():
            trackstar(self._config(run, projection_dim=16), TrackstarConfig(query=asked, resume=True))
        return self._read(run / "scores")


class EkFac(_Bergson):
    """`bergson ekfac` with corrected eigenvalues: factors are kept; new questions read the corpus again."""

    def build(self) -> None:
        from bergson.hessians.hessian_approximations import approximate_hessians

        with quiet():
            approximate_hessians(self._config(self.folder / "run" / "hessian" / "kfac"), self._method())

    def scores(self, targets: Sequence[Counted]) -> Scores:
        from bergson import PreprocessConfig, QuerySetConfig, ScoreConfig
        from bergson.config import HessianPipelineConfig
        from bergson.hessians.pipeline import hessian_pipeline

        run = self.folder / "run"
        for name in ("query", "kfac_query", "scores"):
            shutil.rmtree(run / name, ignore_errors=True)
        asked = QuerySetConfig(dataset=self._saved(targets, "asked"))
        with quiet():
            hessian_pipeline(
                self._config(run),
                self._method(),
                ScoreConfig(),
                PreprocessConfig(),
                HessianPipelineConfig(query=asked, resume=True),
            )
        return self._read(run / "scores")

    def _method(self) -> Any:
        from bergson.config import HessianConfig

        return HessianConfig(method="kfac", ev_correction=True)
