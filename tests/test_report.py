"""Reports hold everything they show, escape what they are given, and say the same in Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go
import pytest

from ellora_trust.report import Code, Figure, Report, Section, Table, Text, write_html, write_json

ATTACK = "</script><script>alert(1)</script>"


@pytest.fixture
def report() -> Report:
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], name=ATTACK))
    blocks = [
        Text(ATTACK),
        Table(("name", "value"), [["a|b", ATTACK]], "caption"),
        Figure(figure, "A line."),
        Code("case", f"print('{ATTACK}')", [("answered", ATTACK)]),
    ]
    return Report("Title", "Lead.", [Section("One", blocks)], {"model": ATTACK})


def test_html_is_one_escaped_offline_file(report: Report, tmp_path: Path):
    write_html(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert ATTACK not in page
    assert "&lt;/script&gt;" in page
    assert "<script src=" not in page
    assert "<link" not in page
    assert page.count("Plotly.react(") == 1
    assert len(page) < 7_000_000


def test_a_page_without_figures_carries_no_plotly():
    page = Report("Title", "Lead.", [Section("One", [Text("x")])]).to_html()
    assert len(page) < 10_000


def test_markdown_holds_tables_code_and_captions(report: Report):
    text = report.to_markdown()
    assert "| name | value |" in text
    assert "a\\|b" in text
    assert "*Figure: A line.*" in text


def test_json_refuses_what_is_not_json(tmp_path: Path):
    write_json({"a": 1.5}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1.5}
