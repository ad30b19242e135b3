"""One ranking from text and gradient, and for every hit a word on what it rests.

for hit in rank(evidence, answers, origins, tokenizer=tokenizer, k=10)[0]:
    hit.basis, hit.document, hit.path, hit.lines, hit.sign
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from attribution.documents.evidence import Basis, Evidence, FloatArray, Limits, Side, z_sum
from attribution.documents.matches import Match, SuffixIndex
from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.near_duplicates import connected, near_duplicate_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Sign = Literal["proponent", "opponent"]
SIDES = ("proponents", "opponents")


@dataclass(frozen=True)
class Origin:
    """A training document, and where it comes from.

    Attributes:
        id: Unique.
        text: As the model read it.
        path: Of its file; empty if unknown.
        licence: SPDX tag; empty if unknown.
        first_line: Line of the file in which the text begins, from 1.
        cluster: Id of the first of its near-duplicates, its own id if it has none before it; empty if not looked for.
    """

    id: str
    text: str
    path: str = ""
    licence: str = ""
    first_line: int = 1
    cluster: str = ""


@dataclass(frozen=True)
class Hit:
    """One document behind an answer.

    Attributes:
        document: Its id.
        path: Of its file.
        licence: SPDX tag.
        lines: First and last line in the file: of the longest exact match where `basis` is "verbatim", else of all.
        cluster: Id of the first of its near-duplicates.
        sign: Whether reading it made the answer likelier; "proponent" where there is no gradient.
        basis: "verbatim": a long exact match. "adapted": much of the answer in small pieces. "influential only": a high
            gradient score without either. "weak": none of these, though no other document ranks before it.
        score: Fused, in standard deviations over the documents.
        gradient: In standard deviations; None without gradient.
        ngram: In standard deviations.
        coverage: Share of the answer that it holds, [0, 1].
        match: The longest exact match; None if they share no character. Its places count characters of the text.
    """

    document: str
    path: str
    licence: str
    lines: tuple[int, int]
    cluster: str
    sign: Sign
    basis: Basis
    score: float
    gradient: float | None
    ngram: float
    coverage: float
    match: Match | None


def with_clusters(origins: Sequence[Origin]) -> list[Origin]:
    """Return the documents with the id of the first of their near-duplicates (MinHash, Jaccard similarity >= 0.7)."""
    first = connected(len(origins), near_duplicate_pairs([one.text for one in origins]))
    return [replace(one, cluster=origins[root].id) for one, root in zip(origins, first, strict=True)]


def rank(
    evidence: Evidence,
    answers: Sequence[str],
    origins: Sequence[Origin],
    *,
    tokenizer: PreTrainedTokenizerBase,
    k: int = 10,
    limits: Limits | None = None,
    side: Side = "proponents",
) -> list[list[Hit]]:
    """Return the best documents of each query, best first; of equal ones, the first.

    Args:
        evidence: Scores.
        answers: Generated texts, in the order of the rows; exact matches are looked for in these alone.
        origins: In the order of the columns.
        tokenizer: The model's; counts the tokens of a match.
        k: Hits of a query at most, >= 1.
        limits: From where a document counts as a source.
        side: "opponents" ranks what made the answer less likely, and needs a gradient; none but those are returned.

    Raises:
        InputError: Shapes do not fit, `k` is below 1, or opponents without a gradient.
    """
    if side not in SIDES:
        raise InputError(one_of(side, SIDES, what="side"))
    if np.shape(evidence.ngram) != (len(answers), len(origins)) or k < 1:
        raise InputError(
            f"scores {np.shape(evidence.ngram)} for {len(answers)} answers, {len(origins)} documents and k={k}; give "
            "one row an answer, one column a document, and k of 1 or more"
        )
    if side == "opponents" and evidence.gradient is None:
        raise InputError("texts alone have no opponents; give gradient scores, or ask for proponents")
    judge = _Judge(evidence, origins, tokenizer, limits or Limits(), evidence.fused(side))
    found = []
    for row, answer in enumerate(answers):
        order = np.argsort(-judge.fused[row], kind="stable")
        if side == "opponents":
            order = order[judge.signs[row, order] < 0]
        found.append([judge.hit(row, int(column), answer) for column in order[:k]])
    return found


def longest_match(tokenizer: PreTrainedTokenizerBase, answer: str, document: str) -> Match | None:
    """Return the longest exact match of an answer in one document, the first of equal ones; None if there is none."""
    found = SuffixIndex([document]).matches(answer, min_characters=1, tokenizer=tokenizer)
    return max(found, key=lambda match: match.end - match.start, default=None)


class _Judge:
    """Turns a cell of the matrices into a hit."""

    def __init__(
        self,
        evidence: Evidence,
        origins: Sequence[Origin],
        tokenizer: PreTrainedTokenizerBase,
        limits: Limits,
        fused: FloatArray,
    ):
        self.origins, self.tokenizer, self.limits, self.fused = origins, tokenizer, limits, fused
        self.coverage = evidence.coverage
        self.ngram = z_sum(evidence.ngram)
        self.gradient = None if evidence.gradient is None else z_sum(evidence.gradient)
        self.signs = np.ones_like(fused) if evidence.gradient is None else np.sign(evidence.gradient)

    def hit(self, row: int, column: int, answer: str) -> Hit:
        origin = self.origins[column]
        match = longest_match(self.tokenizer, answer, origin.text)
        coverage = float(self.coverage[row, column])
        gradient = None if self.gradient is None else float(self.gradient[row, column])
        matched = 0 if match is None or match.tokens is None else match.tokens[1] - match.tokens[0]
        n_tokens = len(self.tokenizer(answer, add_special_tokens=False).input_ids)
        basis = self.limits.basis(matched=matched, n_tokens=n_tokens, coverage=coverage, gradient=gradient)
        return Hit(
            document=origin.id,
            path=origin.path,
            licence=origin.licence,
            lines=_lines(origin, match if basis == "verbatim" else None),
            cluster=origin.cluster,
            sign="opponent" if self.signs[row, column] < 0 else "proponent",
            basis=basis,
            score=float(self.fused[row, column]),
            gradient=gradient,
            ngram=float(self.ngram[row, column]),
            coverage=coverage,
            match=match,
        )


def _lines(origin: Origin, match: Match | None) -> tuple[int, int]:
    first, last = (1, 1 + origin.text[:-1].count("\n")) if match is None else match.places[0].lines
    return first + origin.first_line - 1, last + origin.first_line - 1
