"""`ellora-trust compare`: any change of a model, before and after, in one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from ellora_trust.evaluation.comparison import Comparison


class _ModelsFirst(TyperGroup):
    """`compare BASE CANDIDATE...` without a command's name; `compare show FILE` with one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["models", *args])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Options may stand before the models.
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["models", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ModelsFirst,
    help="Any change of a model, before and after: what it fixed, what it broke, how sure, will it last.\n\n"
    "Write ellora-trust compare BASE CANDIDATE...; the word models may be left out, and compare models --help has the "
    "options.",
    no_args_is_help=True,
)


@app.command()
def models(
    base: Annotated[str, typer.Argument(help="Built-in name, hub id, folder or .gguf file.")],
    candidates: Annotated[
        list[str],
        typer.Argument(
            help="nothing, int8, int4, bfloat16, a saved vector (FOLDER:STRENGTH, with a gate "
            "FOLDER:STRENGTH@GATE:THRESHOLD), an unlearning edit, a LoRA adapter, or another checkpoint; "
            "NAME=WHAT gives it a name."
        ),
    ],
    suite: Annotated[
        str, typer.Option(help="quick, standard, unlearning, steering, or a .toml file of your own.")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="Folder for comparison.json, report.html and report.md.")] = Path(
        "runs/compare"
    ),
    probe: Annotated[Path | None, typer.Option(help="A fitted error predictor: does it still work?")] = None,
    lm_eval: Annotated[
        str, typer.Option(help="Tasks of lm-evaluation-harness too, joined with commas; needs the extra lm-eval.")
    ] = "",
    lm_eval_include: Annotated[
        Path | None, typer.Option(help="Folder with the harness's task files of your own; Python in them runs.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Questions of each task; the suite's own if left out.")] = None,
    margin: Annotated[float | None, typer.Option(help="Difference of a rate that does not matter, 0..1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the choice of questions.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="This process's share of the questions, 1/4 to 4/4; afterwards run it without.")
    ] = None,
    noise: Annotated[bool, typer.Option(help="Measure the unchanged model's own noise.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Use what was made for another model all the same.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print comparison.json instead of tables.")] = False,
) -> None:
    """Ask a model and each candidate the same questions: tables, verdicts, comparison.json, report.html."""
    from ellora_trust.cachedir import made
    from ellora_trust.cli.render import print_json
    from ellora_trust.evaluation.asking.suite import Suite
    from ellora_trust.evaluation.changes.candidates import read_candidate
    from ellora_trust.evaluation.comparing import compare
    from ellora_trust.evaluation.sharing import answer_share
    from ellora_trust.loading import load
    from ellora_trust.share import Share

    model = load(base)
    harness = tuple(name.strip() for name in lm_eval.split(",") if name.strip()) or None
    include = str(lm_eval_include) if lm_eval_include else None
    named = {"limit": limit, "margin": margin, "seed": seed, "lm_eval": harness, "lm_eval_include": include}
    chosen = Suite.named(suite, model).changed(**named)
    found = [read_candidate(text, model, force=force) for text in candidates]
    entered = {one.name if n == 0 else f"{one.name} ({n + 1})": one for n, one in _numbered(found)}
    share = Share.parse(shard)
    if share.of > 1:
        answer_share(model, entered, chosen, share, force=force, progress=True)
        done = f"share {share.name} is done; when all are, run the same command once alone: it joins them"
        print_json({"share": share.name, "joined": False}) if json else print(done)
        return
    fitted, out = _probe(probe, model, force=force), made(out)
    comparison = compare(model, entered, chosen, probe=fitted, noise=noise, force=force, progress=True)
    _written(comparison, out)
    _render(comparison, out, json=json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A comparison.json.")],
    out: Annotated[Path | None, typer.Option(help="HTML to write; tables are printed if left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print comparison.json instead of tables.")] = False,
) -> None:
    """Print a saved comparison, or write its report.html again."""
    from ellora_trust.evaluation.comparison import Comparison

    comparison = Comparison.load(file)
    if out is not None:
        from ellora_trust.evaluation.shown.page import write_page

        write_page(comparison, out)
    if out is None or json:
        _render(comparison, None, json=json)
    else:
        print(f"open {out}")


def _numbered(found: list[Any]) -> list[tuple[int, Any]]:
    """Each candidate with how many before it have its name."""
    names = [one.name for one in found]
    return [(names[:i].count(one.name), one) for i, one in enumerate(found)]


def _probe(folder: Path | None, model: Any, *, force: bool) -> Any:
    if folder is None:
        return None
    from probes import ErrorProbe

    return ErrorProbe.load(folder, model=model, force=force)


def _written(comparison: Comparison, out: Path) -> None:
    from ellora_trust.cachedir import replacing
    from ellora_trust.evaluation.shown.page import write_page

    comparison.save(out / "comparison.json")
    write_page(comparison, out / "report.html")
    with replacing(out / "report.md") as beside:
        beside.write_text(comparison.to_markdown(), encoding="utf-8")


def _render(comparison: Comparison, out: Path | None, *, json: bool) -> None:
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.evaluation.shown.tables import noise_table, short_table

    if json:
        print_json(comparison.to_dict())
        return
    table = short_table(comparison)
    print_table(f"{comparison.model['name']}, suite {comparison.suite['name']}", table.columns, table.rows)
    if comparison.noise:
        floor = noise_table(comparison)
        print_table("The unchanged model, computed another way", floor.columns, floor.rows)
    print("\n".join(comparison.sentences()))
    if out is not None:
        print(f"\nNumbers: {out}/comparison.json; open {out}/report.html")
