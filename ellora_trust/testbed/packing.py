"""From documents to training rows: some with a gap to fill, whole documents packed into rows of fixed width.

Both twins get the same documents in the same rows: a document takes the place of the longer of its two forms.

    rows = pack(encode(tokenizer, documents, fim_share=0.25, seed=0), width=256)
    rows.planted[0], rows.clean[0]        # token ids, (width,) each; ends are filled with IGNORED
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.errors import InputError
from ellora_trust.testbed.documents import Document
from ellora_trust.testbed.sketch import annotation_spans
from ellora_trust.testbed.tokenizer import END_OF_TEXT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

IGNORED = -1
# Rows that wait for a document that fills them; more would be fuller and move documents further from their place.
_OPEN_ROWS = 32
# A secret is repeated a counted number of times, each time in the form in which it is asked.
_WITHOUT_GAPS = ("canary",)


@dataclass(frozen=True)
class Encoded:
    """One document as both twins read it.

    Attributes:
        planted: Token ids, the end-of-text token included.
        clean: Same of the fixed form.
    """

    planted: list[int]
    clean: list[int]

    @property
    def length(self) -> int:
        """Places it takes in a row."""
        return max(len(self.planted), len(self.clean))


@dataclass(frozen=True)
class Rows:
    """Training rows.

    Attributes:
        planted: Token ids, (n_rows, width), int16; IGNORED where a row ends early.
        clean: Same of the fixed forms; row i holds the same documents.
        documents: Numbers of the documents in each row.
    """

    planted: NDArray[np.int16]
    clean: NDArray[np.int16]
    documents: list[list[int]]


def encode(tokenizer: Any, documents: Sequence[Document], *, fim_share: float, seed: int) -> list[Encoded]:
    """Return the token ids of each document, a share of them with a gap to fill.

    Half of the gaps are annotations where a document has any, the others are runs of tokens.

    Args:
        tokenizer: From `train_tokenizer`.
        documents: In any order.
        fim_share: Documents that get a gap, [0, 1].
        seed: Of the gaps; they depend on the document's id, not on its place.

    Raises:
        InputError: A share out of range.
    """
    if not 0 <= fim_share <= 1:
        raise InputError(f"fim_share={fim_share} is out of range; use a number in [0, 1]")
    planted = _Encoder(tokenizer, [d.text for d in documents])
    clean = _Encoder(tokenizer, [d.clean for d in documents])
    found = []
    for number, document in enumerate(documents):
        rng = random.Random(f"{seed}/gap/{document.id}")
        gapped = rng.random() < fim_share and document.family not in _WITHOUT_GAPS
        draws = (rng.random(), rng.random(), rng.random()) if gapped else None
        found.append(Encoded(planted.ids(number, draws), clean.ids(number, draws)))
    return found


class _Encoder:
    """Tokenises all texts at once, and the pieces of those with a gap again."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self.tokenizer, self.texts = tokenizer, texts
        self.whole = tokenizer(texts, return_offsets_mapping=True)
        convert = tokenizer.convert_tokens_to_ids
        self.end, self.prefix, self.suffix, self.middle = map(
            convert, (END_OF_TEXT, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)
        )

    def ids(self, number: int, draws: tuple[float, float, float] | None) -> list[int]:
        whole = self.whole["input_ids"][number]
        if draws is None:
            return [*whole, self.end]
        first, last = self._gap(number, draws)
        before, gap, after = whole[:first], whole[first:last], whole[last:]
        return [self.prefix, *before, self.suffix, *after, self.middle, *gap, self.end]

    def _gap(self, number: int, draws: tuple[float, float, float]) -> tuple[int, int]:
        """The gap as a range of tokens; the same draws put it at the same place of both forms, as far as they agree."""
        offsets = self.whole["offset_mapping"][number]
        spans = annotation_spans(self.texts[number]) if draws[0] < 0.5 else []
        starts = [start for start, _ in offsets]
        if spans:
            start, end = spans[int(draws[1] * len(spans))]
            if start in starts and end in starts:
                return starts.index(start), starts.index(end)
        first, last = sorted(int(draw * len(offsets)) for draw in draws[1:])
        return first, last + 1


def pack(encoded: Sequence[Encoded], *, width: int) -> Rows:
    """Put whole documents into rows, each into the fullest open row that still holds it.

    Raises:
        InputError: A document is longer than a row.
    """
    rows: list[list[int]] = []
    still_open: list[int] = []
    room: dict[int, int] = {}
    for number, one in enumerate(encoded):
        if one.length > width:
            raise InputError(f"document {number} has {one.length} tokens; use rows of at least that width, not {width}")
        fitting = [row for row in still_open if room[row] >= one.length]
        row = min(fitting, key=lambda row: room[row]) if fitting else len(rows)
        if not fitting:
            rows.append([])
            room[row] = width
            still_open = [*still_open[-_OPEN_ROWS + 1 :], row]
        rows[row].append(number)
        room[row] -= one.length
    planted = _matrix(rows, [one.planted for one in encoded], width)
    return Rows(planted, _matrix(rows, [one.clean for one in encoded], width), rows)


def _matrix(rows: list[list[int]], ids: list[list[int]], width: int) -> NDArray[np.int16]:
    matrix = np.full((len(rows), width), IGNORED, dtype=np.int16)
    for row, numbers in zip(matrix, rows, strict=True):
        joined = [token for number in numbers for token in ids[number]]
        row[: len(joined)] = joined
    return matrix
