"""`ellora-trust sandbox`: whether untrusted programs are held here, and running one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Try the sandbox on this machine, or run a program in it.", no_args_is_help=True)


@app.command()
def check(
    isolation: Annotated[str | None, typer.Option(help="bubblewrap or namespaces; the best by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run every attack of the escape corpus; exit code 1 if one gets out."""
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json, print_table, say
    from ellora_trust.errors import EnvironmentProblem
    from ellora_trust.sandbox.escape import check_every_user
    from ellora_trust.sandbox.isolation import kind_named

    checked = check_every_user(kind_named(isolation), say=say)
    if json:
        print_json({user: [asdict(row) for row in rows] for user, rows in checked.items()})
    else:
        first = next(iter(checked.values()))
        rows = [
            [row.name, row.goal, *(_became(rows[i].escaped, rows[i].ended) for rows in checked.values())]
            for i, row in enumerate(first)
        ]
        print_table("", ("attack", "what it tries", *checked), rows)
    out = sum(bool(row.escaped) for rows in checked.values() for row in rows)
    summary = f"{out} of {sum(map(len, checked.values()))} attacks got out"
    if out:
        raise EnvironmentProblem(f"{summary}; do not run untrusted programs on this machine")
    if not json:
        print(summary)


def _became(escaped: list[str], ended: str) -> str:
    return f"ESCAPED: {'; '.join(escaped)}" if escaped else f"held ({ended})"


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A program; its suffix tells the language.")],
    language: Annotated[str | None, typer.Option(help="python, c, cpp or fortran.")] = None,
    seconds: Annotated[float, typer.Option(help="Limit on wall-clock and processor time.")] = 10.0,
    memory: Annotated[int, typer.Option(help="Limit on memory, MiB.")] = 512,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build and run one program; its standard input is empty."""
    import sys
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json, say
    from ellora_trust.errors import InputError
    from ellora_trust.sandbox import MIB, Limits, Sandbox
    from ellora_trust.sandbox.languages import by_suffix

    if not file.is_file():
        raise InputError(f"no file {file}; give a program's source")
    limits = Limits(wall=seconds, cpu=seconds, memory=memory * MIB)
    done = Sandbox().run(file.read_text(), language=language or by_suffix(file.name), limits=limits)
    if json:
        print_json({**asdict(done), "replies": {}})
    else:
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        memory_seen = f"{done.peak_memory / MIB:.0f} MiB"
        say(f"{done.status} after {done.wall:.2f} s ({done.cpu:.2f} s processor, {memory_seen}), {done.isolation}")
    if not done.ok:
        raise typer.Exit(1)
