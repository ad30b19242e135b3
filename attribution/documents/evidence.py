"""What is known of answers and documents, and from where it makes a document a source.

    evidence = Evidence(ngram=index.score(texts), coverage=index.coverage(texts, spans), gradient=scores)
    evidence.fused()                                                    # (n_queries, n_documents), standard deviations
    Limits().basis(matched=20, n_tokens=30, coverage=0.4, gradient=0.1)                             # 'verbatim'

Text says where an answer could have been read, the gradient what moved the model. Each score is centred and scaled over
the documents of a query, and the two are added with equal weights; nothing is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ellora_trust.errors import InputError

FloatArray = NDArray[np.float64]
Basis = Literal["verbatim", "adapted", "influential only", "weak"]
Side = Literal["proponents", "opponents"]


@dataclass(frozen=True)
class Limits:
    """From where a document counts as a source.

    The first three come from the testbed: answers to trigger prompts against documents of other families in the same
    language, which share idioms but are no source. `benchmarks/attribution_text.py` prints what such pairs share; the
    limits were read with `--seed 1`, and other seeds show how many pass them.
    """

    verbatim: int = 16
    """Tokens of the answer in one exact match that are enough for any answer: 99 % of the others share no more."""
    verbatim_short: int = 8
    """Tokens that an exact match must have in a short answer, where half of the answer is less than `verbatim`: 90 % of
    the others share no more, and half of the answer none of them."""
    adapted: float = 0.32
    """Coverage by 3-grams, [0, 1]: 99 % of the others have less."""
    influential: float = 2.0
    """Gradient score in standard deviations over the documents: a convention, not measured."""

    def needed(self, n_tokens: int) -> int:
        """Return how many tokens of an answer a verbatim source must hold in one piece."""
        return min(self.verbatim, max(self.verbatim_short, -(-n_tokens // 2)))

    def basis(self, *, matched: int, n_tokens: int, coverage: float, gradient: float | None) -> Basis:
        """Return on what a document rests as a source.

        Args:
            matched: Tokens of the answer in its longest exact match with the document.
            n_tokens: Tokens of the answer.
            coverage: Share of the answer that the document holds, [0, 1].
            gradient: In standard deviations over the documents; its size counts, not its sign. None if unknown.
        """
        if matched >= self.needed(n_tokens):
            return "verbatim"
        if coverage >= self.adapted:
            return "adapted"
        return "influential only" if gradient is not None and abs(gradient) >= self.influential else "weak"


@dataclass(frozen=True)
class Evidence:
    """What is known of queries and documents; all (n_queries, n_documents), finite.

    Attributes:
        ngram: Similarity of texts, any scale; `NgramIndex.score`.
        coverage: Share of the answer that a document holds, [0, 1]; `NgramIndex.coverage`.
        gradient: Influence, any scale; below zero where reading the document made the answer less likely. None where
            only texts were compared.
    """

    ngram: FloatArray
    coverage: FloatArray
    gradient: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, scores in (("ngram", self.ngram), ("coverage", self.coverage), ("gradient", self.gradient)):
            if scores is not None and (np.ndim(scores) != 2 or np.shape(scores) != np.shape(self.ngram)):
                raise InputError(
                    f"{name} has shape {np.shape(scores)} and ngram {np.shape(self.ngram)}; give both one row a query "
                    "and one column a document"
                )
            if scores is not None and not np.isfinite(scores).all():
                raise InputError(f"{name} holds nan or infinite scores; give finite ones")

    def fused(self, side: Side = "proponents") -> FloatArray:
        """Return the scores to rank by, in standard deviations; for opponents, the gradient counts the other way."""
        if self.gradient is None:
            return z_sum(self.ngram)
        return z_sum(self.ngram, self.gradient if side == "proponents" else -np.asarray(self.gradient))


def z_sum(*scores: ArrayLike) -> FloatArray:
    """Return the sum of scores after each has mean 0 and standard deviation 1 over a query's documents.

    A row that is the same for all documents says nothing and adds zero.
    """
    matrices = [np.asarray(one, dtype=np.float64) for one in scores]
    total = np.zeros_like(matrices[0])
    for matrix in matrices:
        if matrix.size:
            spread = matrix.std(1, keepdims=True)
            centred = matrix - matrix.mean(1, keepdims=True)
            # Rounding leaves a spread of 1e-17 on constant rows.
            told = spread > 1e-12 * np.abs(matrix).max(1, keepdims=True)
            total += np.divide(centred, spread, out=np.zeros_like(matrix), where=told)
    return total
