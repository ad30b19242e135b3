"""Scores of a prompt's units to look at: bars, colours on a terminal, a highlight in the HTML report.

plot_tokens(result)                        # matplotlib
rich.print(coloured(result))
Section("Why", [highlight(result)])        # goes into ellora_trust.report
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.prompt.erasure import Erasure
from attribution.tokens import TokenAttribution
from ellora_trust.report import Highlight

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.text import Text

FOR, AGAINST = (214, 96, 30), (40, 110, 200)  # orange and blue: told apart by readers who do not see red and green
# Below this share of the largest score a unit is left plain.
_FAINT = 0.1


def _weights(result: TokenAttribution) -> list[float]:
    """Scores as shares of the largest, [-1, 1]."""
    largest = max(abs(unit.score) for unit in result.units) or 1.0
    return [unit.score / largest for unit in result.units]


def _pieces(result: TokenAttribution) -> list[tuple[str, float]]:
    """The whole prompt in pieces, each with its weight; what is in no unit has none."""
    found, last = [], 0
    for unit, weight in zip(result.units, _weights(result), strict=True):
        found += [(result.prompt[last : unit.start], 0.0)] if last < unit.start else []
        found.append((result.prompt[unit.start : unit.end], weight))
        last = unit.end
    return found + ([(result.prompt[last:], 0.0)] if last < len(result.prompt) else [])


def caption(result: TokenAttribution) -> str:
    """Say what was measured, what the colours stand for and, where there is one, the convergence delta."""
    delta = "" if result.convergence_delta is None else f"; convergence delta {result.convergence_delta:+.3f} nats"
    return (
        f"{result.method} of {result.target} = {result.value:.2f} nats; orange speaks for it, blue against it, the "
        f"strongest unit counts {max(abs(unit.score) for unit in result.units):.2f} nats{delta}."
    )


def plot_tokens(result: TokenAttribution, ax: Axes | None = None, *, most: int = 20) -> Axes:
    """Draw the strongest units as bars, in the order of the text.

    Args:
        result: What is drawn.
        ax: Where; the current figure's axes if None.
        most: Units at most.
    """
    axes = _axes(ax)
    strongest = sorted(result.units, key=lambda unit: -abs(unit.score))[:most]
    shown = sorted(strongest, key=lambda unit: -unit.start)
    colours = [tuple(c / 255 for c in (FOR if unit.score > 0 else AGAINST)) for unit in shown]
    axes.barh(range(len(shown)), [unit.score for unit in shown], color=colours)
    # A dollar sign would begin a formula.
    axes.set_yticks(range(len(shown)), [unit.name[:40].replace("$", r"\$") for unit in shown])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("score (nats)")
    axes.set_title(f"{result.method}: {result.target}".replace("$", r"\$"), fontsize="medium")
    return axes


def plot_erasure(curves: Erasure, ax: Axes | None = None) -> Axes:
    """Draw what the target loses without the first units, against random orders, with 95 % intervals."""
    axes = _axes(ax)
    for values, label in ((curves.taken, "first by score left out"), (curves.random_taken, "random units left out")):
        points = curves.curve(values)
        middle = np.array([point.value for point in points])
        ends = np.array([[p.value - p.low for p in points], [p.high - p.value for p in points]])
        axes.errorbar(curves.shares, middle, ends, marker="o", capsize=3, label=label)
    axes.set_xlabel("share of units left out")
    axes.set_ylabel("loss of the target (nats)")
    axes.legend()
    return axes


def coloured(result: TokenAttribution) -> Text:
    """Return the prompt for a terminal, each unit's background as strong as its score."""
    from rich.text import Text

    from ellora_trust.cli.risk_colours import visible

    text = Text()
    for piece, weight in _pieces(result):
        text.append(visible(piece), style=_style(weight))
    return text


def _style(weight: float) -> str:
    if abs(weight) < _FAINT:
        return ""
    full = FOR if weight > 0 else AGAINST
    mixed = [round(255 + (c - 255) * abs(weight)) for c in full]
    return "black on rgb({},{},{})".format(*mixed)


def highlight(result: TokenAttribution) -> Highlight:
    """Return the prompt as a block of the report."""
    return Highlight(f"Why {result.answer.strip()!r}", _pieces(result), caption(result))


def _axes(ax: Axes | None) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()
