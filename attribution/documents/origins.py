"""A corpus as a ranking sees it: of each document its text, file, licence and first line.

Origins(corpus)[3].licence
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from attribution.corpora import Corpus
from attribution.documents.fuse import Origin

_LICENCES = ("licence", "license", "licenses")
_PATHS = ("path", "max_stars_repo_path")


class Origins(Sequence[Origin]):
    """Documents are read one at a time."""

    def __init__(self, corpus: Corpus):
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus)

    @overload
    def __getitem__(self, number: int) -> Origin: ...
    @overload
    def __getitem__(self, number: slice) -> list[Origin]: ...
    def __getitem__(self, number: int | slice) -> Origin | list[Origin]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        one = self._corpus[number]
        path = next((str(one.columns[name]) for name in _PATHS if one.columns.get(name)), "")
        licence = next((_text(one.columns[name]) for name in _LICENCES if one.columns.get(name)), "")
        return Origin(one.id, one.text, path, licence, int(one.columns.get("first_line") or 1))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
