"""`ellora-trust probe`: how well a model's errors can be predicted from its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Predict a model's errors from its activations, and say how well.", invoke_without_command=True)


@app.callback()
def probe(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="Built-in name, hub id, folder or .gguf file.")] = "smollm2",
    task: Annotated[list[str] | None, typer.Option(help="Task; may be given several times.")] = None,
    source: Annotated[Path | None, typer.Option(help="Your own code or file, for tasks that read one.")] = None,
    labels: Annotated[Path | None, typer.Option(help="JSONL with prompt, answer, wrong instead of a task.")] = None,
    limit: Annotated[int, typer.Option(help="Examples of each task.")] = 600,
    seed: Annotated[int, typer.Option(help="Of examples, folds and permutations.")] = 0,
    permutations: Annotated[int, typer.Option(help="Label permutations of the control.")] = 60,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-isolation", help="Run what the model writes WITHOUT a sandbox.")
    ] = False,
    format: Annotated[str, typer.Option(help="auto, fim, chat or plain.")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, ...")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...")] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/probe"),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")] = False,
) -> None:
    """Label, capture, fit, evaluate, save: one predictor a task, results.json and report.html in the run folder."""
    if context.invoked_subcommand:
        return
    from ellora_trust.cli.render import print_json, say
    from probes.job import ProbeJob, run_job

    if unsafe:
        say("WARNING: --unsafe-no-isolation: what the model writes runs with your rights; the results say so")
    job = ProbeJob(
        model=model,
        tasks=tuple(task or ("types", "aliasing")),
        limit=limit,
        seed=seed,
        source=str(source) if source else None,
        labels=str(labels) if labels else None,
        permutations=permutations,
        unsafe=unsafe,
        format=format,
        dtype=dtype,
        device=device,
    )
    result = run_job(job, out, say=say, progress=True)
    if json:
        print_json(
            {"out": str(out), "skipped": result.skipped, "tasks": [found.to_dict() for found in result.evaluations]}
        )
        return
    _render(result, out)


def _render(result: object, out: Path) -> None:
    from ellora_trust.cli.render import print_table
    from probes.job import JobResult
    from probes.report import auroc_table, detail_table, summary

    assert isinstance(result, JobResult)
    for found in result.evaluations:
        table, detail = auroc_table(found), detail_table(found)
        print(f"\n{found.task}: {summary(found)}")
        print_table("", table.columns, table.rows)
        print_table("", detail.columns, detail.rows)
        for sentence in found.sentences():
            print(sentence)
    for name, reason in result.skipped.items():
        print(f"{name}: skipped, {reason}")
    seconds = sum(result.seconds.values())
    print(
        f"\n{seconds:.0f} s in all. Predictors: {out}/probe-TASK; numbers: {out}/results.json; open {out}/report.html"
    )


@app.command()
def plan(
    base_rate: Annotated[float, typer.Option(help="Share of wrong answers you expect, (0, 1).")],
    half_width: Annotated[float, typer.Option(help="Half of the AUROC interval you want.")] = 0.03,
    auroc: Annotated[float, typer.Option(help="AUROC you expect.")] = 0.75,
    per_group: Annotated[float, typer.Option(help="Examples a group.")] = 1.0,
    correlation: Annotated[float, typer.Option(help="Correlation of outcomes in a group, [0, 1].")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how many examples give an AUROC interval of a wanted width."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.stats import sample_size_for_auroc

    if per_group < 1 or not 0 <= correlation <= 1:
        raise InputError(f"per-group {per_group} and correlation {correlation} given; use >= 1 and 0..1")
    design_effect = 1 + (per_group - 1) * correlation
    n = sample_size_for_auroc(half_width, base_rate, auroc, design_effect=design_effect)
    if json:
        print_json({"n": n, "base_rate": base_rate, "half_width": half_width, "auroc": auroc})
        return
    print(
        f"{n} examples give an AUROC of about {auroc} an interval of +-{half_width} at a base rate of {base_rate} "
        f"(Hanley & McNeil 1982; design effect {design_effect:g})"
    )
