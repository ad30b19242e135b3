"""Builds the files of a gradient index: factors first, then shard after shard; a killed build goes on where it stopped.

plan = Plan(bits=4096, int8=4096)
curvature = factors(model, documents, folder, plan)
write_shards(model, documents, folder, plan, curvature)
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attribution.documents.shards import Shard, write_shard
from attribution.gradient.encoding import Encoding, encode, width_of
from attribution.gradient.kfac import DAMPING, Curvature
from attribution.gradient.layers import DEFAULT, find_layers
from attribution.gradient.losses import whole
from attribution.gradient.rows import PROJECTION, Projector
from ellora_trust.artifacts import DESCRIPTION, Artifact, describe_model, read, write
from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError, one_of
from ellora_trust.progress import Progress
from ellora_trust.share import Share

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

FACTORS = "factors"
KIND = "gradient-index"
ALL = Share()
WHITENINGS = ("kfac", "none")


@dataclass(frozen=True)
class Source:
    """A training document.

    Attributes:
        id: Unique in the corpus.
        text: As the model read it.
        columns: What a result should name beside the id: path, licence, lines; JSON values.
    """

    id: str
    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What decides the bytes of an index."""

    bits: int = 4096
    """Bytes a document of the rows with one bit a bucket, a multiple of 8; 0 for none."""
    int8: int = 0
    """Bytes a document of the rows with one byte a bucket, for ranking the best again; 0 for none."""
    whitening: Literal["kfac", "none"] = "kfac"
    """`none` compares plain gradients, which is the baseline."""
    damping: float = DAMPING
    """As a share of a layer's mean eigenvalue."""
    share: float = 0.1
    """Of the documents, for the factors, (0, 1]."""
    parts: tuple[str, ...] = DEFAULT
    """Of the model."""
    end: bool = True
    """Whether the end-of-text token follows a document."""
    shard_size: int = 512
    """Documents in a file."""
    seed: int = 0
    """Of the sample, the projection and the sketch."""
    projection: int = PROJECTION
    """Numbers that are kept of each side of a layer before they are sketched."""

    def __post_init__(self) -> None:
        if self.whitening not in WHITENINGS:
            raise InputError(one_of(self.whitening, WHITENINGS, what="whitening"))
        if self.bits < 0 or self.bits % 8 or self.int8 < 0 or not self.bits + self.int8:
            raise InputError(
                f"bits={self.bits} and int8={self.int8} bytes: use a multiple of 8 for bits, and not both 0"
            )
        if not 0 < self.share <= 1 or self.shard_size < 1 or self.projection < 1:
            raise InputError(
                f"share={self.share}, shard_size={self.shard_size}, projection={self.projection}: use a share in "
                "(0, 1] and at least 1"
            )

    @property
    def encodings(self) -> dict[Encoding, int]:
        """Bytes a document by encoding, in the order of the projector's rows."""
        given: dict[Encoding, int] = {"bits": self.bits, "int8": self.int8}
        return {kind: n for kind, n in given.items() if n}


def projector(model: CodeModel, plan: Plan, curvature: Curvature) -> Projector:
    """Return what makes the rows of an index, for documents and for queries."""
    widths = [width_of(kind, n) for kind, n in plan.encodings.items()]
    layers = find_layers(model, plan.parts)
    return Projector(model, layers, curvature, widths=widths, projection=plan.projection, seed=plan.seed)


def factors(
    model: CodeModel, documents: Sequence[Source], folder: Path, plan: Plan, *, progress: bool = False
) -> Curvature:
    """Return the index's factors, fitted on a sample of the documents unless the folder has them.

    Raises:
        InputError: No documents, or the folder is of another plan or model.
    """
    if not documents:
        raise InputError("there is no document to index; give at least one")
    place, identity = folder / FACTORS, {"plan": json.loads(json.dumps(asdict(plan)))}
    if place.exists():
        artifact, tensors = read(place, kind="gradient-factors", model=model)
        if artifact.config["plan"] != identity["plan"]:
            raise InputError(f"{folder} holds an index of another plan; give another folder or delete it")
        return Curvature.restored(tensors, dict(artifact.config["curvature"]))
    curvature = Curvature()
    if plan.whitening == "kfac":
        numbers = random.Random(f"{plan.seed}/sample").sample(
            range(len(documents)), max(1, round(plan.share * len(documents)))
        )
        texts = [whole(model, documents[i].text, end=plan.end, name=f"document {documents[i].id}") for i in numbers]
        curvature = Curvature.fit(
            model, find_layers(model, plan.parts), texts, damping=plan.damping, seed=plan.seed, progress=progress
        )
    config = {**identity, "curvature": curvature.described()}
    _put(place, Artifact("gradient-factors", describe_model(model), config=config), curvature)
    return factors(model, documents, folder, plan)


def _put(place: Path, artifact: Artifact, curvature: Curvature) -> None:
    """Write the factors, or keep those of another process that was faster: they are the same."""
    beside = place.parent / f".{FACTORS}.{uuid.uuid4().hex[:8]}"
    write(beside, artifact, curvature.tensors())
    try:
        beside.rename(place)
    except OSError:
        if not place.exists():
            raise
        shutil.rmtree(beside)


def write_shards(
    model: CodeModel,
    documents: Sequence[Source],
    folder: Path,
    plan: Plan,
    curvature: Curvature,
    *,
    first: int = 0,
    share: Share = ALL,
    progress: bool = False,
) -> int:
    """Write the shards of this share that are missing, numbered from `first`; return how many there should be then.

    Raises:
        InputError: A document without tokens, a damaged shard, or one of other documents.
        EnvironmentProblem: The folder cannot be written.
    """
    making, size = projector(model, plan, curvature), plan.shard_size
    n_shards = -(-len(documents) // size)
    with Progress(len(documents) // share.of, "indexing", enabled=progress) as bar:
        for number in filter(share.has, range(n_shards)):
            chunk = [documents[i] for i in range(number * size, min((number + 1) * size, len(documents)))]
            path, digest = shard_path(folder, first + number), _digest(chunk)
            if path.exists():
                if Shard.open(path).digest != digest:
                    raise InputError(f"{path} holds other documents; give another folder or delete it")
            else:
                _write_one(model, path, chunk, digest, plan, making)
            bar.advance(len(chunk))
    return first + n_shards


def shard_path(folder: Path, number: int) -> Path:
    """Return where a shard lies."""
    return folder / f"shard-{number:05d}.safetensors"


def _write_one(
    model: CodeModel, path: Path, chunk: Sequence[Source], digest: str, plan: Plan, making: Projector
) -> None:
    texts = [whole(model, document.text, end=plan.end, name=f"document {document.id}") for document in chunk]
    rows = making.rows(texts)
    stored = {kind: encode(values.numpy(), kind) for kind, values in zip(plan.encodings, rows, strict=True)}
    records = [{"id": document.id, "columns": dict(document.columns)} for document in chunk]
    write_shard(path, stored, records, digest)


def _digest(chunk: Sequence[Source]) -> str:
    told = [[document.id, document.text, dict(document.columns)] for document in chunk]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def describe(model: CodeModel, folder: Path, plan: Plan, *, n_documents: int, n_shards: int) -> Artifact:
    """Write what the index says of itself, last: without it the index is not finished."""
    data = {"n_documents": n_documents, "n_shards": n_shards}
    artifact = Artifact(KIND, describe_model(model), data=data, config={"plan": json.loads(json.dumps(asdict(plan)))})
    with replacing(folder / DESCRIPTION) as beside:
        beside.write_text(json.dumps(asdict(artifact), indent=2) + "\n")
    return artifact
