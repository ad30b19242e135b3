"""From documents to batches: some with a gap to fill, those of about one length together.

No document reads another, as no prompt holds another function. Both twins get the same documents in the same batches;
a document takes the place of the longer of its two forms.

    encoded = encode(tokenizer, documents, fim_share=0.25, seed=0)
    for numbers in batch(encoded, n_tokens=1024, seed=0): pad([encoded[n].planted for n in numbers])
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
# Documents that are sorted by length together: enough for full batches, few enough to keep the order at large.
_WINDOW = 512
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
        """Places it takes in a batch."""
        return max(len(self.planted), len(self.clean))


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


def batch(encoded: Sequence[Encoded], *, n_tokens: int, seed: int) -> list[list[int]]:
    """Return the batches of a run: numbers of documents of about one length, so that little is padding.

    Documents stay within `_WINDOW` places of where they were; short and long batches alternate at random.

    Args:
        encoded: In the order in which they are read.
        n_tokens: Places of a batch, padding included; a longer document is a batch of its own.
        seed: Of the order of batches within a window.
    """
    batches: list[list[int]] = []
    for start in range(0, len(encoded), _WINDOW):
        numbers = sorted(range(start, min(start + _WINDOW, len(encoded))), key=lambda n: (encoded[n].length, n))
        window: list[list[int]] = []
        for number in numbers:
            if window and (len(window[-1]) + 1) * encoded[number].length <= n_tokens:
                window[-1].append(number)
            else:
                window.append([number])
        random.Random(f"{seed}/batches/{start}").shuffle(window)
        batches += window
    return batches


def pad(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return token ids padded on the right with IGNORED, (n, longest)."""
    matrix = np.full((len(rows), max(map(len, rows))), IGNORED, dtype=np.int64)
    for line, row in zip(matrix, rows, strict=True):
        line[: len(row)] = row
    return matrix
