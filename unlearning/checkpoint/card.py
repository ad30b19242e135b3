"""The model card of an exported edit: what was removed, with what data, the numbers, how to take it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlearning.checkpoint.delta import Edit
from unlearning.checkpoint.gates import Gate
from unlearning.judging.reporting import compared, table


def card(edit: Edit, found: Sequence[Gate]) -> str:
    """Return the card as Markdown; it begins with the gates that failed, if any did."""
    config, base, failed = edit.config, edit.base, [gate for gate in found if not gate.passed]
    return "\n".join(
        [
            "---",
            "tags: [unlearning, ellora-trust]",
            "---",
            f"# {base['name']}, edited",
            "",
            *([f"**Written with failing gates: {', '.join(gate.name for gate in failed)}.**", ""] if failed else []),
            f"An edit of `{base['name']}` (fingerprint `{base['fingerprint']}`) by the objective "
            f"`{config['objective']}` on `{config['where']}`, {config['steps']} steps, ended by `{config['stopped']}`; "
            f"{edit.n_changed:,} weights differ.",
            "",
            *_data(config),
            *_numbers(edit),
            *_control(edit),
            "## Gates",
            "",
            *[f"- {gate}" for gate in found],
            "",
            "## Taking it back",
            "",
            "The edit's folder holds the exclusive or of old and new weights. `ellora-trust unlearn revert EDIT "
            f"THIS_FOLDER --out OLD` gives the base back, proven by the sha256 of its weights, "
            f"`{base['weights_sha256']}`.",
            "",
        ]
    )


def _data(config: Mapping[str, Any]) -> list[str]:
    data, sources = config.get("data", {}), config.get("sources", {})
    only = f"; of each, only its {sources['only']}" if sources.get("only") else ""
    return [
        "## Data",
        "",
        f"- forgotten: {data.get('forget')} items{_named(sources, 'forget')}{only}",
        f"- retained: {data.get('retain')} items{_named(sources, 'retain')}",
        f"- sha256 of both: `{data.get('sha256')}`",
        "",
    ]


def _numbers(edit: Edit) -> list[str]:
    lines = [
        "## Before and after",
        "",
        "On items that were held out of the edit:",
        "",
        "| | before | after |",
        "|---|---|---|",
        f"| probability of the fault | {edit.history[0]['forget']:.4f} | {edit.history[-1]['forget']:.4f} |",
        f"| loss on what stays, rise in nats a token | 0 | {edit.history[-1]['retain']:+.4f} |",
        "",
    ]
    found = table(edit)
    if not found.rows:
        return lines
    head = [" | ".join(found.columns), "|".join(["---"] * len(found.columns))]
    rows = [" | ".join(cells) for cells in found.rows]
    return [*lines, f"Of the sets as a whole and of questions. {found.caption}", "", *map(_row, [*head, *rows]), ""]


def _row(cells: str) -> str:
    return f"| {cells} |"


def _control(edit: Edit) -> list[str]:
    control = edit.evaluation.get("control")
    return ["## Control", "", f"In this edit {compared(control)}.", ""] if control else []


def _named(sources: Mapping[str, Any], side: str) -> str:
    return f" from `{sources[side]}`" if sources.get(side) else ""
