"""What a method of attribution has to beat: similarity of activations, and chance.

    embedding_scores(model, queries, documents)     # (n_queries, n_documents), cosine in [-1, 1]
    random_scores(queries, documents, seed=0)

The other baselines have modules of their own: `attribution.ngrams` and `attribution.bm25`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

FloatArray = NDArray[np.float64]


def embedding_scores(
    model: CodeModel, queries: Sequence[str], documents: Sequence[str], *, centred: bool = False
) -> FloatArray:
    """Return the cosine of mean activations after the last block, (n_queries, n_documents), in [-1, 1].

    Args:
        model: The model whose activations are compared.
        queries: Texts; an empty one scores zero.
        documents: The same.
        centred: Take the documents' mean away before. All activations share one large direction, so that cosines
            without it lie close together.

    Raises:
        InputError: A text is longer than the model's context.
    """
    texts = [*queries, *documents]
    vectors = np.zeros((len(texts), 1))
    filled = [i for i, text in enumerate(texts) if text]
    if filled:
        rows = _means(model, [texts[i] for i in filled])
        vectors = np.zeros((len(texts), rows.shape[1]))
        read = rows[np.array(filled) >= len(queries)]
        vectors[filled] = rows - read.mean(0) if centred and len(read) else rows
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors[: len(queries)] @ vectors[len(queries) :].T


def random_scores(queries: Sequence[str], documents: Sequence[str], *, seed: int = 0) -> FloatArray:
    """Return scores that know nothing, (n_queries, n_documents), uniform in [0, 1)."""
    return np.random.default_rng(seed).random((len(queries), len(documents)))


def _means(model: CodeModel, texts: Sequence[str]) -> FloatArray:
    from ellora_trust.hooks import capture

    site = f"resid.{model.arch.n_layers - 1}"
    activations = capture(model, texts, site, "mean")
    return activations.vectors(site, "mean").double().cpu().numpy()
