"""Which documents share rare runs of tokens with an answer: n-gram similarity with inverse document frequencies.

Use it before any gradient: it costs no model, and on code it is the baseline that is hardest to beat.

    index = NgramIndex(tokenizer).fit(documents)                # index.save(path); NgramIndex.load(path, tokenizer)
    index.score(["def first(xs):\\n    return xs[0]"])          # (n_queries, n_documents), cosine in [0, 1]
    index.coverage(texts, spans=[(14, 31)])                     # how much of the characters 14..31 a document holds

A text is cut into runs of n tokens of the model's own tokenizer. A run that few documents hold weighs more. A run is
known by 64 bits: among a billion runs, a new one is taken for one of them with a chance of one in ten billion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.spans.token_map import token_map
from ellora_trust.spans.token_offsets import CharSpan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FloatArray = NDArray[np.float64]
KeyArray = NDArray[np.uint64]
N = 3
_PARTS = ("data", "indices", "indptr")  # of a sparse matrix
# Of splitmix64, whose output passes the tests of randomness.
_STEP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class NgramIndex:
    """Documents as sparse vectors of their runs of tokens.

    Args:
        tokenizer: Fast or slow; what it adds around a text (BOS, EOS) is left out.
        n: Tokens in a run, >= 1. A text of fewer tokens is one run.

    Attributes:
        documents_: tf-idf of each run, rows of length 1, (n_documents, n_runs) sparse; empty documents are zero rows.
        keys_: Of the runs, in order, (n_runs,).
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
        self.keys_ = np.unique(np.concatenate(runs))
        counts = self._counts(runs)
        self.n_documents_ = len(documents)
        if len(self.keys_):
            weights = TfidfTransformer().fit(counts)
            self.documents_, self.idf_ = csr_matrix(weights.transform(counts)), np.asarray(weights.idf_)
        else:
            self.documents_, self.idf_ = counts, np.zeros(0)
        return self

    def save(self, path: Path) -> None:
        """Write what was fitted as safetensors, all or nothing.

        Raises:
            EnvironmentProblem: The file cannot be written.
        """
        from safetensors.numpy import save_file

        held = self.documents_
        with replacing(path) as beside:
            parts = {
                "keys": self.keys_.view(np.int64),
                "idf": self.idf_,
                "shape": np.array([self.n, self.n_documents_]),
            }
            save_file(parts | {name: getattr(held, name) for name in _PARTS}, beside)

    @classmethod
    def load(cls, path: Path, tokenizer: PreTrainedTokenizerBase) -> NgramIndex:
        """Read what `save` wrote.

        Args:
            path: The file.
            tokenizer: The one that it was fitted with.

        Raises:
            InputError: The file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            parts = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is damaged or missing ({error}); delete it and build the index again") from error
        n, n_documents = (int(one) for one in parts["shape"])
        found = cls(tokenizer, n)
        found.keys_, found.idf_, found.n_documents_ = parts["keys"].view(np.uint64), parts["idf"], n_documents
        data, indices, indptr = (parts[name] for name in _PARTS)
        found.documents_ = csr_matrix((data, indices, indptr), shape=(n_documents, len(found.keys_)))
        return found

    def score(self, queries: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> FloatArray:
        """Return the cosine of each query's and each document's vectors, (n_queries, n_documents), in [0, 1].

        Args:
            queries: Prompts with their answers, or answers alone.
            spans: Characters (start, end) of each query that are asked about: only runs that hold a token of them
                count. None for the whole text.

        Raises:
            InputError: A span is outside its text, or there is not one a query.
        """
        weighted = self._counts(self._runs(queries, spans)).multiply(self.idf_).tocsr()
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)))
        found = np.asarray((weighted @ self.documents_.T).toarray())
        return np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)

    def coverage(self, queries: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> FloatArray:
        """Return which share of a query's runs, weighted by idf, a document holds, (n_queries, n_documents), in [0, 1].

        Unlike the cosine it does not fall with the length of the document. A run that no document holds counts as
        missing, with the weight ln(1 + n_documents) + 1.

        Args:
            queries: As of `score`.
            spans: As of `score`.
        """
        runs = self._runs(queries, spans)
        asked, held = _present(self._counts(runs)), _present(self.documents_)
        shared = np.asarray((asked.multiply(self.idf_).tocsr() @ held.T).toarray())
        n_unseen = np.array([len(np.unique(row)) for row in runs]) - np.asarray(asked.sum(1)).ravel()
        total = asked @ self.idf_ + n_unseen * (np.log(1 + self.n_documents_) + 1)
        return np.divide(shared, total[:, None], out=np.zeros_like(shared), where=total[:, None] > 0)

    def _counts(self, runs: Sequence[KeyArray]) -> csr_matrix:
        """How often each text holds each run that some document holds, (n_texts, n_runs)."""
        rows = np.repeat(np.arange(len(runs)), [len(row) for row in runs])
        keys = np.concatenate([*runs, np.zeros(0, np.uint64)])
        columns = np.searchsorted(self.keys_, keys)
        known = columns < len(self.keys_)
        known[known] = self.keys_[columns[known]] == keys[known]
        found = csr_matrix(
            (np.ones(int(known.sum())), (rows[known], columns[known])), shape=(len(runs), len(self.keys_))
        )
        found.sum_duplicates()
        return found

    def _runs(self, texts: Sequence[str], spans: Sequence[CharSpan | None] | None = None) -> list[KeyArray]:
        if not texts:
            return []
        if spans is None:
            ids = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False).input_ids
            return [_cut(row, self.n, 0, len(row)) for row in ids]
        if len(spans) != len(texts):
            raise InputError(f"{len(spans)} spans for {len(texts)} texts; give one a text, None for all of it")
        return [self._touching(text, span) for text, span in zip(texts, spans, strict=True)]

    def _touching(self, text: str, span: CharSpan | None) -> KeyArray:
        start, end = span or (0, len(text))
        if not 0 <= start <= end <= len(text):
            raise InputError(f"span {start}..{end} is outside a text of {len(text)} characters; use 0..{len(text)}")
        tokens = token_map(self.tokenizer, text, add_special_tokens=False)
        inside = tokens.tokens_of(start, end)
        return _cut(tokens.ids, self.n, inside[0], inside[-1] + 1) if inside else np.zeros(0, np.uint64)


def ngram_scores(
    tokenizer: PreTrainedTokenizerBase, queries: Sequence[str], documents: Sequence[str], *, n: int = N
) -> FloatArray:
    """Return n-gram idf similarities, (n_queries, n_documents), in [0, 1]; without documents, no columns."""
    if not documents:
        return np.zeros((len(queries), 0))
    return NgramIndex(tokenizer, n).fit(documents).score(queries)


def _cut(ids: Sequence[int], n: int, start: int, end: int) -> KeyArray:
    """Keys of the runs that hold a token of [start, end); a text of fewer than n tokens is one run."""
    if start >= end:
        return np.zeros(0, np.uint64)
    width = min(n, len(ids))
    first, last = max(start - n + 1, 0), min(end - 1, len(ids) - width)
    tokens = np.asarray(ids, dtype=np.uint64)
    keys = np.zeros(last - first + 1, np.uint64)
    for offset in range(width):
        keys = _mixed(keys ^ tokens[first + offset : last + offset + 1])
    return keys


def _mixed(keys: KeyArray) -> KeyArray:
    """splitmix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195); products wrap around."""
    keys = keys + _STEP
    keys = (keys ^ (keys >> np.uint64(30))) * _FIRST
    keys = (keys ^ (keys >> np.uint64(27))) * _SECOND
    return keys ^ (keys >> np.uint64(31))


def _present(matrix: csr_matrix) -> csr_matrix:
    """1.0 where a text holds a run."""
    return csr_matrix((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
