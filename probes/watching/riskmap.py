"""Where in source text the risk lies: token scores gathered by line and by statement.

    risk_map(text, offsets, scores, calibration, "python").lines
    answer_map(watch.answers[0], model.tokenizer, calibration, "python")     # of what was just generated
    score_source(probe, model, Path("solver.c").read_text(), "c")            # of source that exists

A token belongs to the line, and to the innermost statement, of its first visible character (of its first one, where it
is only space). A line's score is the mean
over its tokens: what the probe says of that many tokens read as one answer. The calibration was fitted on whole
answers, so a line's risk ranks lines; it is not the probability that the line is wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.spans import Language, Span, find, token_map
from probes.error_probe import Calibration, ErrorProbe
from probes.watching.answer import WatchedAnswer
from probes.watching.shift import Shift, shift_of

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Tokens read at once: attention over more costs memory, and a half of it is context enough.
WINDOW = 2048


@dataclass(frozen=True)
class SpanRisk:
    """Risk of a piece of source.

    Attributes:
        line: Its first line, from 1.
        start: First character.
        end: Character after the last.
        kind: `line`, or the statement's kind: `return`, `for`, `expression` ...
        text: `source[start:end]`.
        n_tokens: Tokens that belong to it; those of a statement inside another belong to the inner one.
        score: Mean of their scores, in logits.
        highest: Maximum of their scores, in logits.
        risk: Calibrated mean, [0, 1].
    """

    line: int
    start: int
    end: int
    kind: str
    text: str
    n_tokens: int
    score: float
    highest: float
    risk: float


@dataclass(frozen=True)
class RiskMap:
    """Risk over one text; pieces that no token belongs to are left out.

    Attributes:
        text: The source.
        lines: In order, without blank ones.
        statements: In order; empty where no language was given.
        shift: How far these token scores lie from what the probe was fitted on; None for a generated answer.
    """

    text: str
    lines: list[SpanRisk]
    statements: list[SpanRisk]
    shift: Shift | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def lines(
    text: str, offsets: Sequence[tuple[int, int]], scores: Sequence[float], calibration: Calibration
) -> list[SpanRisk]:
    """Return the risk of each line.

    Args:
        text: The source.
        offsets: Characters (start, end) of each token.
        scores: Of each token, in logits; NaN for one that was not read.
        calibration: From score to risk.

    Raises:
        InputError: As many scores as offsets were not given.
    """
    return _gathered(text, find(text, "python", "line"), offsets, scores, calibration)


def statements(
    text: str,
    offsets: Sequence[tuple[int, int]],
    scores: Sequence[float],
    calibration: Calibration,
    language: Language,
) -> list[SpanRisk]:
    """Return the risk of each statement, without that of the statements inside it.

    Args:
        text: The source, which may be incomplete.
        offsets: Characters (start, end) of each token.
        scores: Of each token, in logits; NaN for one that was not read.
        calibration: From score to risk.
        language: `python` or `c`.

    Raises:
        InputError: As `lines`, or an unknown language.
    """
    return _gathered(text, find(text, language, "statement"), offsets, scores, calibration)


def _gathered(
    text: str,
    spans: Sequence[Span],
    offsets: Sequence[tuple[int, int]],
    scores: Sequence[float],
    calibration: Calibration,
) -> list[SpanRisk]:
    if len(offsets) != len(scores):
        raise InputError(f"{len(offsets)} tokens and {len(scores)} scores were given; give one score a token")
    held: dict[int, list[float]] = {}
    for (start, end), score in zip(offsets, scores, strict=True):
        owner = _innermost(spans, _first_visible(text, start, end)) if end > start else None
        if owner is not None and not np.isnan(score):
            held.setdefault(owner, []).append(float(score))
    line_starts = [span.start for span in find(text, "python", "line")]
    written = [i for i in sorted(held) if spans[i].text.strip()]
    return [_span_risk(spans[i], held[i], line_starts, calibration) for i in written]


def _first_visible(text: str, start: int, end: int) -> int:
    return next((at for at in range(start, end) if not text[at].isspace()), start)


def _innermost(spans: Sequence[Span], at: int) -> int | None:
    """The last span to begin that holds a character; a line's own end belongs to it."""
    for i in range(bisect_right(spans, at, key=lambda span: span.start) - 1, -1, -1):
        if at < spans[i].end or spans[i].kind == "line":
            return i
    return None


def _span_risk(span: Span, scores: list[float], line_starts: list[int], calibration: Calibration) -> SpanRisk:
    mean = float(np.mean(scores))
    kind = "line" if span.kind == "line" else span.name or span.kind
    line, risk = bisect_right(line_starts, span.start), float(calibration(np.array([mean]))[0])
    return SpanRisk(line, span.start, span.end, kind, span.text, len(scores), mean, max(scores), risk)


def risk_map(
    text: str,
    offsets: Sequence[tuple[int, int]],
    scores: Sequence[float],
    calibration: Calibration,
    language: Language | None = None,
) -> RiskMap:
    """Return the risk of each line, and of each statement where a language is given; arguments as `statements`."""
    by_line = lines(text, offsets, scores, calibration)
    by_statement = statements(text, offsets, scores, calibration, language) if language else []
    return RiskMap(text, by_line, by_statement)


def answer_map(
    answer: WatchedAnswer, tokenizer: Any, calibration: Calibration, language: Language | None = None
) -> RiskMap:
    """Return the risk map of an answer that was watched; tokens that end it and hold no text are left out."""
    ids = answer.tokens[: answer.n_answer]
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    offsets = token_map(tokenizer, text, ids=ids).offsets
    # The last token of an answer is not read where the probe's position does not need it.
    scores = [*answer.scores, float("nan")][: len(ids)]
    return risk_map(text, offsets, scores, calibration, language)


def score_source(
    probe: ErrorProbe, model: CodeModel, text: str, language: Language | None = None, *, force: bool = False
) -> RiskMap:
    """Return the risk map of source that exists, read as the model would read its own writing.

    Read the shift first: the probe was fitted on answers that the model generated.

    Args:
        probe: Fitted or loaded.
        model: The model it was fitted on.
        text: The source; longer than the context, it is read in windows that overlap by a half.
        language: `python` or `c`, for statements.
        force: Accept a model other than the one the probe was fitted on.

    Raises:
        InputError: An empty text, an unknown language, or a probe that does not fit the model.
    """
    if not text.strip():
        raise InputError("the source is empty; give a file with code")
    mapped = token_map(model.tokenizer, text)
    scores = _token_scores(probe, model, list(mapped.ids), force)
    # The first token is an attention sink; the library leaves it out of every mean.
    scores[0] = np.nan
    special = np.array(mapped.special)
    scores[special] = np.nan
    found = risk_map(text, mapped.offsets, scores.tolist(), probe.calibration_, language)
    return RiskMap(text, found.lines, found.statements, shift_of(probe, scores[~np.isnan(scores)]))


def _token_scores(probe: ErrorProbe, model: CodeModel, ids: list[int], force: bool) -> np.ndarray:
    """Score every token, each with at least half a window before it where the text has that much."""
    from ellora_trust.inference import forward
    from probes.watching.attach import attach

    window = min(WINDOW, model.max_length)
    scores = np.full(len(ids), np.nan)
    with attach(probe, model, force=force) as watch:
        for start in range(0, max(len(ids) - window // 2, 1), max(window // 2, 1)):
            piece = ids[start : start + window]
            forward(model, [piece], keep_logits=0, use_cache=False)
            fresh = 0 if start == 0 else window // 2
            scores[start + fresh : start + len(piece)] = watch.forward_scores[0, fresh:]
    return scores
