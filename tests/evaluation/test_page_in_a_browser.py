"""The page in a real browser: at a desk and on a phone, light and dark, by keyboard and by screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools import CHROMIUM, Browser
from made_comparison import make_comparison

from ellora_trust.evaluation.comparison import Comparison
from ellora_trust.evaluation.shown.page import write_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which draws the page")
EXAMPLE = Path(__file__).parents[2] / "docs/examples/testbed-unlearned-P1.json"
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
# Ratio of the contrast of two colours, as WCAG 2 defines it.
CONTRAST = """(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const page = light(parts(getComputedStyle(document.body).backgroundColor));
  const of = node => { const ink = light(parts(getComputedStyle(node).color));
    return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05); };
  return Math.min(...[...document.querySelectorAll("h1, p, td, th, summary, figcaption, dt, dd")].map(of));
})()"""
# The same for the words that plotly draws, which are SVG.
DRAWN = CONTRAST.replace("h1, p, td, th, summary, figcaption, dt, dd", ".plot text").replace(
    "getComputedStyle(node).color", "getComputedStyle(node).fill"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(make_comparison(), path)
    return path


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_fits_is_drawn_and_can_be_read(browser, written, width, scheme):
    browser.show(written, width=width, scheme=scheme)
    assert browser.complaints == []
    assert browser.value("innerWidth") == width
    assert browser.value("matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('.js-plotly-plot').length") == 3
    # 4.5 is what WCAG asks of text.
    assert browser.value(CONTRAST) >= 4.5
    assert browser.value(DRAWN) >= 4.5


def test_a_whole_example_fits_a_phone(browser, tmp_path):
    write_page(Comparison.load(EXAMPLE), tmp_path / "example.html")
    browser.show(tmp_path / "example.html", width=390, scheme="dark")
    assert browser.complaints == []
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_every_figure_and_table_has_a_name_for_a_screen_reader(browser, written):
    browser.show(written, width=1280)
    told = browser.accessible()
    figures = [name for role, name in told if role in ("image", "img")]
    assert len(figures) == 3
    assert all(len(name) > 20 for name in figures)
    regions = [name for role, name in told if role == "region"]
    # Those in closed details are told once they are opened.
    shown = browser.value("[...document.querySelectorAll('.scroll')].filter(e => !e.closest('details')).length")
    assert len(regions) == shown == len(set(regions))
    assert next(name for role, name in told if role == "heading") == "testbed: before and after"
    # What plotly writes inside a figure is no text of its own beside the figure's name.
    assert not any(role == "StaticText" and name == "share of right answers" for role, name in told)


def test_the_tab_key_reaches_tables_and_details_in_order_and_opens_them(browser, written):
    browser.show(written, width=390)
    browser.value("document.body.focus()")
    reached: list[str] = []
    for _ in range(60):
        browser.press("Tab", 9)
        at = browser.value(
            "(e => e === document.body ? '' : e.tagName + ' ' + (e.getAttribute('aria-label') || e.textContent))"
            "(document.activeElement)"
        )
        if not at or at in reached:
            break
        reached.append(at)
    names = [one for one in reached if one.startswith("SUMMARY")]
    assert names[0] == "SUMMARY fixed: item/1"
    assert len(names) == browser.value("document.querySelectorAll('details').length")
    wanted = browser.value(
        "[...document.querySelectorAll('summary, .scroll')]"
        ".filter(e => e.tagName == 'SUMMARY' || !e.closest('details'))"
        ".map(e => e.tagName + ' ' + (e.getAttribute('aria-label') || e.textContent))"
    )
    assert [one for one in reached if one in wanted] == wanted
    browser.value("document.querySelector('summary').focus()")
    browser.press("Enter", 13, text="\r")
    assert browser.value("document.querySelector('details').open") is True
    # An opened one brings its comparison into the order.
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.getAttribute('aria-label')") == "fixed: item/1"
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_what_has_the_focus_shows_it(browser, written):
    browser.show(written, width=1280)
    for selector in (".scroll", "summary"):
        browser.value(f"document.querySelector('{selector}').focus({{focusVisible: true}})")
        width = browser.value("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, selector
