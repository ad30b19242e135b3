"""Results to one offline HTML file, Markdown or JSON.

    report = Report("Error prediction", "smollm2", [Section("aliasing", [Text("..."), Table(...), Figure(...)])])
    write_html(report, Path("runs/probe/report.html"))

The HTML holds everything it shows, plotly included (once), escapes whatever it is given, and follows the reader's light
or dark setting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, unified_diff
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ellora_trust.cachedir import replacing


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells under column names; `strong` marks rows to stand out."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: frozenset[int] = frozenset()
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A plotly figure with a sentence that says what it shows, for those who cannot see it too."""

    figure: Any
    caption: str
    height: float = 26.0
    """In lines of text."""
    kind: str = "figure"

    @property
    def json(self) -> str:
        """The figure for plotly.js, safe inside a script element."""
        return self.figure.to_json().replace("</", "<\\/")


@dataclass(frozen=True)
class Code:
    """A folded piece of source with a heading and notes."""

    title: str
    code: str
    notes: Sequence[tuple[str, str]] = ()
    kind: str = "code"


@dataclass(frozen=True)
class Slider:
    """A threshold on the risk that the reader moves to see what it keeps; hidden where scripts do not run.

    Attributes:
        label: What the slider sets.
        risks: Of each answer, [0, 1].
        wrong: 0 or 1, in the same order.
        caption: What the numbers stand for.
        start: First threshold, [0, 1].
    """

    label: str
    risks: Sequence[float]
    wrong: Sequence[int]
    caption: str
    start: float = 0.5
    kind: str = "slider"

    @property
    def json(self) -> str:
        """Rows by rising risk, safe inside a script element."""
        rows = sorted(zip(self.risks, self.wrong, strict=True))
        columns = {"risk": [round(risk, 5) for risk, _ in rows], "wrong": [int(bad) for _, bad in rows]}
        return json.dumps(columns, allow_nan=False)


@dataclass(frozen=True)
class Highlight:
    """Source text in which pieces stand out.

    Attributes:
        title: What is shown.
        pieces: Text and how much it counts, [-1, 1]: orange above 0, blue below; together the whole text.
        caption: What the colours stand for.
    """

    title: str
    pieces: Sequence[tuple[str, float]]
    caption: str
    kind: str = "highlight"

    @property
    def spans(self) -> list[tuple[str, str, str]]:
        """Text, colour and number of each piece."""
        colours = [("214, 96, 30" if weight > 0 else "40, 110, 200", 0.7 * abs(weight)) for _, weight in self.pieces]
        return [
            (text, f"rgba({colour}, {alpha:.2f})", f"{weight:+.2f}")
            for (text, weight), (colour, alpha) in zip(self.pieces, colours, strict=True)
        ]


@dataclass(frozen=True)
class Diff:
    """Two versions of a text side by side, folded under a heading.

    Attributes:
        title: What is shown.
        before: First version.
        after: Second version.
        notes: Name and value, above.
        names: Heads of the two columns.
    """

    title: str
    before: str
    after: str
    notes: Sequence[tuple[str, str]] = ()
    names: tuple[str, str] = ("before", "after")
    kind: str = "diff"

    @property
    def rows(self) -> list[tuple[str, str, bool]]:
        """Lines beside each other, and whether they are the same."""
        a, b = self.before.splitlines(), self.after.splitlines()
        found = []
        for tag, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            found += [(x, y, tag == "equal") for x, y in zip_longest(a[i:j], b[k:m], fillvalue="")]
        return found


Block = Text | Table | Figure | Code | Slider | Highlight | Diff


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A page.

    Attributes:
        title: Heading of the page.
        lead: One sentence under it.
        sections: In order.
        provenance: Name to value, at the end: model, fingerprint, versions, seed, command.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    provenance: dict[str, str] = field(default_factory=dict)

    def to_html(self) -> str:
        """Return the page as one self-contained HTML document."""
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
        from plotly.offline import get_plotlyjs

        environment = Environment(
            loader=PackageLoader("ellora_trust"), autoescape=select_autoescape(["html"]), undefined=StrictUndefined
        )
        drawn = any(isinstance(block, Figure) for section in self.sections for block in section.blocks)
        template = environment.get_template("report.html")
        return template.render(report=self, plotly=get_plotlyjs() if drawn else "")

    def to_markdown(self) -> str:
        """Return the page as Markdown; figures become their captions."""
        parts = [f"# {self.title}", self.lead]
        for section in self.sections:
            parts.append(f"## {section.title}")
            parts += [_markdown(block) for block in section.blocks]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.provenance.items()))
        return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Figure):
        return f"*Figure: {block.caption}*"
    if isinstance(block, Slider):
        return f"*{block.label}: a slider in the HTML report.* {block.caption}"
    if isinstance(block, Highlight):
        strongest = sorted(block.pieces, key=lambda piece: -abs(piece[1]))[:5]
        marks = "\n".join(f"- `{text.strip()}`: {weight:+.2f}" for text, weight in strongest)
        code = "".join(text for text, _ in block.pieces)
        return f"### {block.title}\n\n```\n{code}\n```\n\n{marks}\n\n{block.caption}"
    if isinstance(block, Diff):
        notes = "\n".join(f"- {name}: {value}" for name, value in block.notes)
        lines = unified_diff(block.before.splitlines(), block.after.splitlines(), *block.names, lineterm="", n=99)
        changes = "\n".join(lines)
        return f"### {block.title}\n\n{notes}\n\n```diff\n{changes}\n```"
    if isinstance(block, Code):
        notes = "\n".join(f"- {name}: {value}" for name, value in block.notes)
        return f"### {block.title}\n\n{notes}\n\n```\n{block.code}\n```"
    lines = [block.columns, ["---"] * len(block.columns), *block.rows]
    table = "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)
    return f"{table}\n\n{block.caption}" if block.caption else table


def write_html(report: Report, path: Path) -> None:
    """Write the page, all or nothing.

    Raises:
        EnvironmentProblem: The folder cannot be written.
    """
    html = report.to_html()
    with replacing(path) as beside:
        beside.write_text(html, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write JSON without NaN (which is not JSON), all or nothing.

    Raises:
        EnvironmentProblem: The folder cannot be written.
    """
    text = json.dumps(value, indent=2, allow_nan=False)
    with replacing(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
