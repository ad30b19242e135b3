"""`ellora-trust steer`: activation steering, from pairs to a report, and vectors in and out of llama.cpp's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steering.measuring.result import Study

app = typer.Typer(
    help="Steer a model's activations back to the right answer, and say what it breaks.", invoke_without_command=True
)


@app.callback()
def steer(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "smollm2",
    task: Annotated[str, typer.Option(help="types, aliasing, pointers or testbed.")] = "types",
    edit: Annotated[
        str, typer.Option(help="Edits joined with commas, combinations with +; the task's own if left out.")
    ] = "",
    limit: Annotated[int, typer.Option(help="Originals that pairs are made from.")] = 600,
    draws: Annotated[int, typer.Option(help="Times each original is edited, with other sites.")] = 1,
    max_per_program: Annotated[
        int | None, typer.Option(help="Pairs of one file and edit, at most; all if left out.")
    ] = None,
    max_per_type: Annotated[
        int | None, typer.Option(help="Pairs of one type and edit, at most; all if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of originals, sites, folds and random directions.")] = 0,
    source: Annotated[Path | None, typer.Option(help="Your own code, for the task types.")] = None,
    method: Annotated[
        str, typer.Option(help="mean_difference, pca, logistic, whitened or trained.")
    ] = "mean_difference",
    every: Annotated[int, typer.Option(help="Distance of the sweep's first layers; 1 tries all.")] = 3,
    strengths: Annotated[str, typer.Option(help="Multiples of the direction, joined with commas.")] = "1,2",
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/steer"),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")] = False,
) -> None:
    """Make pairs, fit, sweep, choose, judge beside controls, save: one vector an edit, results.json, report.html."""
    if context.invoked_subcommand:
        return
    from ellora_trust.cli.render import print_json, say
    from steering.job import SteerJob, run_job

    edits = tuple(name.strip() for name in edit.split(",") if name.strip())
    where = str(source) if source else None
    job = SteerJob(
        model,
        task,
        edits,
        limit,
        draws,
        max_per_program,
        max_per_type,
        seed,
        where,
        method,  # pyright: ignore[reportArgumentType]  # direction() checks it
        every,
        _numbers(strengths),
    )
    studies = run_job(job, out, say=say, progress=True)
    if json:
        print_json([one.to_dict() for one in studies])
        return
    _render(studies, out)


def _numbers(text: str) -> tuple[float, ...]:
    from ellora_trust.errors import InputError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--strengths {text!r} are no numbers; give some such as 1,2") from error


def _render(studies: list[Study], out: Path) -> None:
    from ellora_trust.cli.render import print_table
    from steering.measuring.report import HEADLINE, estimates_table, headline, sentences, summary

    for one in studies:
        table = estimates_table(one)
        print(f"{one.task}: {one.edit}\n{summary(one)}")
        print_table("", table.columns, table.rows)
        print("\n".join(sentences(one)) + "\n")
    print_table("All edits", HEADLINE, [headline(one) for one in studies])
    print(f"\nVectors: {out}/vector-EDIT; numbers: {out}/results.json; open {out}/report.html")


@app.command("export")
def export(
    vector: Annotated[Path, typer.Argument(help="A saved vector's folder.")],
    out: Annotated[Path, typer.Argument(help="The .gguf file to write.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a saved vector as a llama.cpp control vector (.gguf)."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.loading import load
    from steering.control_vector import write_control_vector
    from steering.vector import SteeringVector

    saved = SteeringVector.load(vector)
    assert saved.artifact is not None, "load() sets it"
    write_control_vector(saved, out, model=load(saved.artifact.model["name"]))
    if json:
        print_json({"file": str(out), "sites": list(saved.sites), "strength": saved.strength})
        return
    print(f"{out}: {len(saved.sites)} layers times {saved.strength:g}; llama.cpp adds them at every token")
