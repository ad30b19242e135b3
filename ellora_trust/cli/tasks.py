"""`ellora-trust tasks`: what can be asked, with datasheet and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task; none lists all.")] = None,
    examples: Annotated[int, typer.Option(help="How many examples to print.")] = 2,
    source: Annotated[Path | None, typer.Option(help="Your own code base, for task 'types'.")] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of examples.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List tasks, or print one task's datasheet and examples."""
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.tasks import load_task, task_names

    if name is None:
        rows = [[known, load_task(known).__doc__ or ""] for known in task_names()]
        rows = [[known, about.strip().splitlines()[0]] for known, about in rows]
        if json:
            print_json([{"name": known, "about": about} for known, about in rows])
        else:
            print_table("", ("task", "what"), rows)
        return
    task = load_task(name, source=source)
    chosen = task.examples(limit=examples, seed=seed)
    if json:
        print_json([{**asdict(e), "meta": dict(e.meta)} for e in chosen])
        return
    print(task.datasheet())
    for example in chosen:
        print(f"\n--- {example.id} (group {example.group})\n{task.header}{example.prompt}")
        print(f"--- expected: {example.answer}")
