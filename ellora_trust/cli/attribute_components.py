"""`ellora-trust attribute components`: which heads and MLPs an answer comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attribution.inside.job import Located
    from attribution.inside.patching import Pair


def components(
    prompt: Annotated[
        str | None, typer.Argument(help="Prompt after which the answer comes; @FILE reads it. Or give --task.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Prompt that differs in what decides, after which the foil comes; or @FILE.")
    ] = None,
    answer: Annotated[str | None, typer.Option(help="What follows the prompt.")] = None,
    foil: Annotated[str | None, typer.Option(help="What follows the other prompt.")] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Matched pairs of aliasing, pointers, testbed, testbed-types or testbed-calls."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Pairs of the task, at most.")] = 24,
    seed: Annotated[int, typer.Option(help="Of the choice of pairs.")] = 0,
    method: Annotated[
        str, typer.Option(help="attribution-patching, activation-patching or direct.")
    ] = "attribution-patching",
    sites: Annotated[str, typer.Option(help="What is scored, joined with commas; * is any layer or head.")] = (
        "head.*.*,mlp.*"
    ),
    check: Annotated[bool, typer.Option("--check", help="Run full patching beside it, and correlate.")] = False,
    top: Annotated[int, typer.Option("-n", "--top", min=1, help="Components to list.")] = 10,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "smollm2",
    out: Annotated[
        Path | None,
        typer.Option(help="HTML report, or a folder for report.html and results.json, which `unlearn --where` reads."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rank heads and MLPs by what they do for an answer, from a pair of prompts or a task's matched pairs."""
    from attribution.inside.job import locate
    from attribution.inside.matched import matched_pairs
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load

    if out is not None and out.suffix != ".html" and out.is_file():
        raise InputError(f"{out} is a file; give a .html file or a folder")
    given = (prompt, against, answer, foil)
    pairs = [_pair(given)] if task is None else matched_pairs(_alone(task, given), limit=limit, seed=seed)
    names, how = sites.split(","), method.replace("-", "_")
    located = locate(load(model), pairs, method=how, sites=names, check=check, progress=True)  # pyright: ignore[reportArgumentType]  # checked there
    if out is not None:
        _write(located, top, out)
    print_json(located.to_dict(top)) if json else _render(located, top, out)


Given = tuple[str | None, str | None, str | None, str | None]
_NAMES = ("PROMPT", "--against", "--answer", "--foil")


def _pair(texts: Given) -> Pair:
    from attribution.inside.patching import Pair
    from ellora_trust.cli.render import given
    from ellora_trust.errors import InputError

    clean, corrupt, answer, foil = texts
    if clean is None or corrupt is None or answer is None or foil is None:
        missing = [name for name, text in zip(_NAMES, texts, strict=True) if text is None]
        raise InputError(
            f"a pair of prompts lacks {', '.join(missing)}; give all four of {', '.join(_NAMES)}, or --task"
        )
    return Pair(given(clean), given(corrupt), given(answer), given(foil))


def _alone(task: str, texts: Given) -> str:
    from ellora_trust.errors import InputError

    if any(text is not None for text in texts):
        raise InputError(f"--task {task} brings its own pairs; leave out {', '.join(_NAMES)}, or --task")
    return task


def _write(located: Located, top: int, out: Path) -> None:
    from ellora_trust.report import write_html, write_json

    if out.suffix == ".html":
        write_html(located.page(), out)
        return
    write_json(located.to_dict(top), out / "results.json")
    write_html(located.page(), out / "report.html")


def _render(located: Located, top: int, out: Path | None) -> None:
    from ellora_trust.cli.render import print_table

    table = located.table(top)
    print_table("", table.columns, table.rows)
    print(table.caption)
    if located.exact is not None:
        print(located.sentence())
    if out is not None:
        print(f"open {out if out.suffix == '.html' else out / 'report.html'}")
