"""A comparison drawn: tasks before and after, distances by layer, attacks.

plot_tasks(candidate); plot_layers(candidate); plot_attacks(candidate)             # matplotlib, for papers
tasks_figure(candidate); layers_figure(candidate); attacks_figure(candidate)       # plotly, for the report
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ellora_trust.evaluation.comparison import CandidateResult
from ellora_trust.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bars = list[tuple[str, list[tuple[str, Estimate]]]]
_LAYERS = (
    ("activations_mean", "activations, mean over tokens"),
    ("activations_last", "activations, last token"),
    ("weights", "weights"),
)


def _tasks(candidate: CandidateResult) -> Bars:
    return [
        ("before", [(one.task, one.paired.before) for one in candidate.tasks]),
        ("after", [(one.task, one.paired.after) for one in candidate.tasks]),
    ]


def _attacks(candidate: CandidateResult) -> Bars:
    names = [f"{one.name}, {one.task}" for one in candidate.attacks]
    sides = (("base, attacked", "before"), ("candidate", "unattacked"), ("candidate, attacked", "after"))
    return [
        (name, list(zip(names, [getattr(one, field) for one in candidate.attacks], strict=True)))
        for name, field in sides
    ]


def plot_tasks(candidate: CandidateResult, ax: Axes | None = None) -> Axes:
    """Draw the share of right answers of each task before and after, with intervals."""
    return _plot_bars(_tasks(candidate), "share of right answers", candidate.name, ax)


def plot_attacks(candidate: CandidateResult, ax: Axes | None = None) -> Axes:
    """Draw the share of faulty answers under each attack, with intervals."""
    return _plot_bars(_attacks(candidate), "share of faulty answers", candidate.name, ax)


def plot_layers(candidate: CandidateResult, ax: Axes | None = None) -> Axes:
    """Draw the relative distance from the base by layer."""
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots()[1]
    for field, label in _LAYERS:
        rows = [(one.layer, getattr(one, field)) for one in candidate.layers if getattr(one, field) is not None]
        if rows:
            ax.plot([x for x, _ in rows], [y for _, y in rows], marker="o", label=label)
    ax.set(xlabel="layer (-1: embeddings, head, last norm)", ylabel="relative distance", title=candidate.name)
    ax.set_ylim(bottom=0)
    ax.legend()
    return ax


def _plot_bars(bars: Bars, label: str, title: str, ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots(layout="constrained")[1]
    step = 0.8 / len(bars)
    for side, (name, rows) in enumerate(bars):
        for at, (_, one) in enumerate(rows):
            ends = [[one.value - one.low], [one.high - one.value]]
            where = at + step * (side - (len(bars) - 1) / 2)
            ax.errorbar(
                one.value, where, xerr=ends, marker="o", capsize=3, color=f"C{side}", label=None if at else name
            )
    names = [name for name, _ in bars[0][1]]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel=label, title=title, xlim=(-0.02, 1.02))
    ax.legend()
    return ax


def tasks_figure(candidate: CandidateResult) -> Any:
    """Return the plotly figure of `plot_tasks`."""
    return _bars_figure(_tasks(candidate), "share of right answers")


def attacks_figure(candidate: CandidateResult) -> Any:
    """Return the plotly figure of `plot_attacks`."""
    return _bars_figure(_attacks(candidate), "share of faulty answers")


def _bars_figure(bars: Bars, label: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, rows in bars:
        values = [one.value for _, one in rows]
        error = {
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.value for _, one in rows],
            "arrayminus": [one.value - one.low for _, one in rows],
        }
        figure.add_bar(name=name, x=[task for task, _ in rows], y=values, error_y=error)
    figure.update_layout(
        barmode="group", yaxis={"title": label, "range": [0, 1]}, legend={"orientation": "h", "y": 1.15}
    )
    return figure


def layers_figure(candidate: CandidateResult) -> Any:
    """Return the plotly figure of `plot_layers`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for field, label in _LAYERS:
        rows = [(one.layer, getattr(one, field)) for one in candidate.layers if getattr(one, field) is not None]
        if rows:
            figure.add_scatter(x=[x for x, _ in rows], y=[y for _, y in rows], name=label, mode="lines+markers")
    figure.update_layout(
        xaxis={"title": "layer"},
        yaxis={"title": "relative distance", "rangemode": "tozero"},
        legend={"orientation": "h", "y": 1.2},
    )
    return figure
