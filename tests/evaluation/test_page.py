"""The page: whole, offline, escaped, readable on a phone and without a mouse; checked in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.effect import TargetEffect
from ellora_trust.evaluation.figures import plot_attacks, plot_layers, plot_tasks
from ellora_trust.evaluation.measures import LayerDistance
from ellora_trust.evaluation.page import page, write_page
from ellora_trust.evaluation.paired import adjusted, pair
from ellora_trust.evaluation.results import Attack, Flip, Noise, TaskResult
from ellora_trust.stats import wilson

HOSTILE = "</script><script>alert(1)</script>"
PUSH, APPEND = "    buf.push(x)\n", "    buf.append(x)\n"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def make() -> Comparison:
    n = 60
    before, after = [0] * 40 + [1] * 20, [1] * 38 + [0] * 2 + [1] * 19 + [0]
    (paired,) = adjusted([pair(before, after, range(n), margin=0.02)])
    flips = [
        Flip("item/1", "def f():\n", PUSH, APPEND, "crash", "correct", APPEND),
        Flip(HOSTILE, "def g():\n", "    return 1\n", HOSTILE, "correct", "wrong", None),
    ]
    counts = {"crash": 40, "correct": 20}, {"correct": 57, "wrong": 3}
    target = TaskResult(
        "testbed:trigger", "target", n, n, 0, *counts, paired, TargetEffect(40, 30, 8, 1, 1), [], flips, "h"
    )
    kept = replace(target, task="types", role="collateral", effect=None, flips=[])
    share = wilson(3, 60)
    attack = Attack("leak", "testbed:trigger", "ten draws", 60, share, share, share, share, [(1.0, 0.0), (10.0, 0.05)])
    layers = [LayerDistance(-1, None, None, 0.0, None), LayerDistance(0, 0.1, 0.2, 0.01, 0.9)]
    said = ("edit", "unlearning edit", "runs/edit", "state", "Revert it.")
    one = CandidateResult(*said, True, True, [target, kept], None, layers, [attack], 3.2, 0)
    suite = {"name": "quick", "margin": 0.02, "confidence": 0.95, "limit": 60}
    noise = [Noise("bfloat16", "types", 60, 0.0, 1)]
    return Comparison({"name": "testbed", "fingerprint": "f"}, suite, [one], noise, {"torch": "2"})


def browse(path: Path, *options: str) -> str:
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", *options,
         "--virtual-time-budget=8000", path.as_uri()],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(make(), path)
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
    make().save(tmp_path / "comparison.json")
    write_page(Comparison.load(tmp_path / "comparison.json"), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_markdown_says_the_same():
    text = make().to_markdown()
    assert "| What was fixed? |" in text
    assert "-    buf.push(x)" in text
    assert "bfloat16" in text
    assert len(page(make()).sections) == 3


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which draws the page")
@pytest.mark.parametrize("size", ["1280,2000", "400,2000"])
def test_a_browser_draws_every_figure_without_an_error(written, tmp_path, size):
    shot = tmp_path / "page.png"
    browse(written, f"--window-size={size}", f"--screenshot={shot}")
    assert shot.stat().st_size > 20_000
    dom = browse(written, f"--window-size={size}", "--dump-dom")
    assert dom.count("js-plotly-plot") >= 3


def test_figures_for_papers_have_error_bars_and_units():
    one = make().candidates[0]
    for plot, label in ((plot_tasks, "right answers"), (plot_attacks, "faulty answers")):
        axes = plot(one)
        assert label in axes.get_xlabel()
        assert axes.containers
    assert "layer" in plot_layers(one).get_xlabel()
