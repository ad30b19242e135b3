"""`ellora-trust unlearn`: edits of weights that remove a fault, their checkpoints, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unlearning.delta import Edit

app = typer.Typer(help="Remove a fault from a model's weights, and say what else changed.", invoke_without_command=True)


@app.callback()
def unlearn(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "testbed",
    forget: Annotated[
        str, typer.Option(help="What shall go: testbed:PLANT, a .jsonl file, or JSON of `attribute query`.")
    ] = "testbed:P1",
    retain: Annotated[str | None, typer.Option(help="What shall stay, as --forget; needed by most objectives.")] = None,
    objective: Annotated[
        str, typer.Option(help="replace, ga, graddiff, graddiff-kl, npo, simnpo, undial, prod, codeeraser or rmu.")
    ] = "replace",
    where: Annotated[
        str, typer.Option(help="all, 'layers 3-5', 'layers 3-5 mlp', sites such as mlp.3,head.1.0, or lora:16.")
    ] = "all",
    steps: Annotated[int, typer.Option(help="Optimizer steps at most.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Items to forget in a step; half as many are kept.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 2e-4,
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
    from unlearning.budget import Budget
    from unlearning.job import UnlearnJob, run_job, summary

    if retain is None and forget.startswith("testbed:"):
        retain = forget
    budget = Budget(steps, batch_size, max(1, batch_size // 2), learning_rate)
    job = UnlearnJob(model, forget, retain, objective, where, budget, stop_when, seed, limit)
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

    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load
    from unlearning.data import read_forget, read_retain
    from unlearning.delta import Edit
    from unlearning.export import export as write

    saved = Edit.load(edit)
    sources = saved.config.get("sources", {})
    forgotten, kept = forget or sources.get("forget"), retain or sources.get("retain")
    if forgotten is None or kept is None:
        raise InputError(f"{edit} does not say what its gates are measured on; give --forget and --retain")
    limit, seed = int(sources.get("limit", 256)), int(saved.config.get("seed", 0))
    gates = write(
        saved,
        load(model or saved.base["name"]),
        out,
        forget=read_forget(forgotten, limit=limit, seed=seed),
        retain=read_retain(kept, limit=2 * limit, seed=seed),
        accept_failing_gates=accept_failing_gates,
    )
    if json:
        print_json({"folder": str(out), "gates": [asdict(gate) for gate in gates]})
        return
    print("\n".join(str(gate) for gate in gates))
    print(f"\n{out}: a transformers checkpoint with its model card, README.md")


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
    from unlearning.delta import Edit

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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what an edit changes, what it cost and what it did."""
    from ellora_trust.cli.render import print_json
    from unlearning.delta import Edit
    from unlearning.job import summary

    saved = Edit.load(edit)
    print_json(summary(saved)) if json else _render(saved)


def _render(edit: Edit) -> None:
    from ellora_trust.cli.render import print_table
    from unlearning.job import COLUMNS, table

    config = edit.config
    print(
        f"{edit.base['name']}: {config['objective']} on {config['where']}, {config['steps']} steps, ended by "
        f"{config['stopped']}; {edit.n_changed:,} weights changed"
    )
    first, last = edit.history[0], edit.history[-1]
    print(
        f"held out: probability of the fault {first['forget']:.4f} -> {last['forget']:.4f}, loss on what stays "
        f"{last['retain']:+.4f} nats"
    )
    if edit.receipt:
        parts = [f"{edit.receipt[key]:.2f}x {key.replace('_', ' ')}" for key in ("flops", "wall", "peak_memory")]
        print(f"a step cost {', '.join(parts)} of a plain fine-tuning step")
    if rows := table(edit):
        print_table("", COLUMNS, rows)
