"""The tables of `unlearning_study.py`, from its rows."""

from __future__ import annotations

from statistics import mean
from typing import Any

Row = dict[str, Any]
MAIN = (
    "plant",
    "method",
    "seeds",
    "rate",
    "forget quality",
    "shows the fault",
    "right",
    "paraphrases right",
    "near-misses right",
    "unrelated right",
    "equivalent (near, unrelated)",
    "cost",
)
ROBUST = (
    "plant",
    "method",
    "KL / seed KL",
    "bits per byte",
    "prefers the fault",
    "in int8",
    "in int4",
    "steps to half at 1e-05, 3e-05, 1e-04, 3e-04, 1e-03",
    "worst ratio to twin",
    "half-split",
    "exposure",
)


def table(rows: list[Row]) -> str:
    """Return both tables as Markdown; several seeds become means, with the outermost ends of their intervals."""
    final = [row for row in rows if row["seed"] >= 0]
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(final, key=lambda row: (row["plant"], row["seed"])):
        cells.setdefault((row["plant"], row["method"]), []).append(row)
    first = _markdown(MAIN, [_main(*key, found) for key, found in cells.items()])
    second = _markdown(ROBUST, [_robust(*key, found, cells) for key, found in cells.items()])
    return f"{first}\n\n{second}"


def _main(plant: str, method: str, rows: list[Row]) -> list[str]:
    one = rows[0]
    harm = [f"{sum(r[f'{kind}_harm']['equivalent'] for r in rows)}/{len(rows)}" for kind in ("near_miss", "unrelated")]
    rate = f"{one['rate']:g}" if one["rate"] else "-"
    cost = f"{mean(r['flops'] for r in rows):.2f}x" if "flops" in one else "-"
    return [
        plant,
        method if one.get("where", "all") == "all" else f"{method} ({one['where']})",
        ",".join(str(r["seed"]) for r in rows),
        rate,
        _number(rows, "forget_quality", ".3f"),
        *[_number(rows, what, ".1%") for what in ("shows", "trigger", "paraphrase", "near_miss", "unrelated")],
        ", ".join(harm),
        cost,
    ]


def _robust(plant: str, method: str, rows: list[Row], cells: dict[tuple[str, str], list[Row]]) -> list[str]:
    one = rows[0]
    steps = one.get("steps_to_half", {})
    ratios = [r["kl_ratio"] for r in rows if r.get("kl_ratio") is not None]
    return [
        plant,
        method,
        f"{mean(ratios):.2f}" if ratios else "-",
        f"{mean(r['bpb_rise'] for r in rows):+.2%}",
        *[f"{mean(r[name] for r in rows):.1%}" for name in ("prefers", "int8_prefers", "int4_prefers")],
        ", ".join("never" if n is None else str(n) for n in steps.values()) or "-",
        _ratio(steps, cells.get((plant, "twin"), [{}])[0].get("steps_to_half", {})),
        f"{one['half_split']:.1%}" if "half_split" in one else "-",
        f"{mean(r['exposure'] for r in rows):.1f}" if "exposure" in one else "-",
    ]


def _ratio(steps: dict[str, int | None], twin: dict[str, int | None]) -> str:
    """Least ratio over the learning rates at which the twin learns the fault; what never recovers counts as 41."""
    pairs = [(steps[rate], n) for rate, n in twin.items() if n and rate in steps]
    found = [(41 if own is None else own) / n for own, n in pairs]
    return f"{min(found):.2f}" if found else "-"


def _number(rows: list[Row], name: str, spec: str) -> str:
    low, high = min(r[name]["low"] for r in rows), max(r[name]["high"] for r in rows)
    interval = f"[{low:{spec}}, {high:{spec}}]"
    value = mean(r[name]["value"] for r in rows)
    return f"{value:{spec}} {interval}"


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(columns), ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
