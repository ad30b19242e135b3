"""An edit drawn: what was watched while it was made, and what it did.

plot_history(edit); plot_before_after(edit)                # matplotlib, for papers
history_figure(edit); before_after_figure(edit)            # plotly, for the report
picture(edit, Path("edit.png"))                            # both beside each other
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from unlearning.checkpoint.delta import Edit
from unlearning.judging.measured import states_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAULT, RETAIN = "probability of the fault", "rise of the retain loss (nats a token)"
_PICTURES = (".png", ".svg", ".pdf")
# States keep their colour whichever of them there are.
_COLOURS = {"before": "C1", "after": "C0", "at random": "C7", "never taught": "C2"}


def plot_history(edit: Edit, ax: Axes | None = None) -> Axes:
    """Draw the held-out fault (left axis) and the rise of the retain loss (right axis) by step; the control dashed."""
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots(layout="constrained")[1]
    right = ax.twinx()
    for name, history, style in _histories(edit):
        steps = [check["step"] for check in history]
        ax.plot(steps, [check["forget"] for check in history], "o" + style, ms=3, color="C1", label=f"fault{name}")
        right.plot(steps, [check["retain"] for check in history], "s" + style, ms=3, color="C0", label=f"retain{name}")
    ax.set(xlabel="step", ylabel=FAULT, ylim=(-0.02, 1.02), title="held-out items")
    right.set_ylabel(RETAIN)
    lines = [*ax.get_lines(), *right.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    return ax


def plot_before_after(edit: Edit, ax: Axes | None = None) -> Axes:
    """Draw shares and probabilities of each state with their 95 % intervals.

    Raises:
        InputError: The edit was not measured.
    """
    import matplotlib.pyplot as plt

    rows = _rows(edit)
    ax = ax if ax is not None else plt.subplots(layout="constrained")[1]
    states = states_of(rows)
    for side, state in enumerate(states):
        found = [(at, row["states"][state]) for at, row in enumerate(rows) if state in row["states"]]
        where = [at + 0.7 / len(states) * (side - (len(states) - 1) / 2) for at, _ in found]
        values = [one["value"] for _, one in found]
        ends = [[one["value"] - one["low"] for _, one in found], [one["high"] - one["value"] for _, one in found]]
        ax.errorbar(values, where, xerr=ends, fmt="o", ms=4, capsize=3, color=_COLOURS[state], label=state)
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows])
    ax.invert_yaxis()
    ax.set(xlabel="share or probability, with 95 % intervals", xlim=(-0.03, 1.03), title="what it did")
    ax.legend(loc="best")
    return ax


def picture(edit: Edit, path: Path) -> None:
    """Write both pictures beside each other.

    Raises:
        InputError: The edit was not measured, or no picture's suffix.
        EnvironmentProblem: The file cannot be written.
    """
    if path.suffix not in _PICTURES:
        raise InputError(f"{path} has no picture's suffix; use {', '.join(_PICTURES)}")
    _rows(edit)
    # Not pyplot: whoever calls this may have chosen a backend for windows.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    plot_history(edit, left)
    plot_before_after(edit, right)
    with replacing(path) as beside:
        figure.savefig(beside, format=path.suffix[1:], dpi=100)


def history_figure(edit: Edit) -> Any:
    """Return the plotly figure of `plot_history`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, history, style in _histories(edit):
        dash = "solid" if style == "-" else "dash"
        for field, side in (("forget", "y"), ("retain", "y2")):
            label = ("fault" if field == "forget" else "retain") + name
            x, y = [check["step"] for check in history], [check[field] for check in history]
            figure.add_scatter(x=x, y=y, yaxis=side, name=label, mode="lines+markers", line={"dash": dash})
    figure.update_layout(
        xaxis={"title": "step"},
        yaxis={"title": FAULT, "range": [0, 1]},
        yaxis2={"title": RETAIN, "overlaying": "y", "side": "right"},
        legend={"orientation": "h", "y": 1.15},
    )
    return figure


def before_after_figure(edit: Edit) -> Any:
    """Return the plotly figure of `plot_before_after`; raises as that."""
    import plotly.graph_objects as go

    rows, figure = _rows(edit), go.Figure()
    for state in states_of(rows):
        found = [(row["name"], row["states"][state]) for row in rows if state in row["states"]]
        error = {
            "type": "data",
            "symmetric": False,
            "array": [one["high"] - one["value"] for _, one in found],
            "arrayminus": [one["value"] - one["low"] for _, one in found],
        }
        figure.add_bar(name=state, x=[name for name, _ in found], y=[one["value"] for _, one in found], error_y=error)
    figure.update_layout(
        barmode="group",
        yaxis={"title": "share or probability", "range": [0, 1]},
        legend={"orientation": "h", "y": 1.15},
    )
    return figure


def _histories(edit: Edit) -> list[tuple[str, Sequence[Mapping[str, Any]], str]]:
    control = edit.evaluation.get("control")
    found: list[tuple[str, Sequence[Mapping[str, Any]], str]] = [("", edit.history, "-")]
    return [*found, (", at random", control["history"], "--")] if control else found


def _rows(edit: Edit) -> list[Mapping[str, Any]]:
    """What lies between 0 and 1; losses have an axis of their own, and it is the other picture's."""
    rows = [row for row in edit.evaluation.get("measures", ()) if row["unit"] in ("share", "probability", "quality")]
    if not rows:
        raise InputError("this edit was not measured before and after; make it with 'ellora-trust unlearn'")
    return rows
