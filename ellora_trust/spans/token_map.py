"""Which tokens hold which characters, for any Hugging Face tokenizer.

The contract, checked on every call: token spans are in order and together cover every character of the text.
`token_offsets` says where they come from.

    tokens = token_map(tokenizer, "def f(x):")
    tokens.tokens_of(6, 7)                         # tokens that hold the "x"
    tokens.absolute(padding_left=3).tokens_of(6, 7)   # their columns in a left-padded batch
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.spans.token_offsets import CharSpan, char_of_byte, given_spans, text_spans

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenMap:
    """Tokens of one text and the characters each of them holds.

    Attributes:
        text: The text, without what the tokenizer adds.
        ids: Token ids, special ones included.
        offsets: Characters (start, end) of each token; empty where a token holds none. Tokens that share a
            character of several bytes all hold it.
        special: Whether a token was added around the text (BOS, EOS, padding).
        shift: Index of the first token in the forward pass that is read.
        length: Tokens in that pass; None where it reaches to the end.
    """

    text: str
    ids: tuple[int, ...]
    offsets: tuple[CharSpan, ...]
    special: tuple[bool, ...]
    shift: int = 0
    length: int | None = None

    def tokens_of(self, start: int, end: int) -> tuple[int, ...]:
        """Return, in order, the indices of the tokens that hold a character of [start, end), if any."""
        # Starts and ends never fall, so both borders are found by bisection; tokens between may hold nothing.
        first = max(bisect_right(self.offsets, start, key=lambda span: span[1]), -self.shift)
        last = bisect_left(self.offsets, end, key=lambda span: span[0]) if start < end else 0
        if self.length is not None:
            last = min(last, self.length - self.shift)
        held = (i for i in range(first, last) if self.offsets[i][0] < self.offsets[i][1])
        return tuple(i + self.shift for i in held)

    def tokens_of_bytes(self, start: int, end: int) -> tuple[int, ...]:
        """Return the same for UTF-8 byte offsets [start, end).

        Raises:
            InputError: The offsets are outside the text or out of order.
        """
        chars = char_of_byte(self.text)
        if not 0 <= start <= end < len(chars):
            raise InputError(f"bytes {start}..{end} are outside the text; use 0..{len(chars) - 1} in order")
        return self.tokens_of(int(chars[start]), int(chars[end - 1]) + 1) if start < end else ()

    def span_of(self, token_index: int) -> CharSpan:
        """Return the characters (start, end) of one token, by the index that `tokens_of` gives.

        Raises:
            InputError: There is no such token.
        """
        position = token_index - self.shift
        if not 0 <= position < len(self.ids):
            last = self.shift + len(self.ids) - 1
            raise InputError(f"token {token_index} does not exist; use {self.shift}..{last}")
        return self.offsets[position]

    def absolute(self, padding_left: int, *, cached: int = 0, length: int | None = None) -> TokenMap:
        """Return the map with indices that count the columns of one forward pass.

        Args:
            padding_left: Padding tokens before the text in its row, >= 0.
            cached: Columns that are in the key-value cache and not computed again, >= 0.
            length: Columns of the pass, as 1 when decoding; None for all that remain.

        Raises:
            InputError: A count is negative.
        """
        if padding_left < 0 or cached < 0 or (length is not None and length < 0):
            raise InputError(f"padding_left={padding_left}, cached={cached}, length={length} must not be negative")
        return replace(self, shift=padding_left - cached, length=length)


def token_map(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    add_special_tokens: bool = True,
    ids: Sequence[int] | None = None,
) -> TokenMap:
    """Map the characters of a text to its tokens.

    Args:
        tokenizer: Fast or slow.
        text: Any text that UTF-8 can hold, also empty. With `ids`, the whole text that they spell.
        add_special_tokens: Whether the tokenizer adds its own (BOS ...); ignored where `ids` is given.
        ids: Tokens the model really read or wrote. Generated tokens are often not those that tokenising the
            text again would give.

    Raises:
        InputError: The text has a lone surrogate, the ids spell another text, or the tokenizer loses
            characters.
    """
    char_of_byte(text)  # refuses what is not text
    if ids is None:
        body, before, after = _encode(tokenizer, text, add_special_tokens)
        inside = text_spans(tokenizer, text, body)
        end = (len(text), len(text))
        spans = [(0, 0)] * len(before) + inside + [end] * len(after)
        special = [True] * len(before) + [False] * len(inside) + [True] * len(after)
        every = (*before, *body, *after)
    else:
        every = tuple(int(i) for i in ids)
        spans, special = given_spans(tokenizer, text, every)
    _check_contract(tokenizer, text, spans)
    return TokenMap(text, every, tuple(spans), tuple(special))


def _encode(
    tokenizer: PreTrainedTokenizerBase, text: str, add_special_tokens: bool
) -> tuple[list[int], list[int], list[int]]:
    """Ids of the text, and those the tokenizer adds before and after it."""
    body = _ids(tokenizer, text, False)
    whole = _ids(tokenizer, text, True) if add_special_tokens else body
    if len(whole) == len(body):
        return body, [], []
    # The text may itself begin with a special token, so a letter says how many tokens come before.
    letter, framed = _ids(tokenizer, "a", False), _ids(tokenizer, "a", True)
    n_before = next((k for k in range(len(framed)) if framed[k : k + len(letter)] == letter), 0)
    if whole[n_before : n_before + len(body)] != body:
        raise InputError(
            f"{type(tokenizer).__name__} tokenises a text differently with its special tokens; "
            "use add_special_tokens=False"
        )
    return body, whole[:n_before], whole[n_before + len(body) :]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, add_special_tokens: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=add_special_tokens, truncation=False, verbose=False).input_ids)


def _check_contract(tokenizer: PreTrainedTokenizerBase, text: str, spans: list[CharSpan]) -> None:
    """Spans are in order and cover the text; raise InputError otherwise."""
    covered, last = 0, (0, 0)
    for start, end in spans:
        if not (last[0] <= start <= covered and max(start, last[1]) <= end <= len(text)):
            break
        covered, last = max(covered, end), (start, end)
    if covered < len(text) or (spans and last != spans[-1]):
        raise InputError(
            f"{type(tokenizer).__name__} loses or reorders text: {text[covered : covered + 12]!r} at "
            f"character {covered} is in no token; use a tokenizer that keeps all text, or ids that spell it"
        )
