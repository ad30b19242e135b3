"""The page: whole, offline, escaped, readable on a phone and without a mouse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_comparison import HOSTILE, make_comparison

from ellora_trust.evaluation.comparison import Comparison
from ellora_trust.evaluation.shown.figures import plot_attacks, plot_layers, plot_tasks
from ellora_trust.evaluation.shown.page import page, write_page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(make_comparison(), path)
    return path


def test_the_page_is_one_escaped_offline_file_below_7_mb(written):
    text = written.read_text()
    assert written.stat().st_size < 7_000_000
    assert HOSTILE not in text
    assert "&lt;/script&gt;" in text
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)


def test_the_page_answers_the_five_questions_and_says_how_to_revert(written):
    text = written.read_text()
    for question in ("What was fixed?", "What broke?", "How sure?", "Does it last?", "Can it be undone?"):
        assert question in text
    assert "Revert it." in text
    assert "<del>    buf.push(x)</del>" in text
    assert "<ins>    buf.append(x)</ins>" in text


def test_the_page_can_be_read_without_seeing_or_pointing(written):
    text = written.read_text()
    assert '<html lang="en">' in text
    assert 'name="viewport"' in text
    assert text.count('role="region"') == text.count('class="scroll"')
    assert text.count('role="img"') == text.count('class="plot"') == 3
    assert "prefers-color-scheme: dark" in text


def test_the_same_page_comes_from_the_saved_numbers(written, tmp_path):
    make_comparison().save(tmp_path / "comparison.json")
    write_page(Comparison.load(tmp_path / "comparison.json"), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_markdown_says_the_same():
    text = make_comparison().to_markdown()
    assert "| What was fixed? |" in text
    assert "-    buf.push(x)" in text
    assert "bfloat16" in text
    assert "| time of a forward pass (ms) | 100 | 112 | 1.12 |" in text
    assert len(page(make_comparison()).sections) == 3


def test_figures_for_papers_have_error_bars_and_units():
    one = make_comparison().candidates[0]
    for plot, label in ((plot_tasks, "right answers"), (plot_attacks, "faulty answers")):
        axes = plot(one)
        assert label in axes.get_xlabel()
        assert axes.containers
    assert "layer" in plot_layers(one).get_xlabel()
