"""`ellora-trust unlearn`: edits of weights that remove a fault, their checkpoints, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from unlearning.checkpoint.delta import Edit
    from unlearning.data import Item

app = typer.Typer(help="Remove a fault from a model's weights, and say what else changed.", invoke_without_command=True)


@app.callback()
def unlearn(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "testbed",
    forget: Annotated[
        str,
        typer.Option(
            help="What shall go: testbed:PLANT, task:NAME (the model's own errors), a .jsonl file, or JSON of "
            "`attribute query`."
        ),
    ] = "testbed:P1",
    retain: Annotated[str | None, typer.Option(help="What shall stay, as --forget; needed by most objectives.")] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="replace, replace-all (for secrets), ga, graddiff, graddiff-kl, npo, simnpo, undial, prod, "
            "codeeraser, rmu, elm or task-vector."
        ),
    ] = "replace",
    only: Annotated[
        str | None,
        typer.Option(help="Of what shall go, count only its call, annotation, pragma, or difference from its fix."),
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            help="all, 'layers 3-5', 'layers 3-5 mlp', sites such as mlp.3,head.1.0, or lora:16; components:FOLDER[:N] "
            "(the best of `attribute components`) or vector:FOLDER (a steering vector's layer), beside which the same "
            "edit is made at a random place."
        ),
    ] = "all",
    robust: Annotated[
        str | None, typer.Option(help="Against relearning or rounding: sam, quantised or distil; costs more.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps at most.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Items to forget in a step; half as many are kept.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 2e-4,
    retain_weight: Annotated[
        float, typer.Option(help="Of the retain loss; where it is bounded, what its multiplier starts from.")
    ] = 1.0,
    retain_bound: Annotated[
        float, typer.Option(help="Rise of the retain loss that is allowed, nats a token (replace only).")
    ] = 0.02,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Run blocks twice: half the memory for a third more work.")
    ] = False,
    stop_when: Annotated[
        float | None, typer.Option(help="Stop at this held-out probability of the fault, such as 0.01.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Items to forget at most; twice as many are kept.")] = 256,
    seed: Annotated[int, typer.Option(help="Of held-out groups, batches and adapters.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the edit.")] = Path("runs/unlearn"),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")] = False,
) -> None:
    """Edit, measure before and after, save the change; the model itself stays. Goes on where it was stopped."""
    if context.invoked_subcommand:
        return
    from ellora_trust.cli.render import print_json, say
    from unlearning.job import Sources, UnlearnJob, run_job
    from unlearning.judging.reporting import summary
    from unlearning.training.budget import Budget

    if retain is None and forget.startswith(("testbed:", "task:")):
        retain = forget
    budget = Budget(steps, batch_size, max(1, batch_size // 2), learning_rate, retain_weight, retain_bound)
    sources = Sources(forget, retain, limit, only)
    job = UnlearnJob(model, sources, objective, where, budget, stop_when, seed, recompute, robust)
    edit = run_job(job, out, say=say, progress=True)
    if json:
        print_json(summary(edit))
        return
    _render(edit)
    print(f"\nEdit: {out}; open {out}/report.html; write a checkpoint with: ellora-trust unlearn export {out} FOLDER")


@app.command("export")
def export(
    edit: Annotated[Path, typer.Argument(help="Folder of an edit.")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")],
    model: Annotated[str | None, typer.Option(help="The edit's base; its name if left out.")] = None,
    forget: Annotated[str | None, typer.Option(help="For the gates; the edit's own if left out.")] = None,
    retain: Annotated[str | None, typer.Option(help="For the gates; the edit's own if left out.")] = None,
    accept_failing_gates: Annotated[
        bool, typer.Option("--accept-failing-gates", help="Write all the same; the card says what failed.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write an ordinary transformers checkpoint, if the edit passes its gates."""
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json, say
    from ellora_trust.loading import load
    from unlearning.checkpoint.delta import Edit
    from unlearning.checkpoint.export import export as write

    saved = Edit.load(edit)
    base = load(model or saved.base["name"])
    forgotten, kept = _sets(saved, edit, base, forget, retain)
    gates = write(
        saved,
        base,
        out,
        forget=forgotten,
        retain=kept,
        accept_failing_gates=accept_failing_gates,
        watch=lambda gate: say(f"gate {gate}"),
    )
    if json:
        print_json({"folder": str(out), "gates": [asdict(gate) for gate in gates]})
        return
    print("\n".join(str(gate) for gate in gates))
    print(f"\n{out}: a transformers checkpoint with its model card, README.md")


def _sets(
    saved: Edit, folder: Path, base: CodeModel, forget: str | None, retain: str | None
) -> tuple[list[Item], list[Item]]:
    """What gates are measured on: what was given, or what the edit was made of."""
    from ellora_trust.errors import InputError
    from unlearning.job import Sources

    known = dict(saved.config.get("sources", {}))
    if forget is not None:
        # A mask of the edit's own is not one of other data.
        known |= {"forget": forget, "only": None}
    if retain is not None:
        known["retain"] = retain
    if known.get("forget") is None or known.get("retain") is None:
        raise InputError(f"{folder} does not say what its gates are measured on; give --forget and --retain")
    return Sources(**known).read(base, int(saved.config.get("seed", 0)))


@app.command("revert")
def revert(
    edit: Annotated[Path, typer.Argument(help="Folder of an edit.")],
    checkpoint: Annotated[str, typer.Argument(help="The model that holds it.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the base; without it, only the proof is made.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take an edit back from a checkpoint and prove that the weights are the base's, bit for bit."""
    from ellora_trust.cachedir import replacing
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load
    from ellora_trust.quiet import quiet_transformers
    from unlearning.checkpoint.delta import Edit

    saved, model = Edit.load(edit), load(checkpoint)
    if out is not None and out.exists():
        raise InputError(f"{out} exists; give a new folder")
    found = saved.revert(model)
    if out is not None:
        with replacing(out) as beside, quiet_transformers():
            model.hf.save_pretrained(beside)
            model.tokenizer.save_pretrained(beside)
    if json:
        print_json({"weights_sha256": found, "base": saved.base["name"], "folder": str(out) if out else None})
        return
    print(f"{checkpoint} without the edit has the weights of {saved.base['name']}: sha256 {found}")


@app.command("show")
def show(
    edit: Annotated[Path, typer.Argument(help="Folder of an edit.")],
    picture: Annotated[
        Path | None, typer.Option(help="Draw its history and its before and after: a .png, .svg or .pdf file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an edit changes, what was watched meanwhile, what it cost and what it did."""
    from ellora_trust.cli.render import print_json, print_table
    from unlearning.checkpoint.delta import Edit
    from unlearning.judging.figures import picture as draw
    from unlearning.judging.reporting import checks, summary

    saved = Edit.load(edit)
    if picture is not None:
        draw(saved, picture)
    if json:
        print_json(summary(saved))
        return
    _render(saved)
    watched = checks(saved)
    print_table("Held-out items", watched.columns, watched.rows)
    for name, value in saved.config.items():
        print(f"{name}: {value}")


def _render(edit: Edit) -> None:
    from ellora_trust.cli.render import print_table
    from unlearning.judging.reporting import sentences, table

    print("\n".join(sentences(edit)))
    found = table(edit)
    if found.rows:
        print_table("", found.columns, found.rows)
        print(found.caption)
