"""What a method of attribution has to beat: similarity of activations, and chance.

    embedding_scores(model, queries, documents)     # (n_queries, n_documents), cosine in [-1, 1]
    random_scores(queries, documents, seed=0)

The other baselines have modules of their own: `attribution.ngrams` and `attribution.documents.bm25`.
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
        centred: See `cosines`.

    Raises:
        InputError: A text is longer than the model's context.
    """
    return cosines(embed(model, queries), embed(model, documents), centred=centred)


def embed(model: CodeModel, texts: Sequence[str]) -> FloatArray:
    """Return the mean activation of each text after the last block, (n_texts, d_model); zeros for an empty text.

    Raises:
        InputError: A text is longer than the model's context.
    """
    from ellora_trust.hooks import capture

    site = f"resid.{model.arch.n_layers - 1}"
    vectors = np.zeros((len(texts), model.arch.d_model))
    filled = [i for i, text in enumerate(texts) if text]
    if filled:
        read = capture(model, [texts[i] for i in filled], site, "mean")
        vectors[filled] = read.vectors(site, "mean").double().cpu().numpy()
    return vectors


def cosines(queries: FloatArray, documents: FloatArray, *, centred: bool = False) -> FloatArray:
    """Return the cosine of two sets of vectors, (n_queries, n_documents), in [-1, 1]; of a zero vector, zero.

    Args:
        queries: One a row, (n_queries, d_model).
        documents: The same, (n_documents, d_model).
        centred: Take the documents' mean away before. All activations share one large direction, so that cosines
            without it lie close together.
    """
    filled = documents.any(1)
    shift = documents[filled].mean(0) if centred and filled.any() else np.zeros(documents.shape[1])
    return _unit(queries, shift) @ _unit(documents, shift).T


def random_scores(queries: Sequence[str], documents: Sequence[str], *, seed: int = 0) -> FloatArray:
    """Return scores that know nothing, (n_queries, n_documents), uniform in [0, 1)."""
    return np.random.default_rng(seed).random((len(queries), len(documents)))


def _unit(vectors: FloatArray, shift: FloatArray) -> FloatArray:
    moved = (vectors - shift) * vectors.any(1, keepdims=True)
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
