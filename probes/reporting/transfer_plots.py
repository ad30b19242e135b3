"""Figures of a `Transfer` or `LeftOut`: matplotlib for papers, plotly for the report; each says its intervals.

plot_transfer(transfer_matrix(sets))
plot_left_out(leave_one_out(labelled, "template"))
transfer_figure(transfer_matrix(sets))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probes.measuring.leave_one_out import LeftOut
    from probes.measuring.transfer import Cell, Transfer

# Chance is the middle of a diverging map, so that a probe that is worse than chance elsewhere shows as that.
_RANGE = (0.0, 1.0)


def plot_transfer(result: Transfer, ax: Axes | None = None) -> Axes:
    """Draw AUROC by training set (rows) and test set (columns), with intervals; hatched where there is none."""
    import matplotlib.pyplot as plt

    values, texts = _grid(result, "\n")
    # Inches that an interval needs beside the names and the colour bar.
    size = (1.1 * len(result.tested) + 3, 0.6 * len(result.trained) + 1.5)
    ax = ax if ax is not None else plt.subplots(figsize=size)[1]
    image = ax.imshow(values, aspect="auto", cmap="RdBu", vmin=_RANGE[0], vmax=_RANGE[1])
    for i, j in np.ndindex(values.shape):
        if np.isnan(values[i, j]):
            ax.fill([j - 0.5, j + 0.5, j + 0.5, j - 0.5], [i - 0.5, i - 0.5, i + 0.5, i + 0.5], fill=False, hatch="//")
        dark = abs(values[i, j] - 0.5) > 0.3
        ax.text(j, i, texts[i][j], ha="center", va="center", fontsize="small", color="white" if dark else "black")
    ax.set_xticks(range(len(result.tested)), result.tested, rotation=30, ha="right")
    ax.set_yticks(range(len(result.trained)), result.trained)
    ax.set(xlabel="tested on", ylabel="trained on")
    ax.figure.colorbar(image, ax=ax, label="AUROC")
    return ax


def plot_left_out(result: LeftOut, ax: Axes | None = None) -> Axes:
    """Draw the AUROC of each value, left out and seen, with intervals; values without one are left away."""
    import matplotlib.pyplot as plt

    shown = [one for one in sorted(result.values, key=lambda value: value.n) if one.left_out is not None]
    names = [*(f"{one.name} ({one.n})" for one in shown), f"all together ({result.left_out.n})"]
    ax = ax if ax is not None else plt.subplots(figsize=(6, 0.35 * len(names) + 1.5))[1]
    columns = {
        "value left out": [*(one.left_out for one in shown), result.left_out],
        "value seen": [*(one.seen for one in shown), result.seen],
    }
    for shift, (name, column) in zip((0.12, -0.12), columns.items(), strict=True):
        drawn = [(i + shift, one) for i, one in enumerate(column) if one is not None]
        width = np.array([[one.value - one.low, one.high - one.value] for _, one in drawn]).T.clip(0)
        at = [one.value for _, one in drawn]
        ax.errorbar(at, [y for y, _ in drawn], xerr=width, fmt="o", markersize=3, label=name)
    ax.axvline(0.5, color="grey", linestyle=":")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="AUROC", ylabel=f"{result.key} (n)", xlim=(0, 1))
    ax.legend(loc="lower left")
    return ax


def transfer_figure(result: Transfer) -> Any:
    """Return the same as a plotly figure; hovering says the numbers of rows, or why a cell is empty."""
    import plotly.graph_objects as go

    values, texts = _grid(result, "<br>")
    hover = [[_hover(_cell(result, train, test)) for test in result.tested] for train in result.trained]
    heat = go.Heatmap(
        # None is a gap in JSON; NaN is not JSON.
        z=[[None if np.isnan(value) else float(value) for value in row] for row in values],
        x=result.tested,
        y=result.trained,
        text=texts,
        customdata=hover,
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        colorscale="RdBu",
        zmin=_RANGE[0],
        zmax=_RANGE[1],
        colorbar={"title": "AUROC"},
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="tested on", yaxis_title="trained on", margin={"l": 60, "r": 20, "t": 30, "b": 50})
    # Names such as "1" and "2" are no numbers here.
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def _cell(result: Transfer, train: str, test: str) -> Cell | None:
    return next((cell for cell in result.cells if (cell.train, cell.test) == (train, test)), None)


def _grid(result: Transfer, line_break: str) -> tuple[np.ndarray, list[list[str]]]:
    """AUROC, (n_trained, n_tested), NaN where there is none; and what is written in each cell."""
    cells = [[_cell(result, train, test) for test in result.tested] for train in result.trained]
    values = np.array([[c.auroc.value if c and c.auroc else np.nan for c in row] for row in cells], dtype=float)
    texts = [[_text(c, line_break) for c in row] for row in cells]
    return values, texts


def _text(cell: Cell | None, line_break: str) -> str:
    if cell is None or cell.auroc is None:
        return "–"
    return f"{cell.auroc.value:.2f}{line_break}[{cell.auroc.low:.2f}, {cell.auroc.high:.2f}]"


def _hover(cell: Cell | None) -> str:
    if cell is None:
        return "not measured"
    if cell.auroc is None:
        return cell.note
    dropped = f", {cell.n_dropped} more left out: they share a group or prompt with the test" if cell.n_dropped else ""
    trained = f"trained on {cell.n_train} rows{dropped}<br>" if cell.n_train else ""
    return f"{trained}tested on {cell.auroc.n} rows in {cell.auroc.n_groups} groups<br>{cell.site}"
