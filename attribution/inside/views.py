"""Effects of heads and MLPs as a picture, layer by head, and as a table for the report.

plot_components(found)
Section("Where", [component_table(found)])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.components import ComponentAttribution, FloatArray
from ellora_trust.report import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def grid(found: ComponentAttribution) -> tuple[FloatArray, list[str]]:
    """Return mean effects in nats, (n_layers, columns), and the columns' names; nan where no site was scored."""
    n_layers, n_heads = found.shape
    columns = [str(head) for head in range(n_heads)] + ["attn", "mlp"]
    cells = np.full((n_layers, len(columns)), np.nan)
    for site, effect in zip(found.sites, found.mean, strict=True):
        kind, *numbers = site.split(".")
        column = numbers[1] if kind == "head" else kind
        if numbers and column in columns:
            cells[int(numbers[0]), columns.index(column)] = effect
    scored = ~np.isnan(cells).all(0)
    return cells[:, scored], [name for name, shown in zip(columns, np.atleast_1d(scored), strict=True) if shown]


def plot_components(found: ComponentAttribution, ax: Axes | None = None) -> Axes:
    """Draw effects layer by head, MLPs and whole attentions in columns of their own; orange speaks for the answer."""
    cells, columns = grid(found)
    axes: Any = ax
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.gca()
    largest = float(np.nanmax(np.abs(cells))) if cells.size else 0.0
    image = axes.imshow(cells, cmap="PuOr_r", vmin=-largest or -1, vmax=largest or 1, aspect="auto", origin="lower")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(cells)))
    axes.set_xlabel("head, or part")
    axes.set_ylabel("layer")
    axes.set_title(f"{found.method}, {n_pairs(found)}", fontsize="medium")
    axes.figure.colorbar(image, ax=axes, label="mean effect (nats)")
    return axes


def components_figure(found: ComponentAttribution) -> Any:
    """Return the same picture as a plotly figure."""
    import plotly.graph_objects as go

    cells, columns = grid(found)
    largest = float(np.nanmax(np.abs(cells))) if cells.size else 1.0
    shown = [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in cells]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=columns,
            y=list(range(len(cells))),
            # The colours of the terminal and of highlights: blue against the answer, orange for it.
            colorscale=[[0, "rgb(40,110,200)"], [0.5, "rgb(245,245,245)"], [1, "rgb(214,96,30)"]],
            zmin=-largest or -1,
            zmax=largest or 1,
            hovertemplate="layer %{y}, %{x}: %{z} nats<extra></extra>",
            colorbar={"title": "nats"},
        )
    )
    figure.update_layout(xaxis_title="head, or part", yaxis_title="layer", margin={"l": 60, "r": 20, "t": 20, "b": 50})
    figure.update_xaxes(type="category")
    figure.update_yaxes(dtick=max(len(cells) // 15, 1))  # whole layers only
    return figure


def components_caption(found: ComponentAttribution) -> str:
    """Say what was measured and on how much."""
    interval = ", with a 95 % interval over groups" if len(set(found.groups)) > 1 else ""
    total = float(found.totals.mean())
    # Where the whole change is not towards the answer, no part of it carries the answer.
    warning = (
        "" if total > 0 else " The model does not tell the prompts apart, so no ranking of components explains it."
    )
    return (
        f"{found.method}: effect in nats, mean over {n_pairs(found)}{interval}; from the corrupt to the clean prompt "
        f"logit(answer) - logit(foil) changes by {total:.2f} nats in all.{warning}"
    )


def n_pairs(found: ComponentAttribution) -> str:
    """Return `1 pair` or `24 pairs`."""
    return f"{len(found.effects)} pair" + ("s" if len(found.effects) > 1 else "")


def component_table(found: ComponentAttribution, n: int = 10, exact: ComponentAttribution | None = None) -> Table:
    """Return the first n components as a block of the report.

    Args:
        found: What is ranked.
        n: Rows at most.
        exact: Full patching of the same sites and pairs, for a column beside it.
    """
    columns = ["rank", "site", "effect"] + (["full patching"] if exact else [])
    rows = []
    for rank, number in enumerate(found.order[:n], start=1):
        row = [str(rank), found.sites[number], f"{found.at(number):.3f}"]
        rows.append([*row, f"{exact.at(number):.3f}"] if exact else row)
    return Table(columns, rows, components_caption(found))
