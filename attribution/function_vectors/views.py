"""Task vectors as pictures: which heads carry the task, and how often it is done with and without a vector.

plot_heads(vectors)
plot_done(found.done)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from attribution.function_vectors.checks import Done
    from attribution.tasks import TaskVectors

_GREY, _ORANGE = "#8a8f98", "#d6601e"


def plot_heads(vectors: TaskVectors, ax: Axes | None = None) -> Axes:
    """Draw what each head does for the answers, layer by head; chosen heads are framed."""
    axes: Any = _axes(ax)
    cells = vectors.effects.numpy()
    largest = float(abs(cells[cells == cells]).max()) or 1.0
    image = axes.imshow(cells, cmap="PuOr_r", vmin=-largest, vmax=largest, aspect="auto", origin="lower")
    layers, heads = zip(*_places(vectors), strict=True)
    axes.scatter(heads, layers, marker="s", s=60, facecolors="none", edgecolors="black")
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title("average indirect effect; framed: chosen", fontsize="medium")
    axes.figure.colorbar(image, ax=axes, label="rise of log p of the answer (nats)")
    return axes


def plot_done(done: Sequence[Done], ax: Axes | None = None) -> Axes:
    """Draw how often the task is done under each condition, with 95 % intervals."""
    axes: Any = _axes(ax)
    from attribution.function_vectors.checks import OWN

    names = [one.condition for one in done]
    values = [one.rate.value for one in done]
    lows = [max(one.rate.value - one.rate.low, 0.0) for one in done]
    highs = [max(one.rate.high - one.rate.value, 0.0) for one in done]
    colours = [_ORANGE if name == OWN else _GREY for name in names]
    axes.barh(range(len(names)), values, xerr=[lows, highs], color=colours, capsize=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of queries whose task is done")
    return axes


def _axes(ax: Axes | None) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.gca()


def _places(vectors: TaskVectors) -> list[tuple[int, int]]:
    """(layer, head) of each chosen head."""
    return [(int(layer), int(head)) for _, layer, head in (name.split(".") for name in vectors.heads)]


def heads_figure(vectors: TaskVectors) -> Any:
    """Return the picture of the heads for plotly."""
    import plotly.graph_objects as go

    cells = vectors.effects.tolist()
    shown = [[None if value != value else round(value, 4) for value in row] for row in cells]
    known = [abs(value) for row in shown for value in row if value is not None]
    layers, heads = zip(*_places(vectors), strict=True)
    hover = "layer %{y}, head %{x}: %{z:+.3f} nats<extra></extra>"
    figure = go.Figure(go.Heatmap(z=shown, colorscale="PuOr_r", zmin=-max(known), zmax=max(known), hovertemplate=hover))
    marker = {"symbol": "square-open", "size": 14, "color": "black"}
    figure.add_trace(go.Scatter(x=heads, y=layers, mode="markers", marker=marker, hoverinfo="skip", showlegend=False))
    figure.update_layout(xaxis_title="head", yaxis_title="layer", margin={"l": 60, "r": 20, "t": 20, "b": 50})
    return figure


def identified_figure(names: Sequence[str], values: Sequence[float]) -> Any:
    """Return bars of the tasks' probabilities for one prompt."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Bar(x=list(values), y=list(names), orientation="h", marker={"color": _ORANGE}))
    figure.update_layout(xaxis_title="probability", margin={"l": 160, "r": 20, "t": 20, "b": 50})
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(autorange="reversed")
    return figure
