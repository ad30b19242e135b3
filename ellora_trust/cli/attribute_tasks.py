"""`ellora-trust attribute tasks`: which task a model performs, read from heads, and vectors that make it do one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attribution.function_vectors.job import TasksFound


def tasks(
    model: Annotated[
        str | None, typer.Option(help="Built-in name, hub id, folder or .gguf file; with --use, its own.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="testbed, demonstrations, or names of built-in tasks joined with commas; if left "
            "out, testbed for its models and demonstrations for others."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A prompt whose task is wanted; @FILE reads it from a file.")
    ] = None,
    use: Annotated[
        Path | None, typer.Option(help="Folder of task vectors made before; nothing is fitted then.")
    ] = None,
    n_fit: Annotated[int, typer.Option(help="Prompts of each task to fit on.")] = 24,
    n_held: Annotated[int, typer.Option(help="Held-out prompts of each task and kind.")] = 12,
    n_trials: Annotated[int, typer.Option(help="Uninformed prompts of each task that heads are chosen by.")] = 4,
    n_heads: Annotated[int | None, typer.Option(help="Heads; a quarter of them, ten at most, if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of the prompts, random heads and random vectors.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the vectors and report.html.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Use vectors of another model all the same.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a vector for each task, say how well heads tell the tasks and whether a vector makes the model do one."""
    from attribution.function_vectors.job import measure_tasks, saved_tasks
    from ellora_trust.artifacts import read_description
    from ellora_trust.cli.render import given, print_json
    from ellora_trust.loading import load
    from ellora_trust.report import write_html

    text = given(prompt) if prompt is not None else None
    _check(use, tasks, text, out)
    loaded = load(model or (str(read_description(use).model["name"]) if use else "testbed"))
    if use is not None:
        found = saved_tasks(loaded, use, force=force)
    else:
        names = tasks or ("testbed" if loaded.name.startswith("testbed") else "demonstrations")
        found = measure_tasks(
            loaded,
            names.split(","),
            n_fit=n_fit,
            n_held=n_held,
            n_trials=n_trials,
            n_heads=n_heads,
            seed=seed,
            progress=True,
        )
    found = found if text is None else found.asked(loaded, text)
    if out is not None:
        found.vectors.save(out, model=loaded)
        write_html(found.page(), out / "report.html")
    print_json(found.to_dict()) if json else _render(found, out)


def _check(use: Path | None, tasks: str | None, prompt: str | None, out: Path | None) -> None:
    from ellora_trust.errors import InputError

    if use is not None and tasks is not None:
        raise InputError(f"{use} has its own tasks; leave out --tasks, or --use")
    if use is not None and prompt is None:
        raise InputError("--use fits nothing, so it needs a prompt to read; give --prompt")
    if use is not None and out is not None:
        raise InputError(f"--use leaves {use} as it is; leave out --out")
    if prompt is not None and not prompt.strip():
        raise InputError("the prompt has no text; give what the model is asked")


def _render(found: TasksFound, out: Path | None) -> None:
    from ellora_trust.cli.render import print_table
    from ellora_trust.cli.risk_colours import visible

    vectors = found.vectors
    print(f"{found.model}: {len(vectors.tasks)} tasks, heads {', '.join(vectors.heads)}")
    for table, rows in ((found.told_table(), found.told), (found.done_table(), found.done)):
        if rows:
            print_table("", table.columns, table.rows)
            print(table.caption)
    print("\n".join(found.sentences()))
    if found.probabilities:
        print("\n" + visible(found.prompt) + "▸")
        first = list(found.probabilities.items())[:5]
        print_table("", ("task", "probability"), [[name, f"{value:.1%}"] for name, value in first])
        print(f"Of {len(found.probabilities)} tasks; a prompt of none of them gets one of them too.")
    if out is not None:
        print(f"open {out}/report.html; name the task in ellora-trust explain with --tasks {out}")
