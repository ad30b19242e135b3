"""`ellora-trust tasks`: what can be asked, with datasheet and examples, and its export as a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ellora_trust.tasks import Task


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task; none lists all.")] = None,
    examples: Annotated[int, typer.Option(help="How many examples to print.")] = 2,
    source: Annotated[Path | None, typer.Option(help="Your own code or file, for tasks that read one.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of examples.")] = 0,
    export: Annotated[Path | None, typer.Option(help="Write the task to this JSONL file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Examples to export; all by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List tasks, print one task's datasheet and examples, or export it."""
    from ellora_trust.tasks import load_task

    if name is None:
        _list(json)
        return
    task = load_task(name, source=source)
    if export is not None:
        _export(task, export, limit=limit, seed=seed, json=json)
        return
    _show(task, examples, seed, json)


def _list(json: bool) -> None:
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.tasks import describe_tasks

    rows = describe_tasks()
    if json:
        print_json([{"name": known, "about": about, "source": source} for known, about, source in rows])
    else:
        print_table("", ("task", "what", "--source"), [list(row) for row in rows])


def _show(task: Task, examples: int, seed: int, json: bool) -> None:
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json

    if json:
        chosen = task.examples(limit=examples, seed=seed)
        print_json([{**asdict(e), "meta": dict(e.meta)} for e in chosen])
        return
    print(task.datasheet())
    for example in task.examples(limit=examples, seed=seed) if examples else ():
        print(f"\n--- {example.id} (group {example.group})\n{task.header}{example.prompt}")
        print(f"--- expected: {example.answer or 'decided by running it'}")


def _export(task: Task, path: Path, *, limit: int | None, seed: int, json: bool) -> None:
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json
    from ellora_trust.tasks.export import export

    done = export(task, path, limit=limit, seed=seed)
    if json:
        print_json(asdict(done))
        return
    licences = ", ".join(f"{licence} ({n})" for licence, n in done.licences.items())
    print(f"{path}: {done.n} examples, {done.references} of them as references without text; licences: {licences}")
