"""An answer and the documents behind it as one page of the HTML report.

write_html(page(asked, "testbed-lds", table), Path("runs/query.html"))
"""

from __future__ import annotations

from collections.abc import Sequence

from attribution.asking import Asked
from attribution.documents.fuse import Hit
from ellora_trust.report import Highlight, Report, Section, Table


def page(asked: Asked, model: str, table: Table) -> Report:
    """Return the page of an answer: what was said, the table of hits, and each document with what it shares marked."""
    whole = asked.prompt + asked.answer
    start, end = asked.about or (len(asked.prompt), len(whole))
    pieces = [(whole[:start], 0.0), (whole[start:end], 1.0), (whole[end:], 0.0)]
    said = Highlight("Prompt and answer", [one for one in pieces if one[0]], "Orange: what is asked about.")
    lines = asked.lines or [[] for _ in asked.hits]
    found = [_document(*one) for one in zip(asked.hits, asked.texts, lines, strict=True)]
    lead = f"Which of {asked.n_documents:,} training documents this answer of {model} comes from."
    return Report(
        "Training documents behind an answer", lead, [Section("Answer", [said, table]), Section("Documents", found)]
    )


def _document(hit: Hit, text: str, scores: Sequence[float]) -> Highlight:
    name = f"{hit.document}: {hit.basis}"
    if scores:
        return Highlight(name, _by_line(text, scores), "Orange: the lines that taught it.")
    return Highlight(name, _marked(hit, text), "Orange: the longest exact match.")


def _marked(hit: Hit, text: str) -> list[tuple[str, float]]:
    if hit.match is None:
        return [(text, 0.0)]
    start, end = hit.match.places[0].start, hit.match.places[0].end
    pieces = [(text[:start], 0.0), (text[start:end], 1.0), (text[end:], 0.0)]
    return [one for one in pieces if one[0]]


def _by_line(text: str, scores: Sequence[float]) -> list[tuple[str, float]]:
    strongest = max((score for score in scores if score > 0), default=1.0)
    lines = text.splitlines(keepends=True)
    return [(line, max(score, 0.0) / strongest) for line, score in zip(lines, scores, strict=True)]
