"""The rule of choice and the tables of `unlearning_stdlib.py`, from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ellora_trust.stats import Estimate, group_bootstrap, paired_bootstrap

Row = dict[str, Any]
ENOUGH = 8
RULE = (
    "Rule: a pair is kept if the removed name is likelier than its fix's (mean log-odds of all tokens of the two names "
    f"above 0 over the choosing contexts). Fewer than {ENOUGH} pairs would be too few to go on."
)


def kept_rows(rows: list[Row]) -> list[Row]:
    """Return the choices that the rule keeps."""
    return [row for row in rows if row["stage"] == "choice" and sum(row["odds"]) > 0]


def table(rows: list[Row]) -> str:
    """Return the tables as Markdown: which pairs, what each method did, what it cost and how well it lasts."""
    states = {row["name"]: row for row in rows if row["stage"] == "state"}
    parts = [_choices(rows)]
    if before := states.get("before"):
        parts += [_split(before), _effects(states), _rest(states, rows)]
    return "\n\n".join(parts)


def _choices(rows: list[Row]) -> str:
    every = [row for row in rows if row["stage"] == "choice"]
    kept = {row["name"] for row in kept_rows(rows)}
    found = []
    for row in sorted(every, key=lambda row: -np.mean(row["odds"])):
        first = [one for one in row["first"] if one is not None]
        found.append(
            [
                row["name"],
                f"{_mean(row['odds'], range(len(row['odds']))):+.2f}",
                f"{np.mean(first):+.2f}" if first else "-",
                "yes" if row["name"] in kept else "no",
            ]
        )
    heads = ("pair", "log-odds of the name, nats", "of the first token that differs", "kept")
    by_first = sum(np.mean([one for one in row["first"] if one is not None] or [0]) > 0 for row in every)
    counts = f"Kept: {len(kept)} of {len(every)}. By the first token alone it would be {by_first}."
    return f"{_markdown(heads, found)}\n\n{counts}"


def _split(before: Row) -> str:
    split = before["split"]
    return f"Trained on: {', '.join(split['used'])}. Held out: {', '.join(split['held'])}."


def _effects(states: dict[str, Row]) -> str:
    before, found = states["before"], []
    for name, row in states.items():
        cells = [name, f"{row['rate']:g}" if "rate" in row else "-"]
        for side in ("used", "held"):
            cells += [_share(row[side]["odds"], row[side]["pairs"]), _change(row, before, side)]
            cells.append(f"{sum(row[side]['greedy'])}/{len(row[side]['greedy'])}")
        found.append([*cells, _share(row["near"]["odds"], row["near"]["pairs"]), _change(row, before, "near")])
    heads = (
        "method",
        "rate",
        "prefers the removed name",
        "log-odds, change",
        "greedy",
        "held-out pairs: prefers",
        "change",
        "greedy",
        "near-misses: prefers the wrong name",
        "change",
    )
    return _markdown(heads, found)


def _rest(states: dict[str, Row], rows: list[Row]) -> str:
    before, found = states["before"], []
    trials, costs = ({row["name"]: row for row in rows if row["stage"] == stage} for stage in ("trial", "cost"))
    for name, row in states.items():
        trial = trials.get(f"{name} {row['rate']:g}") if "rate" in row else None
        cells = [name, _bits(row, before), _share(row["int4"], row["used"]["pairs"])]
        if trial is None:
            found.append([*cells, "-", "-", "-", "-", "-"])
            continue
        again = row["relearn"]
        rise = _paired(again["after"], again["before"], again["pairs"])
        cells += [_share(again["before"], again["pairs"]), _share(again["after"], again["pairs"]), f"{rise:+.2f}"]
        cost = costs.get(name)
        multiples = f"{cost['flops']:.2f}x, {cost['wall']:.2f}x, {cost['peak_memory']:.2f}x" if cost else "-"
        found.append([*cells, multiples, f"{trial['edit_seconds']:.0f} s ({trial['steps']} steps, {trial['stopped']})"])
    heads = (
        "method",
        "bits per byte of held-out modules, change",
        "in int4: prefers",
        "other half before relearning: prefers",
        "after it",
        "log-odds, change",
        "a step's FLOPs, wall, peak memory",
        "wall of the edit",
    )
    return _markdown(heads, found)


def _mean(values: Sequence[float], groups: Sequence[Any]) -> Estimate:
    return group_bootstrap(lambda v: float(np.mean(v)), [np.asarray(values)], np.asarray([str(g) for g in groups]))


def _share(values: Sequence[float], pairs: Sequence[str]) -> str:
    """Share of contexts in which the first name is likelier; whole pairs are resampled."""
    return f"{_mean([float(one > 0) for one in values], pairs):.0%}"


def _paired(after: Sequence[float], before: Sequence[float], pairs: Sequence[str]) -> Estimate:
    mean = lambda labels, values: float(np.mean(values))  # noqa: E731
    return paired_bootstrap(mean, np.asarray(after), np.asarray(before), np.zeros(len(pairs)), np.asarray(pairs))


def _change(row: Row, before: Row, what: str) -> str:
    if row is before:
        return f"({np.mean(before[what]['odds']):+.2f})"
    return f"{_paired(row[what]['odds'], before[what]['odds'], row[what]['pairs']):+.2f}"


def _bits(row: Row, before: Row) -> str:
    if row is before:
        return f"({np.mean(before['bits']['each']):.3f})"
    rise = _paired(row["bits"]["each"], before["bits"]["each"], row["bits"]["modules"])
    base = float(np.mean(before["bits"]["each"]))
    return f"{rise.value / base:+.2%} [{rise.low / base:+.2%}, {rise.high / base:+.2%}]"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
