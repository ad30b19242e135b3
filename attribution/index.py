"""`GradientIndex`: which training documents made a text likelier, asked again and again without reading them again.

    index = GradientIndex.build(model, [Source("a.py", text, {"licence": "MIT"})], Path("runs/index"))
    index = GradientIndex.load(Path("runs/index"), model)
    index.query([answer(model, prompt, completion)], k=10)[0]       # hits: id, score, proponent or opponent, columns
    index.scores([spans(model, text, [(20, 28)])])                  # (n_targets, n_documents)

A score above zero says that a training step on the document makes the target likelier. It estimates the dot product of
the whitened gradients, up to a factor that is the same for all documents of a target.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attribution.documents.building import (
    ALL,
    FACTORS,
    KIND,
    Plan,
    Source,
    describe,
    factors,
    projector,
    shard_path,
    write_shards,
)
from attribution.documents.nearest import Hit, nearest
from attribution.documents.shards import Shard, recorded_checksum
from attribution.gradient.encoding import Encoding, products
from attribution.gradient.kfac import Curvature
from attribution.gradient.losses import Target
from ellora_trust.artifacts import DESCRIPTION, Artifact, read, read_description
from ellora_trust.errors import InputError
from ellora_trust.share import Share

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


class GradientIndex:
    """Rows of a corpus in files, and the model that can be asked about them.

    Use `build` or `load`.

    Attributes:
        folder: Where it lies.
        artifact: What it says of itself.
        plan: What decided its bytes.
        projector: What makes rows of texts.
    """

    def __init__(self, folder: Path, artifact: Artifact, model: CodeModel, curvature: Curvature):
        self.folder, self.artifact = folder, artifact
        self.plan = Plan(**{**artifact.config["plan"], "parts": tuple(artifact.config["plan"]["parts"])})
        self._model, self._curvature = model, curvature
        self._opened: dict[int, Shard] = {}
        self.projector = projector(model, self.plan, curvature)

    def __len__(self) -> int:
        """Documents."""
        return int(self.artifact.data["n_documents"])

    @classmethod
    def build(
        cls,
        model: CodeModel,
        documents: Sequence[Source],
        out: Path,
        *,
        plan: Plan | None = None,
        progress: bool = False,
    ) -> GradientIndex:
        """Index a corpus; started again after a kill it goes on, and gives the same bytes.

        Args:
            model: The model that was trained on the documents.
            documents: Any sequence, also one that reads from disk.
            out: The folder.
            plan: What decides the bytes.
            progress: Show rate and time left.

        Raises:
            InputError: No documents, one without tokens, or a folder of another plan, model or corpus.
            EnvironmentProblem: The folder cannot be written.
        """
        cls.build_share(model, documents, out, ALL, plan=plan, progress=progress)
        return cls.load(out, model)

    @classmethod
    def build_share(
        cls,
        model: CodeModel,
        documents: Sequence[Source],
        out: Path,
        share: Share,
        *,
        plan: Plan | None = None,
        progress: bool = False,
    ) -> bool:
        """Write this process's share of the shards; the bytes are those that one process writes.

        Returns:
            Whether all shards are there now, and so the index is finished.
        """
        plan = plan or Plan()
        curvature = factors(model, documents, out, plan, progress=progress)
        n_shards = write_shards(model, documents, out, plan, curvature, share=share, progress=progress)
        complete = all(shard_path(out, number).exists() for number in range(n_shards))
        if complete:
            describe(model, out, plan, n_documents=len(documents), n_shards=n_shards)
        return complete

    @classmethod
    def load(cls, folder: Path, model: CodeModel, *, force: bool = False) -> GradientIndex:
        """Open an index for a model.

        Raises:
            InputError: No finished index there, a damaged one, or one of another model (unless forced).
        """
        if (folder / FACTORS).exists() and not (folder / DESCRIPTION).exists():
            raise InputError(f"the index in {folder} is not finished; build it again, which goes on where it stopped")
        artifact = read_description(folder)
        if artifact.kind != KIND:
            raise InputError(f"{folder} holds a {artifact.kind}, not a {KIND}; give the right folder")
        artifact.check_model(model, force=force)
        fitted, tensors = read(folder / FACTORS, kind="gradient-factors")
        return cls(folder, artifact, model, Curvature.restored(tensors, dict(fitted.config["curvature"])))

    def extend(self, documents: Sequence[Source], *, progress: bool = False) -> GradientIndex:
        """Add documents in shards of their own and return the larger index; the factors stay as they are.

        Raises:
            InputError: As `build`.
        """
        first = int(self.artifact.data["n_shards"])
        n_shards = write_shards(
            self._model, documents, self.folder, self.plan, self._curvature, first=first, progress=progress
        )
        n_documents = len(self) + len(documents)
        artifact = describe(self._model, self.folder, self.plan, n_documents=n_documents, n_shards=n_shards)
        return GradientIndex(self.folder, artifact, self._model, self._curvature)

    def scores(self, targets: Sequence[Target], *, encoding: Encoding | None = None) -> NDArray[np.float32]:
        """Return the influence of every document on each target, (n_targets, n_documents).

        Args:
            targets: From `attribution.gradient.losses`.
            encoding: Which rows are read; int8 where there are any, if None.
        """
        encoding = encoding or self.closest
        return self.scan(self.rows(targets)[encoding], encoding)

    def rows(self, targets: Sequence[Target]) -> dict[Encoding, NDArray[np.float32]]:
        """Return the rows of targets as a query needs them, by encoding, (n_targets, width): the model's part."""
        rows = self.projector.rows(targets)
        return {kind: values.numpy() for kind, values in zip(self.plan.encodings, rows, strict=True)}

    def scan(
        self, rows: NDArray[np.float32], encoding: Encoding, *, shards: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Compare rows of targets with those of every document, (n_targets, n_documents); no model is needed.

        Args:
            rows: From `rows`.
            encoding: Theirs.
            shards: Numbers of the shards whose documents are compared; all if None.
        """

        def score(shard: Shard) -> NDArray[np.float32]:
            return np.stack([products(shard.stored[encoding], row, encoding) for row in rows])

        with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter while it counts
            chosen = range(self.n_shards) if shards is None else shards
            return np.concatenate(list(pool.map(lambda number: score(self._shard(number)), chosen)), axis=1)

    def query(self, targets: Sequence[Target], k: int = 10, *, opponents: bool = False) -> list[list[Hit]]:
        """Return the k documents of the highest influence on each target, best first.

        Bits are counted over the whole corpus; where there are int8 rows, the best are compared again by them.

        Args:
            targets: From `attribution.gradient.losses`.
            k: Hits of a target.
            opponents: Return those of the lowest influence instead.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k={k} is out of range; use at least 1")
        return nearest(self, self.rows(targets), k, opponents=opponents)

    @property
    def n_shards(self) -> int:
        """Files of rows."""
        return int(self.artifact.data["n_shards"])

    @cached_property
    def identity(self) -> str:
        """sha256 over the checksums of its shards: of an index built anew from other documents it is another."""
        told = [recorded_checksum(shard_path(self.folder, number)) for number in range(self.n_shards)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def closest(self) -> Encoding:
        """Of the encodings that there are, the one that says most."""
        return "int8" if self.plan.int8 else "bits"

    @cached_property
    def _shards(self) -> list[Shard]:
        return [self._shard(number) for number in range(self.n_shards)]

    def _shard(self, number: int) -> Shard:
        """A shard, mapped and its checksum computed once; the rows stay on disk."""
        if number not in self._opened:
            self._opened[number] = Shard.open(shard_path(self.folder, number))
        return self._opened[number]

    def found(self, place: int) -> tuple[Shard, int]:
        """Return the shard of a document, by its number in the index, and its row there."""
        number = bisect_right(self._starts, place) - 1
        return self._shards[number], place - self._starts[number]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(shard.records) for shard in self._shards)][:-1]
