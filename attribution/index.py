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
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attribution.building import ALL, FACTORS, Plan, Source, factors, projector, shard_path, write_shards
from attribution.encoding import Encoding, products
from attribution.kfac import Curvature
from attribution.losses import Target
from attribution.shards import Shard
from ellora_trust.artifacts import DESCRIPTION, Artifact, describe_model, read, read_description
from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.share import Share

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
        projector: What makes rows of texts.
    """

    def __init__(self, folder: Path, artifact: Artifact, model: CodeModel, curvature: Curvature):
        self.folder, self.artifact = folder, artifact
        self.plan = Plan(**{**artifact.config["plan"], "parts": tuple(artifact.config["plan"]["parts"])})
        self._model, self._curvature = model, curvature
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
            _describe(model, out, plan, n_documents=len(documents), n_shards=n_shards)
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
        artifact = _describe(self._model, self.folder, self.plan, n_documents=n_documents, n_shards=n_shards)
        return GradientIndex(self.folder, artifact, self._model, self._curvature)

    def scores(self, targets: Sequence[Target], *, encoding: Encoding | None = None) -> NDArray[np.float32]:
        """Return the influence of every document on each target, (n_targets, n_documents).

        Args:
            targets: From `attribution.losses`.
            encoding: Which rows are read; int8 where there are any, if None.
        """
        encoding = encoding or self._closest
        return self.scan(self.rows(targets)[encoding], encoding)

    def rows(self, targets: Sequence[Target]) -> dict[Encoding, NDArray[np.float32]]:
        """Return the rows of targets as a query needs them, by encoding, (n_targets, width): the model's part."""
        rows = self.projector.rows(targets)
        return {kind: values.numpy() for kind, values in zip(self.plan.encodings, rows, strict=True)}

    def scan(self, rows: NDArray[np.float32], encoding: Encoding) -> NDArray[np.float32]:
        """Compare rows of targets with those of every document, (n_targets, n_documents); no model is needed."""

        def score(shard: Shard) -> NDArray[np.float32]:
            return np.stack([products(shard.stored[encoding], row, encoding) for row in rows])

        with ThreadPoolExecutor() as pool:  # numpy lets go of the interpreter while it counts
            return np.concatenate(list(pool.map(score, self._shards)), axis=1)

    def query(self, targets: Sequence[Target], k: int = 10, *, opponents: bool = False) -> list[list[Hit]]:
        """Return the k documents of the highest influence on each target, best first.

        Bits are counted over the whole corpus; where there are int8 rows, the best are compared again by them.

        Args:
            targets: From `attribution.losses`.
            k: Hits of a target.
            opponents: Return those of the lowest influence instead.

        Raises:
            InputError: k is below 1.
        """
        if k < 1:
            raise InputError(f"k={k} is out of range; use at least 1")
        side, rows = -1.0 if opponents else 1.0, self.rows(targets)
        first: Encoding = "bits" if self.plan.bits else "int8"
        hits = []
        for number, scores in enumerate(self.scan(rows[first], first)):
            n_kept = min(max(_CANDIDATES * k, _AT_LEAST), len(scores))
            best = np.argpartition(-side * scores, n_kept - 1)[:n_kept]
            if first != self._closest:
                scores = scores.copy()
                scores[best] = self._closer(best, rows[self._closest][number])
            ranked = best[np.argsort(-side * scores[best], kind="stable")][:k]
            hits.append([self._hit(int(place), float(scores[place])) for place in ranked])
        return hits

    @property
    def _closest(self) -> Encoding:
        return "int8" if self.plan.int8 else "bits"

    @cached_property
    def _shards(self) -> list[Shard]:
        """Every shard, mapped and its checksum computed once; the rows stay on disk."""
        return [Shard.open(shard_path(self.folder, number)) for number in range(int(self.artifact.data["n_shards"]))]

    def _closer(self, places: NDArray[np.intp], row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of some documents by the rows that tell more."""
        found = np.empty(len(places), np.float32)
        for number, place in enumerate(places):
            shard, within = self._found(int(place))
            stored = {name: values[within : within + 1] for name, values in shard.stored[self._closest].items()}
            found[number] = products(stored, row, self._closest)[0]
        return found

    def _hit(self, place: int, score: float) -> Hit:
        shard, within = self._found(place)
        record = shard.records[within]
        return Hit(record["id"], score, "proponent" if score > 0 else "opponent", record["columns"])

    def _found(self, place: int) -> tuple[Shard, int]:
        """The shard of a document and its row there."""
        number = bisect_right(self._starts, place) - 1
        return self._shards[number], place - self._starts[number]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(len(shard.records) for shard in self._shards)][:-1]


def _describe(model: CodeModel, folder: Path, plan: Plan, *, n_documents: int, n_shards: int) -> Artifact:
    """Write what the index says of itself, last: without it the index is not finished."""
    data = {"n_documents": n_documents, "n_shards": n_shards}
    artifact = Artifact(KIND, describe_model(model), data=data, config={"plan": json.loads(json.dumps(asdict(plan)))})
    with replacing(folder / DESCRIPTION) as beside:
        beside.write_text(json.dumps(asdict(artifact), indent=2) + "\n")
    return artifact
