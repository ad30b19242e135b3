"""`ellora-trust probe plan`: how many examples an interval of a wanted width needs."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    base_rate: Annotated[float, typer.Option(help="Share of wrong answers you expect, (0, 1).")],
    half_width: Annotated[float, typer.Option(help="Half of the AUROC interval you want.")] = 0.03,
    auroc: Annotated[float, typer.Option(help="AUROC you expect.")] = 0.75,
    per_group: Annotated[float, typer.Option(help="Examples a group.")] = 1.0,
    correlation: Annotated[float, typer.Option(help="Correlation of outcomes in a group, [0, 1].")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many examples give an AUROC interval of a wanted width."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.stats import sample_size_for_auroc

    if per_group < 1 or not 0 <= correlation <= 1:
        raise InputError(f"per-group {per_group} and correlation {correlation} given; use >= 1 and 0..1")
    design_effect = 1 + (per_group - 1) * correlation
    n = sample_size_for_auroc(half_width, base_rate, auroc, design_effect=design_effect)
    if json:
        print_json({"n": n, "base_rate": base_rate, "half_width": half_width, "auroc": auroc})
        return
    print(
        f"{n} examples give an AUROC of about {auroc} an interval of +-{half_width} at a base rate of {base_rate} "
        f"(Hanley & McNeil 1982; design effect {design_effect:g})"
    )
