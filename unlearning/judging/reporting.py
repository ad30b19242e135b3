"""An edit for people and programs: JSON, the table of before and after, sentences, the page.

print_json(summary(edit)); write_html(report(edit), Path("report.html"))
"""

from __future__ import annotations

from typing import Any

from ellora_trust.artifacts import versions
from ellora_trust.report import Figure, Report, Section, Table, Text
from unlearning.checkpoint.delta import Edit
from unlearning.judging.figures import before_after_figure, history_figure
from unlearning.judging.measured import shown, states_of

CHECKS = ("step", "fault", "retain, rise in nats", "multiplier")
_INTERVALS = (
    "Brackets: 95 % intervals, Wilson's where each question is its own group, a bootstrap over groups elsewhere."
)


def summary(edit: Edit) -> dict[str, Any]:
    """Return everything but the weights as JSON."""
    return {
        "model": dict(edit.base),
        "config": dict(edit.config),
        "history": [dict(check) for check in edit.history],
        "receipt": dict(edit.receipt),
        "evaluation": dict(edit.evaluation),
        "weights_changed": edit.n_changed,
    }


def table(edit: Edit) -> Table:
    """Return before and after, the control and the twin beside them where there are any."""
    rows = edit.evaluation.get("measures", ())
    states = states_of(rows)
    cells = [[_named(row), *(shown(row, state) for state in states)] for row in rows]
    return Table(("what", *states), cells, _INTERVALS)


def checks(edit: Edit) -> Table:
    """Return what was watched on held-out items."""
    rows = [
        [str(c["step"]), f"{c['forget']:.4f}", f"{c['retain']:+.4f}", f"{c['multiplier']:.2f}"] for c in edit.history
    ]
    return Table(CHECKS, rows, "On groups that were not trained on.")


def sentences(edit: Edit) -> list[str]:
    """Say what was edited, with what, where, what it was compared with, and what a step cost."""
    config = edit.config
    lines = [
        f"{edit.base['name']}: {config['objective']} on {config['where']}, {config['steps']} steps, ended by "
        f"{config['stopped']}; {edit.n_changed:,} weights changed"
    ]
    if sources := config.get("sources"):
        kept = f", kept: {sources['retain']}" if sources.get("retain") else ""
        only = f" (only its {sources['only']})" if sources.get("only") else ""
        lines.append(f"forgotten: {sources['forget']}{only}{kept}")
    first, last = edit.history[0], edit.history[-1]
    lines.append(
        f"held out: probability of the fault {first['forget']:.4f} -> {last['forget']:.4f}, loss on what stays "
        f"{last['retain']:+.4f} nats"
    )
    if control := edit.evaluation.get("control"):
        lines.append(compared(control))
    if edit.receipt:
        lines.append(f"a step cost {cost(edit)} of a plain fine-tuning step")
    return lines


def compared(control: dict[str, Any]) -> str:
    """Say what the control of a place that interpretation chose is, and what came of it on held-out items."""
    first, last = control["history"][0], control["history"][-1]
    return (
        f"the place was chosen by {control['chosen_by']}; the same edit at random, {control['where']}: "
        f"{control['weights_changed']:,} weights changed, fault {first['forget']:.4f} -> {last['forget']:.4f}, loss on "
        f"what stays {last['retain']:+.4f} nats"
    )


def cost(edit: Edit) -> str:
    """Return the multiples of a plain step."""
    return ", ".join(f"{edit.receipt[key]:.2f}x {key.replace('_', ' ')}" for key in ("flops", "wall", "peak_memory"))


def report(edit: Edit) -> Report:
    """Return the page."""
    done: list[Any] = [table(edit)]
    if edit.evaluation.get("measures"):
        done.append(Figure(before_after_figure(edit), "Shares and probabilities of each state, with 95 % intervals."))
    watched = Figure(history_figure(edit), "Held-out fault and rise of the retain loss by step; the control dashed.")
    price = f"{cost(edit)} of a plain fine-tuning step." if edit.receipt else "Not measured."
    sections = [
        Section("Before and after", done),
        Section("Held-out items", [watched, checks(edit)]),
        Section("Cost of a step", [Text(price)]),
    ]
    if control := edit.evaluation.get("control"):
        sections.insert(1, Section("Against a random place", [Text(f"{_capital(compared(control))}.")]))
    config = {name: str(value) for name, value in edit.config.items()}
    lead = f"{edit.base['name']}: {edit.n_changed:,} weights changed by {edit.config['objective']}."
    return Report("Unlearning", lead, sections, {**config, **versions()})


def _named(row: dict[str, Any]) -> str:
    return f"{row['name']} (nats a token)" if row["unit"] == "nats" else row["name"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
