"""Which documents use the words of an answer: BM25 over identifiers and their parts, by the library bm25s.

    bm25_scores(["total = fetchUser(user_id)"], documents)      # (n_queries, n_documents), >= 0

An identifier counts as itself and as its parts, so `fetchUser` meets `fetch_user`, and a new name for one part leaves
the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_WORD = re.compile(r"\w+")
# Parts of camelCase, PascalCase, HTTPServer, snake_case and name2: capitals before a capitalised word are one part.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+")


def code_words(text: str) -> list[str]:
    """Return identifiers, keywords and numbers in lower case, each compound identifier followed by its parts."""
    found = []
    for word in _WORD.findall(text):
        parts = _PART.findall(word)
        found.append(word.lower())
        found.extend(part.lower() for part in parts if len(parts) > 1)
    return found


def bm25_scores(queries: Sequence[str], documents: Sequence[str]) -> FloatArray:
    """Return BM25 scores, (n_queries, n_documents), >= 0; zero where they share no word.

    Source: Robertson & Zaragoza 2009, doi:10.1561/1500000019, with Lucene's idf; k1 = 1.5, b = 0.75.
    """
    found = np.zeros((len(queries), len(documents)))
    words = [code_words(document) for document in documents]
    if not any(words):
        return found
    index = bm25s.BM25(dtype="float64")
    index.index(words, show_progress=False)
    for row, query in zip(found, queries, strict=True):
        asked = code_words(query)
        if asked:
            row[:] = index.get_scores(asked)
    return found
