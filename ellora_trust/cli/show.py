"""`ellora-trust show`: what any artifact is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    path: Annotated[Path, typer.Argument(help="An artifact's folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe an artifact: what it was fitted on, how well it does, with what versions."""
    from dataclasses import asdict

    from ellora_trust.artifacts import read_description
    from ellora_trust.cli.render import print_json, print_table

    artifact = read_description(path)
    if json:
        print_json(asdict(artifact))
        return
    rows = [["kind", artifact.kind], ["site", artifact.site or "-"]]
    for title in ("model", "data", "config", "metrics", "versions"):
        rows += [[f"{title}: {name}", _cell(value)] for name, value in getattr(artifact, title).items()]
    print_table("", ("what", "value"), rows)


def _cell(value: object) -> str:
    if isinstance(value, dict) and {"value", "low", "high", "n"} <= value.keys():
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}], n = {value['n']}"
    return str(value)
