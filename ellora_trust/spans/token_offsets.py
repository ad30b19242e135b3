"""Where the characters of each token are: three sources, the surest first.

1. The bytes of the tokens, where these spell the text: byte-level BPE, SentencePiece with byte fallback.
   `offset_mapping` is not asked then, because it leaves out the spaces that `trim_offsets` trims.
2. `offset_mapping`, for fast tokenizers that normalise the text, such as WordPiece.
3. Decoding longer and longer prefixes, for slow tokenizers.

    text_spans(tokenizer, "x = 1", ids)      # [(0, 1), (1, 3), (3, 5)]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CharSpan = tuple[int, int]

_SPACE_MARK = "▁"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """The inverse of GPT-2's table, which writes each byte as one printable character."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_alphabet()


def char_of_byte(text: str) -> NDArray[np.intp]:
    """Return the character index of each UTF-8 byte, and `len(text)` at the end, (n_bytes + 1,).

    Raises:
        InputError: The text has a lone surrogate.
    """
    try:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    except UnicodeEncodeError as error:
        given = f"{text[error.start]!r} at character {error.start}"
        raise InputError(f"{given} is not text; decode the file as UTF-8 with errors='replace'") from error
    widths = 1 + (codes > 0x7F).astype(np.intp) + (codes > 0x7FF) + (codes > 0xFFFF)
    return np.append(np.repeat(np.arange(len(text)), widths), len(text))


def text_spans(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> list[CharSpan]:
    """Return the characters (start, end) of tokens that all belong to the text, one for each id."""
    spelled = _spelled_spans(tokenizer, text, ids, [False] * len(ids))
    if spelled is not None:
        return spelled[0]
    if tokenizer.is_fast:
        offsets = tokenizer(
            text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False
        ).offset_mapping
        return _fill_gaps(text, [(int(s), int(e)) for s, e in offsets])
    return _decoded_spans(tokenizer, text, ids)


def given_spans(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: tuple[int, ...]
) -> tuple[list[CharSpan], list[bool]]:
    """Return the same for tokens the model read or wrote, and which were added around the text.

    A special token that the text does not spell was added.
    """
    known = set(tokenizer.all_special_ids)
    optional = [i in known for i in ids]
    spelled = _spelled_spans(tokenizer, text, ids, optional)
    if spelled is not None:
        return spelled
    inside = iter(_decoded_spans(tokenizer, text, [i for i in ids if i not in known]))
    spans: list[CharSpan] = []
    for skip in optional:
        here = spans[-1][1] if spans else 0
        spans.append((here, here) if skip else next(inside))
    return spans, optional


def _spelled_spans(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int], optional: Sequence[bool]
) -> tuple[list[CharSpan], list[bool]] | None:
    """Spans by matching the bytes of the tokens with those of the text; None where they differ."""
    added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
    names = tokenizer.convert_ids_to_tokens(list(ids))
    for space in (" ", _SPACE_MARK):
        # The mark has more bytes than the space it stands for: match in the tokenizer's own spelling.
        spelling = text.replace(" ", space)
        pieces = [
            added[i].replace(" ", space).encode() if i in added else _piece(name, space)
            for i, name in zip(ids, names, strict=True)
        ]
        walked = _walk(pieces, spelling.encode(), space.encode(), optional)
        if walked is not None:
            chars = char_of_byte(spelling)
            spans = [(int(chars[s]), int(chars[e - 1]) + 1 if e > s else int(chars[s])) for s, e in walked]
            special = [skip and s == e for skip, (s, e) in zip(optional, walked, strict=True)]
            return spans, special
    return None


def _piece(name: str | bytes | None, space: str) -> bytes:
    """Bytes that a token of the vocabulary stands for; `space` tells byte-level from marked spaces."""
    if name is None or isinstance(name, bytes):
        return name or b""
    if space == " ":
        return bytes(_BYTES[c] for c in name) if all(c in _BYTES for c in name) else name.encode()
    byte = _BYTE_TOKEN.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace(" ", _SPACE_MARK).encode()


def _walk(pieces: list[bytes], target: bytes, space: bytes, optional: Sequence[bool]) -> list[tuple[int, int]] | None:
    """Byte span of each piece in the target, allowing for the space some tokenizers put before a text."""
    lead = b"".join(p for p, skip in zip(pieces, optional, strict=True) if not skip) == space + target
    spans, cursor = [], 0
    for piece, skip in zip(pieces, optional, strict=True):
        fits = target.startswith(piece, cursor)
        if skip and not fits:
            piece = b""
        elif not skip and piece.startswith(space) and (lead or not fits):
            piece, lead = piece.removeprefix(space), False
        if not target.startswith(piece, cursor):
            return None
        spans.append((cursor, cursor + len(piece)))
        cursor += len(piece)
    return spans if cursor == len(target) else None


def _fill_gaps(text: str, offsets: list[CharSpan]) -> list[CharSpan]:
    """Give dropped characters to a neighbour: marks to the token before them, spaces to the one after."""
    spans: list[CharSpan] = []
    cursor = 0
    for start, end in offsets:
        while spans and cursor < start and unicodedata.category(text[cursor])[0] == "M":
            cursor += 1
            spans[-1] = (spans[-1][0], cursor)
        if cursor < start and _droppable(text[cursor:start]):
            start = cursor
        spans.append((start, max(start, end)))
        cursor = max(cursor, end)
    if spans and cursor < len(text) and _droppable(text[cursor:]):
        spans[-1] = (spans[-1][0], len(text))
    return spans


def _droppable(gap: str) -> bool:
    """Whether a gap holds only spaces, control characters and marks, which normalisers remove."""
    return all(unicodedata.category(character)[0] in "ZCM" for character in gap)


def _decoded_spans(tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int]) -> list[CharSpan]:
    """Spans by decoding longer and longer prefixes; quadratic, so only where nothing else is known."""
    ids = list(ids)
    whole = _decode(tokenizer, ids)
    lead = whole.removeprefix(" ") == text and whole != text
    spans: list[CharSpan] = []
    done = 0
    for count in range(1, len(ids) + 1):
        prefix = _decode(tokenizer, ids[:count])
        agreed = _n_shared(prefix.removeprefix(" ") if lead else prefix, text)
        # A token that completes no character holds a part of the next one, if that has several bytes.
        partial = agreed <= done < len(text) and ord(text[done]) > 0x7F
        spans.append((done, max(agreed, done + partial)))
        done = max(done, agreed)
    return spans


def _n_shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
