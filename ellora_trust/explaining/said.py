"""What the model said with the error predictor attached, and which of its characters the questions are about.

said = say(model, prompt, guard)
risky_span(said)                 # the run of tokens that the predictor likes least
foil_span(said, foil)            # where a foil departs from it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from probes.watching.answering import Guard

Basis = Literal["risk", "foil", "whole answer"]


@dataclass(frozen=True)
class Said:
    """One answer.

    Attributes:
        prompt: As it was put to the model, a chat template included.
        answer: What it wrote.
        pieces: Text of each token; joined they are the answer.
        scores: Of each token by the error predictor, in logits; empty where none was attached, or where it reads the
            prompt alone and so says nothing of tokens.
        risks: The same calibrated, [0, 1]: they rank tokens.
        risk: That the whole answer is wrong, [0, 1]; None without a predictor.
        verdict: The risk in words, and what it rests on.
    """

    prompt: str
    answer: str
    pieces: tuple[str, ...]
    scores: tuple[float, ...] = ()
    risks: tuple[float, ...] = ()
    risk: float | None = None
    verdict: str = "No error predictor was given, so no risk is known."

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Characters (start, end) of each token in the answer."""
        ends = np.cumsum([len(piece) for piece in self.pieces]).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class AnswerSpan:
    """Characters of an answer.

    Attributes:
        start: First.
        end: After the last.
        text: What they are.
        basis: Why these.
    """

    start: int
    end: int
    text: str
    basis: Basis

    @classmethod
    def of(cls, said: Said, start: int, end: int, basis: Basis) -> AnswerSpan:
        return cls(start, end, said.answer[start:end], basis)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def say(
    model: CodeModel, prompt: str, guard: Guard | None, *, max_new_tokens: int = 64, stop: tuple[str, ...] = ()
) -> Said:
    """Return the model's greedy answer, watched where there is a predictor.

    Args:
        model: The model.
        prompt: What it is asked.
        guard: The predictor, with the same length and stop strings; None without one.
        max_new_tokens: Length limit, in tokens.
        stop: Strings that end the answer.

    Raises:
        InputError: An answer without text, which nothing can be asked about; or as `Guard.answer`.
    """
    from ellora_trust.prompts import chat
    from probes.watching.answering import pieces_of

    if guard is None:
        (found,) = model.generate([prompt], max_new_tokens=max_new_tokens, stop=stop)
        pieces = pieces_of(model, found.tokens)
        return _checked(Said(prompt, found.text, _cut(pieces, found.text)), model)
    (answered,) = guard.answer([prompt])
    watched = answered.watched
    put = chat(model, prompt) if guard.used_format == "chat" else prompt
    pieces = _cut(pieces_of(model, watched.tokens), answered.text)
    # A predictor of the prompt's end has no opinion on what comes after it.
    n = min(len(pieces), len(watched.scores)) if reads_answer(guard) else 0
    scores, risks = tuple(watched.scores[:n]), tuple(watched.risks[:n])
    return _checked(Said(put, answered.text, pieces, scores, risks, watched.risk, guard.verdict(answered)), model)


def reads_answer(guard: Guard) -> bool:
    """Return whether the predictor was fitted on tokens of answers."""
    from probes.watching.readout import Readout

    return Readout.of(guard.probe).reads_answer


def _checked(said: Said, model: CodeModel) -> Said:
    if not said.answer.strip():
        raise InputError(
            f"{model.name} answers {said.answer!r}, which has no text to explain; give another prompt or more tokens"
        )
    return said


def _cut(pieces: Sequence[str], text: str) -> tuple[str, ...]:
    """Pieces of the answer's text alone: what ended it, or a stop string within a token, is left out."""
    found, left = [], len(text)
    for piece in pieces:
        if left <= 0:
            break
        found.append(piece[:left])
        left -= len(piece)
    return tuple(found)


def risky_span(said: Said) -> AnswerSpan:
    """Return the run of tokens whose scores lie furthest above the answer's mean, in sum; else the whole answer.

    This is the maximal-sum run (Bentley 1984, doi:10.1145/358234.381162) of score minus mean: it needs no threshold, is
    never empty, and prefers one long risky stretch to one risky token in it.
    """
    scores = np.asarray(said.scores, dtype=float)
    above = scores - scores.mean() if len(scores) else scores
    if not len(scores) or np.allclose(above, 0):
        return whole_span(said)
    first, last = _largest_run(above)
    offsets = said.offsets
    found = _visible(said.answer, offsets[first][0], offsets[last][1])
    return AnswerSpan.of(said, *found, "risk") if found else whole_span(said)


def _largest_run(values: np.ndarray) -> tuple[int, int]:
    """First and last index of the run with the largest sum."""
    best, run, largest, running = (0, 0), 0, -np.inf, 0.0
    for number, value in enumerate(values):
        if running <= 0:
            run, running = number, 0.0
        running += value
        if running > largest:
            best, largest = (run, number), running
    return best


def whole_span(said: Said) -> AnswerSpan:
    """Return the whole answer without the white space around it."""
    found = _visible(said.answer, 0, len(said.answer))
    assert found is not None, "an answer without text was refused"
    return AnswerSpan.of(said, *found, "whole answer")


def _visible(text: str, start: int, end: int) -> tuple[int, int] | None:
    inside = text[start:end]
    stripped = inside.strip()
    first = start + len(inside) - len(inside.lstrip())
    return (first, first + len(stripped)) if stripped else None


def foil_span(said: Said, foil: str) -> tuple[AnswerSpan, str]:
    """Return where a foil departs from the answer, in whole tokens of the answer, and what it says there instead.

    Raises:
        InputError: The foil is empty or is the answer.
    """
    answer = said.answer
    if not foil.strip() or foil == answer:
        raise InputError(
            "the foil is empty or is what the model said; give an answer that it did not give, such as the fix"
        )
    shorter = min(len(answer), len(foil))
    same = next((n for n in range(shorter) if answer[n] != foil[n]), shorter)
    after = next((n for n in range(shorter - same) if answer[-1 - n] != foil[-1 - n]), shorter - same)
    # Where one text lacks what the other holds, the character that follows tells them apart.
    low = min(same, len(answer) - 1)
    high = max(len(answer) - after, low + 1)
    offsets = said.offsets
    inside = [number for number, (start, end) in enumerate(offsets) if start < high and end > low]
    first, last = inside[0], inside[-1]
    # What lies outside of the tokens stands in both texts. A foil that only lacks something takes what follows as well.
    while not (instead := foil[offsets[first][0] : len(foil) - (len(answer) - offsets[last][1])]):
        first, last = (first, last + 1) if last + 1 < len(offsets) else (first - 1, last)
    return AnswerSpan.of(said, offsets[first][0], offsets[last][1], "foil"), instead
