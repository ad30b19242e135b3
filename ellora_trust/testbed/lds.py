"""The linear datamodelling score of any attribution, in a second, once the models it needs have been retrained.

    truth = Truth.read(folder)                            # that `testbed lds --retrain` wrote
    truth.documents(), truth.queries                      # what to attribute to, and what from
    lds(scores, truth).value                              # with interval; scores: (n_queries, n_documents)

The model that was trained on all of the reduced corpus lies in the same folder, for `et.load`. A score predicts how a
query fares when only a subset is read: the sum over the subset. The result is the rank correlation of these sums with
the true log-likelihoods over the subsets, mean over queries: 1 is perfect, 0 is chance. Each subset is trained with
several seeds and their mean is the truth; `agreement` is what one seed says of another.

Source: Park et al. 2023, "TRAK: Attributing Model Behavior at Scale", arXiv:2303.14186, section 2, definition 2.3. The
model output there is a margin; here it is minus the mean loss of the answer's tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.testbed.documents import Document, corpus_hash
from ellora_trust.testbed.lds_setting import BoolArray, Query, Setting

FloatArray = NDArray[np.float64]
SHIPPED = Path(__file__).parent / "shipped" / "testbed-lds"
_TENSORS, _RECORD = "truth.safetensors", "truth.json"


@dataclass(frozen=True)
class Truth:
    """What retraining showed.

    Attributes:
        setting: How it was made.
        document_ids: The reduced corpus, in the order of the columns.
        corpus_sha256: Of its texts.
        queries: In the order of the rows.
        subsets: Which documents each model read, (n_subsets, n_documents).
        by_seed: Mean loss of each query's answer in nats per token, (n_seeds, n_subsets, n_queries).
        base: Losses of the model that read everything, (n_queries,).
    """

    setting: Setting
    document_ids: list[str]
    corpus_sha256: str
    queries: list[Query]
    subsets: BoolArray
    by_seed: FloatArray
    base: FloatArray

    def documents(self) -> list[Document]:
        """Return the reduced corpus, made again.

        Raises:
            InputError: The generators have changed since.
        """
        found = self.setting.documents()
        if corpus_hash(found) != self.corpus_sha256:
            raise InputError("the corpus generators make other documents than those retrained on; retrain the truth")
        return found

    @property
    def losses(self) -> FloatArray:
        """Mean over seeds, (n_subsets, n_queries)."""
        return self.by_seed.mean(0)

    @property
    def agreement(self) -> Estimate:
        """Rank correlation over subsets of two seeds, mean over pairs of seeds and over queries; needs two seeds."""
        pairs = combinations(-self.by_seed.transpose(0, 2, 1), 2)
        return _mean(np.mean([_rank_correlations(first, second) for first, second in pairs], axis=0), self.queries)

    def write(self, folder: Path) -> None:
        """Write into a folder: tensors as safetensors, the rest as JSON."""
        from safetensors.numpy import save_file

        tensors = {
            "subsets": np.packbits(self.subsets, axis=1),
            "losses": self.by_seed.astype(np.float32),
            "base": self.base.astype(np.float32),
        }
        save_file(tensors, folder / _TENSORS)
        record = {
            "setting": asdict(self.setting),
            "corpus_sha256": self.corpus_sha256,
            "document_ids": self.document_ids,
            "queries": [asdict(query) for query in self.queries],
        }
        (folder / _RECORD).write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path = SHIPPED) -> Truth:
        """Read what `write` wrote; by default the truth that comes with the package.

        Raises:
            InputError: There is none in the folder.
        """
        from safetensors.numpy import load_file

        if not (folder / _RECORD).exists():
            raise InputError(f"{folder} holds no {_RECORD}; make one with ellora-trust testbed lds --retrain {folder}")
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        tensors = load_file(folder / _TENSORS)
        n_documents = len(record["document_ids"])
        return cls(
            Setting(**record["setting"]),
            record["document_ids"],
            record["corpus_sha256"],
            [Query(**query) for query in record["queries"]],
            np.unpackbits(tensors["subsets"], axis=1)[:, :n_documents].astype(bool),
            *(tensors[name].astype(np.float64) for name in ("losses", "base")),
        )


@dataclass(frozen=True)
class LinearDatamodellingScore:
    """How well an attribution predicts retraining.

    Attributes:
        value: Mean over queries, [-1, 1], with a bootstrap interval over them.
        per_query: Rank correlation of each, (n_queries,).
        agreement: What a training with one seed says of one with another.
        n_subsets: Subsets behind it.
    """

    value: Estimate
    per_query: FloatArray
    agreement: Estimate
    n_subsets: int


def lds(scores: ArrayLike, truth: Truth | None = None, *, seed: int = 0) -> LinearDatamodellingScore:
    """Score an attribution.

    Args:
        scores: Higher means that reading the document makes the query's answer likelier, (n_queries, n_documents).
        truth: The retrained models; those of the package if None.
        seed: Of the bootstrap.

    Raises:
        InputError: A wrong shape, or scores that are not finite.
    """
    truth = truth or Truth.read()
    matrix = np.asarray(scores, dtype=np.float64)
    expected = (len(truth.queries), len(truth.document_ids))
    if matrix.shape != expected or not np.isfinite(matrix).all():
        raise InputError(f"scores have shape {matrix.shape}; give finite ones of shape {expected}: queries, documents")
    per_query = _rank_correlations(matrix @ truth.subsets.T.astype(np.float64), -truth.losses.T)
    return LinearDatamodellingScore(
        _mean(per_query, truth.queries, seed), per_query, truth.agreement, len(truth.subsets)
    )


def same_family(truth: Truth) -> FloatArray:
    """Return the scores to beat, (n_queries, n_documents): 1 where document and query are of one family, else 0."""
    documents = truth.documents()
    families = np.array([document.family for document in documents])
    found = np.stack([families == query.family for query in truth.queries]).astype(np.float64)
    secrets = np.array([str(document.meta.get("secret")) for document in documents])
    for row, query in zip(found, truth.queries, strict=True):
        if query.family == "canary":
            row *= [secret in query.answer for secret in secrets]
    return found


def _rank_correlations(a: FloatArray, b: FloatArray) -> FloatArray:
    """Spearman's rank correlation of the rows of two matrices, (n,); 0 where a row is constant."""
    x, y = rankdata(a, axis=1), rankdata(b, axis=1)
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    norm = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), norm, out=np.zeros(len(x)), where=norm > 0)


def _mean(per_query: FloatArray, queries: Sequence[Query], seed: int = 0) -> Estimate:
    # Questions of one family are about the same documents, so whole families are resampled.
    families = [query.family for query in queries]
    return group_bootstrap(np.mean, (per_query,), families, seed=seed)  # pyright: ignore[reportArgumentType]
