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
    axes.set_title(f"{found.method}, {len(found.effects)} pairs", fontsize="medium")
    axes.figure.colorbar(image, ax=axes, label="mean effect (nats)")
    return axes


def component_table(found: ComponentAttribution, n: int = 10) -> Table:
    """Return the first n components as a block of the report."""
    rows = [[str(rank), one.site, f"{one.effect:.3f}"] for rank, one in enumerate(found.ranked(n), start=1)]
    caption = (
        f"{found.method}: effect in nats, mean over {len(found.effects)} pairs with a 95 % interval over groups; the "
        f"pairs' prompts differ by {found.totals.mean():.2f} nats in all."
    )
    return Table(["rank", "site", "effect"], rows, caption)
