"""`ellora-trust probe`: how well a model's errors can be predicted from its activations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ellora_trust.cli import probe_compare, probe_plan, probe_recalibrate, probe_steps
from ellora_trust.cli import probe_options as options

if TYPE_CHECKING:
    from probes.steps import JobResult

app = typer.Typer(help="Predict a model's errors from its activations, and say how well.", invoke_without_command=True)
app.command("label")(probe_steps.label)
app.command("extract")(probe_steps.extract)
app.command("fit")(probe_steps.fit)
app.command("eval")(probe_steps.evaluate)
app.command("report")(probe_steps.report)
app.command("recalibrate")(probe_recalibrate.recalibrate)
app.command("plan")(probe_plan.plan)
app.command("transfer")(probe_compare.transfer)
app.command("readouts")(probe_compare.readouts)
app.command("rate")(probe_compare.rate)


@app.callback()
def probe(
    context: typer.Context,
    model: options.Model = "smollm2",
    task: options.Tasks = None,
    source: options.Source = None,
    labels: options.Labels = None,
    limit: options.Limit = 600,
    seed: options.Seed = 0,
    permutations: options.Permutations = 60,
    unsafe: options.Unsafe = False,
    format: options.Format = "auto",
    dtype: options.Dtype = None,
    device: options.Device = None,
    only_prompt: options.OnlyPrompt = False,
    samples: options.Samples = 1,
    temperature: options.Temperatures = None,
    opinion: options.Opinion = None,
    calibration: options.Calibration = "platt",
    risk: options.Risk = 0.1,
    certify: options.Certify = None,
    out: options.Out = Path("runs/probe"),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")] = False,
) -> None:
    """Label, capture, fit, evaluate, save: one predictor a task, results.json and report.html in the run folder."""
    if context.invoked_subcommand:
        return
    from ellora_trust.cachedir import made
    from ellora_trust.cli.render import print_json, say
    from probes.steps import run_job

    put = (unsafe, format, dtype, device, only_prompt, samples, temperature)
    asked = options.Asked(model, task, source, labels, limit, seed, *put)
    fitting = {"calibration": calibration, "risk": risk, "certify": certify}
    job = options.job_of(asked, permutations=permutations, opinion=opinion, **fitting)
    result = run_job(job, made(out), say=say, progress=True)
    if json:
        fitted = {name: one.sentence() for name, one in result.fitted.items()}
        tasks = [found.to_dict() for found in result.evaluations]
        print_json({"out": str(out), "skipped": result.skipped, "predictors": fitted, "tasks": tasks})
        return
    _render(result, out)


def _render(result: JobResult, out: Path) -> None:
    from ellora_trust.cli.probe_steps import print_evaluation

    for found in result.evaluations:
        print_evaluation(found)
        print(f"Its predictor {result.fitted[found.task].sentence()}")
    for name, reason in result.skipped.items():
        print(f"{name}: skipped, {reason}")
    seconds = sum(result.seconds.values())
    print(
        f"\n{seconds:.0f} s in all. Predictors: {out}/probe-TASK; numbers: {out}/results.json; open {out}/report.html"
    )
