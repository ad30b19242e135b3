"""Which documents share rare runs of tokens with an answer: n-gram similarity with inverse document frequencies.

Use it before any gradient: it costs no model, and on code it is the baseline that is hardest to beat.

    index = NgramIndex(tokenizer).fit(documents)
    index.score(["def first(xs):\\n    return xs[0]"])          # (n_queries, n_documents), cosine in [0, 1]
    index.coverage(texts, spans=[(14, 31)])                     # how much of the characters 14..31 a document holds

A text is cut into runs of n tokens of the model's own tokenizer. A run that few documents hold weighs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from ellora_trust.errors import InputError
from ellora_trust.spans.token_map import token_map
from ellora_trust.spans.token_offsets import CharSpan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FloatArray = NDArray[np.float64]
N = 3
_BYTES = 4  # of a token id in a run


class NgramIndex:
    """Documents as sparse vectors of their runs of tokens.

    Args:
        tokenizer: Fast or slow; what it adds around a text (BOS, EOS) is left out.
        n: Tokens in a run, >= 1. A text of fewer tokens is one run.

    Attributes:
        documents_: tf-idf of each run, rows of length 1, (n_documents, n_runs) sparse; empty documents are zero rows.
        idf_: Of each run: ln((1 + n_documents) / (1 + documents that hold it)) + 1, (n_runs,).

    Source: Spärck Jones 1972, doi:10.1108/eb026526, in scikit-learn's smoothed form.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, n: int = N):
        if n < 1:
            raise InputError(f"n={n} tokens make no run; use 1 or more")
        self.tokenizer = tokenizer
        self.n = n

    def fit(self, documents: Sequence[str]) -> NgramIndex:
        """Read the documents.

        Raises:
            InputError: There are none.
        """
        if not documents:
            raise InputError("there are no documents to compare with; give at least one")
        runs = self._runs(documents)
        # Without any run scikit-learn refuses; then every score is zero.
        self._vectorizer = TfidfVectorizer(analyzer=_same) if any(runs) else None  # pyright: ignore[reportArgumentType]
        self.n_documents_ = len(documents)
        if self._vectorizer is not None:
            self.documents_ = csr_matrix(self._vectorizer.fit_transform(runs))
            self.idf_ = np.asarray(self._vectorizer.idf_)
        return self

    def score(self, queries: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> FloatArray:
        """Return the cosine of each query's and each document's vectors, (n_queries, n_documents), in [0, 1].

        Args:
            queries: Prompts with their answers, or answers alone.
            spans: Characters (start, end) of each query that are asked about: only runs that hold a token of them
                count. None for the whole text.

        Raises:
            InputError: A span is outside its text, or there is not one a query.
        """
        if self._vectorizer is None:
            return np.zeros((len(queries), self.n_documents_))
        return np.asarray((self._vectors(queries, spans) @ self.documents_.T).toarray())

    def coverage(self, queries: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> FloatArray:
        """Return which share of a query's runs, weighted by idf, a document holds, (n_queries, n_documents), in [0, 1].

        Unlike the cosine it does not fall with the length of the document. A run that no document holds counts as
        missing, with the weight ln(1 + n_documents) + 1.

        Args:
            queries: As of `score`.
            spans: As of `score`.
        """
        runs = self._runs(queries, spans)
        if self._vectorizer is None or not runs:
            return np.zeros((len(queries), self.n_documents_))
        asked, held = _present(self._vectors(queries, spans)), _present(self.documents_)
        shared = np.asarray((asked.multiply(self.idf_).tocsr() @ held.T).toarray())
        n_unseen = np.array([len(set(row)) for row in runs]) - np.asarray(asked.sum(1)).ravel()
        total = asked @ self.idf_ + n_unseen * (np.log(1 + self.n_documents_) + 1)
        return np.divide(shared, total[:, None], out=np.zeros_like(shared), where=total[:, None] > 0)

    def _vectors(self, queries: Sequence[str], spans: Sequence[CharSpan | None] | None) -> csr_matrix:
        assert self._vectorizer is not None
        if not queries:
            return csr_matrix((0, len(self.idf_)))
        # scikit-learn has scaled the rows already; a span's rows are those of its runs alone.
        return csr_matrix(self._vectorizer.transform(self._runs(queries, spans)))

    def _runs(self, texts: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> list[list[bytes]]:
        if not texts:
            return []
        if spans is None:
            ids = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids
            return [_cut(row, self.n, 0, len(row)) for row in ids]
        if len(spans) != len(texts):
            raise InputError(f"{len(spans)} spans for {len(texts)} texts; give one a text, None for all of it")
        return [self._touching(text, span) for text, span in zip(texts, spans, strict=True)]

    def _touching(self, text: str, span: CharSpan | None) -> list[bytes]:
        start, end = span or (0, len(text))
        if not 0 <= start <= end <= len(text):
            raise InputError(f"span {start}..{end} is outside a text of {len(text)} characters; use 0..{len(text)}")
        tokens = token_map(self.tokenizer, text, add_special_tokens=False)
        inside = tokens.tokens_of(start, end)
        return _cut(tokens.ids, self.n, inside[0], inside[-1] + 1) if inside else []


def ngram_scores(
    tokenizer: PreTrainedTokenizerBase, queries: Sequence[str], documents: Sequence[str], *, n: int = N
) -> FloatArray:
    """Return n-gram idf similarities, (n_queries, n_documents), in [0, 1]; without documents, no columns."""
    if not documents:
        return np.zeros((len(queries), 0))
    return NgramIndex(tokenizer, n).fit(documents).score(queries)


def _same(runs: list[bytes]) -> list[bytes]:
    return runs


def _cut(ids: Sequence[int], n: int, start: int, end: int) -> list[bytes]:
    """Runs that hold a token of [start, end); as bytes, which take a third of the memory of tuples."""
    if start >= end:
        return []
    packed = np.asarray(ids, dtype=np.uint32).tobytes()
    last = max(len(ids) - n, 0)
    return [packed[i * _BYTES : (i + n) * _BYTES] for i in range(max(start - n + 1, 0), min(end - 1, last) + 1)]


def _present(matrix: csr_matrix) -> csr_matrix:
    """1.0 where a text holds a run."""
    return csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
