"""What a gradient is the gradient of: minus the log-probability of a whole text, of an answer, or of spans of code.

    whole(model, text)                              # every token but the first
    answer(model, prompt, "\\n    return a + b\\n")  # the answer's tokens only
    spans(model, text, [(20, 28)])                  # the tokens that hold these characters
    contrast(model, prompt, answer, foil)           # why this answer rather than that one: the token where they part

The loss is the SUM over the counted tokens of -log p, in nats, not their mean: so the gradients of the pieces of a long
text add up to that of the text. What compares texts of different length normalises later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.spans.token_map import token_map

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Counted:
    """A tokenised text and how much each token counts.

    Attributes:
        ids: Token ids.
        weights: Factor of each token's -log p in the loss, as many as ids; the first token's is never used, since
            nothing predicts it.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def n_counted(self) -> int:
        """Tokens that have a part in the loss."""
        return sum(weight != 0 for weight in self.weights[1:])

    def pieces(self, longest: int) -> Iterator[Counted]:
        """Yield pieces of at most `longest` tokens, in which every token but the first is predicted exactly once.

        A piece begins with the last token of the one before. Pieces in which nothing counts are left out.
        """
        for start in range(0, max(len(self.ids) - 1, 1), longest - 1):
            piece = Counted(self.ids[start : start + longest], self.weights[start : start + longest])
            if piece.n_counted:
                yield piece


@dataclass(frozen=True)
class Contrast:
    """The loss of what was said minus the loss of what was not.

    Attributes:
        said: Counts for.
        foil: Counts against.
    """

    said: Counted
    foil: Counted

    def pieces(self, longest: int) -> Iterator[Counted]:
        """Yield the pieces of both, those of the foil with negative weights."""
        yield from self.said.pieces(longest)
        yield from Counted(self.foil.ids, tuple(-weight for weight in self.foil.weights)).pieces(longest)


Target = Counted | Contrast


def whole(model: CodeModel, text: str, *, end: bool = True, name: str = "text") -> Counted:
    """Count every token of a text.

    Args:
        model: Whose tokenizer reads it.
        text: The text.
        end: Whether the end-of-text token follows, as after a document in training.
        name: What messages call it.

    Raises:
        InputError: Fewer than two tokens: nothing predicts the first.
    """
    ids = [*model.tokenizer(text).input_ids, *_end(model, end)]
    return _checked(ids, [1.0] * len(ids), name)


def answer(model: CodeModel, prompt: str, text: str, *, end: bool = False, name: str = "answer") -> Counted:
    """Count the tokens of an answer given its prompt; the two are tokenised apart, as generation joins them.

    Raises:
        InputError: The answer has no token, or nothing comes before it.
    """
    before = list(model.tokenizer(prompt).input_ids) if prompt else []
    after = [*model.tokenizer(text, add_special_tokens=False).input_ids, *_end(model, end)]
    return _checked([*before, *after], [0.0] * len(before) + [1.0] * len(after), name)


def spans(model: CodeModel, text: str, ranges: Sequence[tuple[int, int]], *, name: str = "text") -> Counted:
    """Count the tokens that hold characters of some ranges; one that only touches a range counts in full.

    Args:
        model: Whose tokenizer reads the text.
        text: The text.
        ranges: Half-open character ranges (start, end).
        name: What messages call it.

    Raises:
        InputError: A range outside the text, or no token in any range.
    """
    for start, end in ranges:
        if not 0 <= start < end <= len(text):
            raise InputError(f"{name} has no characters {start}..{end}; use a non-empty range in 0..{len(text)}")
    tokens = token_map(model.tokenizer, text)
    weights = [0.0] * len(tokens.ids)
    for start, end in ranges:
        for token in tokens.tokens_of(start, end):
            weights[token] = 1.0
    return _checked(tokens.ids, weights, name)


def contrast(model: CodeModel, prompt: str, answer: str, foil: str) -> Contrast:
    """Ask what made a model write an answer rather than another: the first token in which the two differ.

    Both tokens are read at the same place, so the difference of their losses is that of their logits. A model that is
    sure of its answer has hardly a gradient there, and the other tokens of the answer outweigh it; this difference has
    a full one however sure the model is.

    Args:
        model: Whose tokenizer reads them.
        prompt: What the model was asked.
        answer: What it said.
        foil: What it did not say. Where one text ends and the other goes on, the first one's token is end-of-text.

    Raises:
        InputError: The two are the same to the tokenizer, or nothing comes before them.
    """
    before = list(model.tokenizer(prompt).input_ids) if prompt else []
    said, other = (
        [*model.tokenizer(text, add_special_tokens=False).input_ids, *_end(model, True)] for text in (answer, foil)
    )
    fork = next((i for i, pair in enumerate(zip(said, other, strict=False)) if pair[0] != pair[1]), None)
    if fork is None:
        raise InputError("the answer and the foil are the same text; give an answer that was not given")
    weights = [0.0] * (len(before) + fork) + [1.0]
    both = [_checked([*before, *ids[: fork + 1]], weights, "answer") for ids in (said, other)]
    return Contrast(*both)


def _end(model: CodeModel, end: bool) -> list[int]:
    return [model.tokenizer.eos_token_id] if end and model.tokenizer.eos_token_id is not None else []


def _checked(ids: Sequence[int], weights: Sequence[float], name: str) -> Counted:
    found = Counted(tuple(ids), tuple(weights))
    if not found.n_counted:
        raise InputError(f"{name} has no token that something predicts; give at least two tokens, or leave it out")
    return found
