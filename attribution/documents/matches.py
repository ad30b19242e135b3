"""Which parts of an answer stand word for word in the training documents, and where: OLMoTrace's question.

    index = SuffixIndex(documents)
    for match in index.matches(answer, min_characters=20):
        match.start, match.end, match.count, match.places[0].document, match.places[0].lines

A match is a span of the answer that occurs in a document and cannot be made longer on either side. The suffix array
comes from pydivsufsort (libdivsufsort); it takes 4 bytes for each byte of text beside the text itself, all in memory.
infini-gram keeps its array on disk, which a corpus of terabytes needs, but runs on Linux and knows few tokenizers.

Source: Liu et al. 2025, "OLMoTrace", arXiv:2504.07096, section 3. There matches begin and end at words and only rare
ones are shown; here all are found, and `min_characters` decides.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil
from numpy.typing import NDArray

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.spans.token_map import token_map
from ellora_trust.spans.token_offsets import char_of_byte

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MIN_CHARACTERS = 20
MAX_PLACES = 10
_END = b"\xff"  # no UTF-8 text holds it, so no match crosses from one document into the next
_SMALL = 2**31 - 1  # longer texts need 8 bytes an entry


@dataclass(frozen=True)
class Place:
    """Where a span of an answer stands in a document.

    Attributes:
        document: Its number, from 0.
        start: First character.
        end: One past the last character.
        lines: First and last line, from 1.
    """

    document: int
    start: int
    end: int
    lines: tuple[int, int]


@dataclass(frozen=True)
class Match:
    """A longest span of an answer that occurs word for word.

    Attributes:
        start: First character in the answer.
        end: One past the last character.
        tokens: Tokens (first, one past the last) of the answer that lie wholly inside; None without a tokenizer.
        text: The span.
        count: Occurrences in all documents.
        places: The first of them, in the order of the documents.
    """

    start: int
    end: int
    tokens: tuple[int, int] | None
    text: str
    count: int
    places: tuple[Place, ...]


class SuffixIndex:
    """The sorted suffixes of all documents.

    Args:
        documents: Texts; empty ones match nothing.

    Raises:
        InputError: There are none, or one is not text that UTF-8 can hold.
        EnvironmentProblem: The machine has too little memory.
    """

    def __init__(self, documents: Sequence[str]):
        from pydivsufsort import divsufsort

        if not documents:
            raise InputError("there are no documents to find matches in; give at least one")
        encoded = [_encoded(text, f"document {i}") for i, text in enumerate(documents)]
        _check_memory(sum(map(len, encoded)) + len(encoded))
        self._starts = np.cumsum([0, *(len(one) + 1 for one in encoded)])
        self._text = bytearray(_END.join([*encoded, b""]))  # the library wants memory that may be written
        self._suffixes: NDArray[np.integer] = divsufsort(np.frombuffer(self._text, dtype=np.uint8))

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the index takes."""
        return len(self._text) + self._suffixes.nbytes

    def matches(
        self,
        answer: str,
        *,
        min_characters: int = MIN_CHARACTERS,
        max_places: int = MAX_PLACES,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> list[Match]:
        """Return the longest matches of an answer, in its order; matches may overlap but never contain each other.

        Args:
            answer: A generated text; an empty one has no match.
            min_characters: Shorter matches are left out, >= 1. Any two texts share short ones.
            max_places: Places kept of each match, >= 1; `count` counts all.
            tokenizer: To say which tokens of the answer a match holds.

        Raises:
            InputError: A setting is out of range, or the answer is not text.
        """
        if min_characters < 1 or max_places < 1:
            raise InputError(f"min_characters={min_characters}, max_places={max_places} must be 1 or more")
        tokens = None if tokenizer is None else token_map(tokenizer, answer, add_special_tokens=False).offsets
        found = []
        for start, end in self.spans(answer, min_characters=min_characters):
            inside = None if tokens is None else _inside(tokens, start, end)
            count, places = self._places(answer[start:end], max_places)
            found.append(Match(start, end, inside, answer[start:end], count, places))
        return found

    def spans(self, answer: str, *, min_characters: int = 1) -> list[tuple[int, int]]:
        """Return the longest matches as characters (start, end) alone."""
        data = _encoded(answer, "the answer")
        chars = char_of_byte(answer)
        found: list[tuple[int, int]] = []
        reached = 0
        byte = 0
        for start, character in enumerate(answer):
            end = int(chars[byte + self._longest(data[byte:])])
            # A span that ends where an earlier one does lies inside it.
            if end > reached and end - start >= min_characters:
                found.append((start, end))
            reached = max(reached, end)
            byte += len(character.encode())
        return found

    def _longest(self, pattern: bytes) -> int:
        """Bytes of the pattern's longest prefix that occurs; a sorted neighbour of the pattern shares it."""
        place = bisect_left(self._suffixes, pattern, key=lambda suffix: self._text[suffix : suffix + len(pattern)])
        neighbours = self._suffixes[max(place - 1, 0) : place + 1]
        return max(_shared(pattern, self._text[suffix : suffix + len(pattern)]) for suffix in neighbours)

    def _places(self, span: str, max_places: int) -> tuple[int, tuple[Place, ...]]:
        pattern = span.encode()

        def prefix(suffix: int) -> bytearray:
            return self._text[suffix : suffix + len(pattern)]

        first = bisect_left(self._suffixes, pattern, key=prefix)
        last = bisect_right(self._suffixes, pattern, lo=first, key=prefix)
        kept = np.sort(self._suffixes[first:last])[:max_places]
        return last - first, tuple(self._place(int(byte), span) for byte in kept)

    def _place(self, byte: int, span: str) -> Place:
        document = int(np.searchsorted(self._starts, byte, side="right")) - 1
        before = self._text[self._starts[document] : byte].decode()
        line = before.count("\n") + 1
        # A line break at the very end of the span still belongs to the line that it ends.
        return Place(document, len(before), len(before) + len(span), (line, line + span[:-1].count("\n")))


def _shared(a: bytes, b: bytearray) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    different = np.frombuffer(a, np.uint8, n) != np.frombuffer(b, np.uint8, n)
    return int(different.argmax())


def _inside(tokens: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    first = bisect_left(tokens, start, key=lambda span: span[0])
    last = bisect_right(tokens, end, key=lambda span: span[1])
    return first, max(first, last)


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds a lone surrogate at character {error.start}; give text that UTF-8 can hold"
        ) from (error)


def _check_memory(n_bytes: int) -> None:
    needed = n_bytes * (5 if n_bytes < _SMALL else 9)
    free = psutil.virtual_memory().available
    if needed > free:
        raise EnvironmentProblem(
            f"sorting {n_bytes / 1e9:.2f} GB of documents takes {needed / 1e9:.2f} GB of memory, {free / 1e9:.2f} GB "
            "are free; give fewer documents, or parts of them in turn"
        )
