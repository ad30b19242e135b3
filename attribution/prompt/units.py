"""The pieces of a prompt that get a score: identifiers, expressions or lines, instead of pieces of words.

A prompt is divided: every token that holds text belongs to exactly one unit, so scores of units add up as scores of
tokens do. Special tokens (begin of text, fill-in-the-middle marks) belong to none: they stay whatever is left out.

    units_of(model, 'def f(xs):\\n    "Sum the xs."', "python", by="identifier")   # def f ( xs ... Sum the xs

| by | units |
|---|---|
| identifier | each identifier; each word of a comment or docstring; each keyword or number; marks between them |
| expression | each outermost call, annotation, default, pragma, comment and docstring; the rest as above |
| line | each line |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ellora_trust.errors import InputError, one_of
from ellora_trust.spans import Kind, Language, find
from ellora_trust.spans.token_map import TokenMap, token_map

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

By = Literal["identifier", "expression", "line"]
_WORD = re.compile(r"\w+")
_EXPRESSIONS: tuple[Kind, ...] = ("comment", "annotation", "default", "call", "pragma")
Piece = tuple[str, int, int]  # kind, first character, character after the last


@dataclass(frozen=True)
class Unit:
    """A piece of a prompt and what it did for the answer.

    Attributes:
        kind: `identifier`, `comment`, `docstring`, `word` (a keyword or number), `call`, `annotation`, `default`,
            `pragma`, `line`, or `mark` for what is between.
        name: Its text, without white space around it.
        start: First character in the prompt.
        end: Character after the last.
        tokens: Indices of its tokens in the prompt's token ids.
        score: In nats; above 0 it speaks for the answer.
    """

    kind: str
    name: str
    start: int
    end: int
    tokens: tuple[int, ...]
    score: float = 0.0


def units_of(model: CodeModel, prompt: str, language: Language, *, by: By = "identifier") -> tuple[Unit, ...]:
    """Divide a prompt into units, in the order of the text.

    A token that holds characters of two units belongs to the one with more of its characters that are not white space.

    Args:
        model: Whose tokenizer decides which tokens there are.
        prompt: The text.
        language: `python` or `c`.
        by: How finely it is divided.

    Raises:
        InputError: An unknown division or language, or a prompt without text.
    """
    if by not in get_args(By):
        raise InputError(one_of(by, get_args(By), what="division into units"))
    if not prompt.strip():
        raise InputError("the prompt has no text, so there is nothing to give a score; give at least one word")
    pieces = _filled(prompt, list(_pieces(prompt, language, by)))
    tokens = token_map(model.tokenizer, prompt)
    special = {number for number, token in model.tokenizer.added_tokens_decoder.items() if token.special}
    owners = _owners(tokens, pieces, special)
    found = []
    for number, (kind, start, end) in enumerate(pieces):
        held = tuple(int(token) for token in np.flatnonzero(owners == number))
        if held:
            found.append(Unit(kind, prompt[start:end].strip(), start, end, held))
    return tuple(found)


def _pieces(prompt: str, language: Language, by: By) -> Iterator[Piece]:
    """Named pieces, the more important first; they may overlap."""
    if by == "line":
        yield from (("line", span.start, span.end) for span in find(prompt, language, "line"))
        return
    texts = list(_docstrings(prompt, language))
    texts += [("comment", span.start, span.end) for span in find(prompt, language, "comment")]
    if by == "expression":
        yield from sorted(_expressions(prompt, language, texts), key=lambda piece: piece[1] - piece[2])
    else:
        for kind, start, end in texts:
            yield from ((kind, *word.span()) for word in _WORD.finditer(prompt, start, end))
    yield from (("identifier", span.start, span.end) for span in find(prompt, language, "identifier"))
    yield from (("word", *word.span()) for word in _WORD.finditer(prompt))


def _expressions(prompt: str, language: Language, texts: list[Piece]) -> list[Piece]:
    kinds: list[Kind] = [k for k in _EXPRESSIONS if k != ("pragma" if language == "python" else "default")]
    return texts + [(kind, span.start, span.end) for kind in kinds for span in find(prompt, language, kind)]


def _docstrings(prompt: str, language: Language) -> Iterator[Piece]:
    if language == "python":
        for span in find(prompt, language, "statement", "expression"):
            if span.text.lstrip("rRuUbBfF")[:1] in ("'", '"'):
                yield "docstring", span.start, span.end


def _filled(prompt: str, pieces: list[Piece]) -> list[Piece]:
    """Pieces that do not overlap and cover the prompt: what is claimed first stays, the gaps are marks."""
    owner = np.full(len(prompt), -1)
    for number, (_, start, end) in enumerate(pieces):
        if (owner[start:end] == -1).all():
            owner[start:end] = number
    borders = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), len(prompt)]
    found: list[Piece] = []
    for start, end in pairwise(borders):
        if found and prompt[start:end].isspace():
            # White space goes with what it follows.
            found[-1] = (found[-1][0], found[-1][1], end)
        else:
            found.append((pieces[owner[start]][0] if owner[start] >= 0 else "mark", start, end))
    return found


def _owners(tokens: TokenMap, pieces: list[Piece], special: set[int]) -> NDArray[np.intp]:
    """Which piece each token belongs to, (n_tokens,); -1 for special tokens and those that hold no text."""
    starts = np.array([start for _, start, _ in pieces])
    owners = np.full(len(tokens.ids), -1)
    for token, (start, end) in enumerate(tokens.offsets):
        inside = [c for c in range(start, end) if not tokens.text[c].isspace()] or list(range(start, end))
        if inside and not tokens.special[token] and tokens.ids[token] not in special:
            claimed = np.searchsorted(starts, inside, side="right") - 1
            owners[token] = np.bincount(claimed).argmax()
    return owners
