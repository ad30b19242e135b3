"""`GradientIndex`: which training documents made a text likelier, asked again and again without reading them again.

    index = GradientIndex.build(model, [Source("a.py", text, {"licence": "MIT"})], Path("runs/index"))
    index = GradientIndex.load(Path("runs/index"), model)
    index.query([answer(model, prompt, completion)], k=10)[0]       # hits: id, score, proponent or opponent, columns
    index.scores([spans(model, text, [(20, 28)])])                  # (n_targets, n_documents)

A score above zero says that a training step on the document makes the target likelier. It estimates the dot product of
the whitened gradients, up to a factor that is the same for all documents of a target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attribution.building import FACTORS, Plan, Source, factors, projector, shard_path, write_shards
from attribution.encoding import Encoding, encode, hamming_cosines, products
from attribution.kfac import Curvature
from attribution.losses import Counted
from attribution.shards import Shard
from ellora_trust.artifacts import DESCRIPTION, Artifact, describe_model, read, read_description
from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

KIND = "gradient-index"
# Rows that the second, closer comparison looks at, for each hit asked for and at the least.
_CANDIDATES, _AT_LEAST = 8, 64


@dataclass(frozen=True)
class Hit:
    """A training document that an answer comes from.

    Attributes:
        id: The document's.
        score: Influence, in units that are comparable within one target.
        sign: `proponent` where reading it made the target likelier, else `opponent`.
        columns: What the corpus says of it: path, licence and the like.
    """

    id: str
    score: float
    sign: Literal["proponent", "opponent"]
    columns: Mapping[str, Any]


class GradientIndex:
    """Rows of a corpus in files, and the model that can be asked about them.

    Use `build` or `load`.

    Attributes:
        folder: Where it lies.
        artifact: What it says of itself.
        plan: What decided its bytes.
    """

    def __init__(self, folder: Path, artifact: Artifact, model: CodeModel, curvature: Curvature):
        self.folder, self.artifact = folder, artifact
        self.plan = Plan(**{**artifact.config["plan"], "parts": tuple(artifact.config["plan"]["parts"])})
        self._model, self._curvature = model, curvature
        self._projector = projector(model, self.plan, curvature)

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
        plan = plan or Plan()
        curvature = factors(model, documents, out, plan, progress=progress)
        n_shards = write_shards(model, documents, out, plan, curvature, progress=progress)
        return cls(out, _describe(model, out, plan, n_documents=len(documents), n_shards=n_shards), model, curvature)

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
        return cls(folder, artifact, model, Curvature.restored(tensors, dict(fitted.config["curvature"]), model.device))

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
        artifact = _describe(self._model, self.folder, self.plan, n_documents=n_documents, n_shards=n_shards)
        return GradientIndex(self.folder, artifact, self._model, self._curvature)

    def scores(self, targets: Sequence[Counted], *, encoding: Encoding | None = None) -> NDArray[np.float32]:
        """Return the influence of every document on each target, (n_targets, n_documents).

        Args:
            targets: From `attribution.losses`.
            encoding: Which rows are read; int8 where there are any, if None.
        """
        encoding = encoding or self._closest
        rows = self._rows(targets)[encoding]
        parts = [
            np.stack([products(dict(shard.stored[encoding]), row, encoding) for row in rows]) for shard in self._shards
        ]
        return np.concatenate(parts, axis=1)

    def query(self, targets: Sequence[Counted], k: int = 10, *, opponents: bool = False) -> list[list[Hit]]:
        """Return the k documents of the highest influence on each target, best first.

        Bits are counted over the whole corpus, then the best are compared again with the target's own floats.

        Args:
            targets: From `attribution.losses`.
            k: Hits of a target.
            opponents: Return those of the lowest influence instead.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k={k} is out of range; use at least 1")
        side = -1.0 if opponents else 1.0
        n_kept, rows = max(_CANDIDATES * k, _AT_LEAST), self._rows(targets)
        kept: list[list[tuple[float, Hit]]] = [[] for _ in targets]
        for shard in self._shards:
            for number, found in enumerate(kept):
                coarse = side * self._coarse(shard, {kind: rows[kind][number] for kind in rows})
                best = np.sort(np.argpartition(-coarse, min(n_kept, len(coarse)) - 1)[:n_kept])
                found += self._closer(shard, best, coarse[best], rows[self._closest][number])
                found.sort(key=lambda pair: -pair[0])
                del found[n_kept:]
        ranked = [sorted((hit for _, hit in found), key=lambda hit: -side * hit.score) for found in kept]
        return [hits[:k] for hits in ranked]

    @property
    def _closest(self) -> Encoding:
        return "int8" if self.plan.int8 else "bits"

    def _rows(self, targets: Sequence[Counted]) -> dict[Encoding, NDArray[np.float32]]:
        rows = self._projector.rows(targets)
        return {kind: values.numpy() for kind, values in zip(self.plan.encodings, rows, strict=True)}

    @cached_property
    def _shards(self) -> list[Shard]:
        """Every shard, mapped and its checksum computed once; the rows stay on disk."""
        return [Shard.open(shard_path(self.folder, number)) for number in range(int(self.artifact.data["n_shards"]))]

    def _coarse(self, shard: Shard, rows: Mapping[Encoding, NDArray[np.float32]]) -> NDArray[np.float32]:
        if "bits" not in rows:
            return products(dict(shard.stored["int8"]), rows["int8"], "int8")
        stored = shard.stored["bits"]
        return hamming_cosines(stored["codes"], encode(rows["bits"][None], "bits")["codes"][0]) * stored["norms"]

    def _closer(
        self, shard: Shard, best: NDArray[np.intp], coarse: NDArray[np.float32], row: NDArray[np.float32]
    ) -> list[tuple[float, Hit]]:
        stored = {name: values[best] for name, values in shard.stored[self._closest].items()}
        scores = products(stored, row, self._closest)
        found = []
        for place, first, score in zip(best, coarse, scores, strict=True):
            record = shard.records[place]
            sign: Literal["proponent", "opponent"] = "proponent" if score > 0 else "opponent"
            found.append((float(first), Hit(record["id"], float(score), sign, record["columns"])))
        return found


def _describe(model: CodeModel, folder: Path, plan: Plan, *, n_documents: int, n_shards: int) -> Artifact:
    """Write what the index says of itself, last: without it the index is not finished."""
    data = {"n_documents": n_documents, "n_shards": n_shards}
    artifact = Artifact(KIND, describe_model(model), data=data, config={"plan": json.loads(json.dumps(asdict(plan)))})
    with replacing(folder / DESCRIPTION) as beside:
        beside.write_text(json.dumps(asdict(artifact), indent=2) + "\n")
    return artifact
