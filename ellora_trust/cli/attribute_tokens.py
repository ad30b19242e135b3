"""`ellora-trust attribute tokens`: which words of a prompt an answer comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attribution.prompt.job import Explained


def tokens(
    prompt: Annotated[str, typer.Argument(help="What the model was asked; @FILE reads it from a file.")],
    answer: Annotated[
        str | None,
        typer.Option(help="What is explained; the model's own first line if left out. @FILE reads a file."),
    ] = None,
    foil: Annotated[str | None, typer.Option(help="Another answer: why this one rather than that.")] = None,
    method: Annotated[
        str, typer.Option(help="shapley, ablation, integrated-gradients or gradient-x-input.")
    ] = "shapley",
    units: Annotated[str, typer.Option(help="identifier, expression or line.")] = "identifier",
    language: Annotated[str, typer.Option(help="Of the prompt: python or c.")] = "python",
    steps: Annotated[int, typer.Option(help="Points on the path of integrated-gradients.")] = 64,
    samples: Annotated[int, typer.Option(help="Orders of leaving out that shapley draws.")] = 16,
    curves: Annotated[
        bool, typer.Option("--curves", help="Leave out and keep the first units, beside random orders.")
    ] = False,
    top: Annotated[int, typer.Option("-n", "--top", min=1, help="Units to list.")] = 10,
    seed: Annotated[int, typer.Option(help="Of shapley's orders and the random ones.")] = 0,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "smollm2",
    out: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Colour a prompt by what each of its words does for an answer: orange speaks for it, blue against it."""
    from attribution.prompt.job import explain_tokens
    from ellora_trust.cli.render import given, print_json
    from ellora_trust.loading import load
    from ellora_trust.report import write_html

    text, said = given(prompt), None if answer is None else given(answer)
    choices = {"method": method.replace("-", "_"), "by": units, "language": language}
    numbers = {"steps": steps, "samples": samples, "seed": seed, "progress": True}
    explained = explain_tokens(load(model), text, said, foil=foil, curves=curves, **choices, **numbers)  # pyright: ignore[reportArgumentType]  # checked there
    if out is not None:
        write_html(explained.page(), out)
    print_json(explained.to_dict()) if json else _render(explained, top, out)


def _render(explained: Explained, top: int, out: Path | None) -> None:
    from rich.console import Console

    from attribution.prompt.job import curves_table
    from attribution.prompt.views import coloured
    from ellora_trust.cli.render import print_table
    from ellora_trust.cli.risk_colours import visible

    text = coloured(explained.result)
    Console(highlight=False, soft_wrap=True).print(text.append(visible("▸" + explained.result.answer)))
    table = explained.strongest(top)
    print_table("", table.columns, [[visible(cell) for cell in row] for row in table.rows])
    print(visible(table.caption))
    if explained.curves is not None:
        found = curves_table(explained.curves)
        print_table("", found.columns, found.rows)
        print(f"{found.caption}\n{explained.curves.sentence()}")
    if out is not None:
        print(f"open {out}")
