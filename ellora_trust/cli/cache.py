"""`ellora-trust cache`: what is stored, how large, and how to be rid of it."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Show or clean the cache.", invoke_without_command=True)


@app.callback()
def cache(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what the cache holds."""
    if context.invoked_subcommand:
        return
    from ellora_trust.cachedir import cache_dir, entries
    from ellora_trust.cli.render import human_size, print_json, print_table

    found = entries()
    if json:
        print_json({"folder": str(cache_dir()), "entries": [{"name": n, "bytes": size} for n, size in found]})
        return
    total = sum(size for _, size in found)
    print(f"{cache_dir()}: {human_size(total)}")
    print_table("", ("entry", "size"), [[name, human_size(size)] for name, size in found])


@app.command()
def clean(
    entry: Annotated[str | None, typer.Argument(help="An entry as `cache` lists it; none cleans activations.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Converted models too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete stored activations, one entry, or everything; all of it can be made again."""
    from ellora_trust.cachedir import clean as delete
    from ellora_trust.cli.render import human_size, print_json

    freed = delete("" if everything else entry or "activations")
    print_json({"freed_bytes": freed}) if json else print(f"freed {human_size(freed)}")
