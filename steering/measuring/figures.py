"""A study drawn: the sweep as a heat map of layers, and steering beside its controls.

plot_sweep(study); plot_controls(study)                      # matplotlib, for papers
sweep_figure(study); controls_figure(study)                  # plotly, for the report
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.stats import Estimate
from steering.measuring.result import NAMES, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARES = ("recovered", "matched", "hindsight", "random", "shuffled", "other", "two examples", "corrupted")


def _grid(study: Study) -> tuple[list[int], list[str], NDArray[np.float64]]:
    """First layers, names of the rows (window and strength), and the share recovered, nan where no cell is."""
    starts = sorted({cell.start for cell, _ in study.cells})
    kinds = sorted({(cell.window, cell.strength) for cell, _ in study.cells})
    values = np.full((len(kinds), len(starts)), np.nan)
    for cell, share in study.cells:
        values[kinds.index((cell.window, cell.strength)), starts.index(cell.start)] = share
    return starts, [f"{window} layer{'s' * (window > 1)}, x{strength:g}" for window, strength in kinds], values


def _shares(study: Study) -> list[tuple[str, Estimate]]:
    return [(name, study.estimates[name]) for name in _SHARES if name in study.estimates]


def plot_sweep(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the share of held-out pairs that each cell recovers (first tokens right; hindsight)."""
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots()[1]
    starts, kinds, values = _grid(study)
    image = ax.imshow(values, aspect="auto", vmin=0, vmax=max(float(np.nanmax(values)), 0.05), cmap="viridis")
    ax.set(xlabel="first layer", title=f"{study.task}: {study.edit}")
    ax.set_xticks(range(len(starts)), [str(start) for start in starts])
    ax.set_yticks(range(len(kinds)), kinds)
    ax.figure.colorbar(image, ax=ax, label="share recovered (first tokens)")
    return ax


def plot_controls(study: Study, ax: Axes | None = None) -> Axes:
    """Draw steering and its controls with their 95 % intervals."""
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots()[1]
    rows = _shares(study)[::-1]
    for at, (_, one) in enumerate(rows):
        ax.errorbar(one.value, at, xerr=[[one.value - one.low], [one.high - one.value]], marker="o", capsize=3)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set(xlabel="share of pairs", title=f"{study.task}: {study.edit} (n = {study.n_pairs})")
    return ax


def sweep_figure(study: Study) -> Any:
    """Return the heat map of layers as a plotly figure."""
    import plotly.graph_objects as go

    starts, kinds, values = _grid(study)
    shown = [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in values]
    figure = go.Figure(go.Heatmap(z=shown, x=[str(s) for s in starts], y=kinds, colorscale="Viridis", zmin=0))
    figure.update_layout(xaxis_title="first layer", margin={"l": 110, "r": 20, "t": 20, "b": 50})
    figure.update_xaxes(type="category")
    return figure


def controls_figure(study: Study) -> Any:
    """Return steering and its controls, with intervals, as a plotly figure."""
    import plotly.graph_objects as go

    rows = _shares(study)[::-1]
    figure = go.Figure()
    figure.add_scatter(
        x=[one.value for _, one in rows],
        y=[name for name, _ in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.value for _, one in rows],
            "arrayminus": [one.value - one.low for _, one in rows],
        },
        mode="markers",
        hovertext=[NAMES[name] for name, _ in rows],
        name="",
    )
    figure.update_layout(xaxis_title="share of pairs", margin={"l": 110, "r": 20, "t": 20, "b": 50}, showlegend=False)
    return figure
