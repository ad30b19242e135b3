"""`ellora-trust probe label`, `extract`, `fit`, `eval`, `report`: the steps of `probe`, each alone.

A step reads what the former wrote in the run folder, and does nothing twice unless asked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ellora_trust.cli import probe_options as options

if TYPE_CHECKING:
    from ellora_trust.share import Share
    from probes.measuring.result import Evaluation
    from probes.steps.run_folder import Run


def label(
    model: options.Model = "smollm2",
    task: options.Tasks = None,
    source: options.Source = None,
    labels: options.Labels = None,
    limit: options.Limit = 600,
    seed: options.Seed = 0,
    unsafe: options.Unsafe = False,
    format: options.Format = "auto",
    dtype: options.Dtype = None,
    device: options.Device = None,
    only_prompt: options.OnlyPrompt = False,
    samples: options.Samples = 1,
    temperature: options.Temperatures = None,
    out: options.Out = Path("runs/probe"),
    shard: options.Shard = None,
    again: options.Again = False,
    json: options.Json = False,
) -> None:
    """Answer each question, decide the outcome, and keep both with the activations in the run folder."""
    from ellora_trust.cachedir import made
    from ellora_trust.cli.render import say
    from ellora_trust.share import Share
    from probes.steps import label_share, label_step
    from probes.steps.run_folder import RunFolder

    put = (unsafe, format, dtype, device, only_prompt, samples, temperature)
    asked = options.Asked(model, task, source, labels, limit, seed, *put)
    share = Share.parse(shard)
    if share.of > 1:
        label_share(options.job_of(asked), share, say=say, progress=True)
        _print_share(share, json)
        return
    run = label_step(options.job_of(asked), RunFolder(made(out)), again=again, say=say, progress=True)
    _print_run(run, out, json)


def extract(
    site: Annotated[list[str] | None, typer.Option(help="Such as mlp.*; may be given several times.")] = None,
    position: Annotated[list[str] | None, typer.Option(help="Such as answer.max; may be given several times.")] = None,
    shard: options.Shard = None,
    out: options.Out = Path("runs/probe"),
    again: options.Again = False,
    json: options.Json = False,
) -> None:
    """Take activations of the folder's answers at other sites and positions; nothing is generated again."""
    from ellora_trust.cli.render import say
    from ellora_trust.share import Share
    from probes.steps import extract_share, extract_step
    from probes.steps.run_folder import RunFolder

    share = Share.parse(shard)
    if share.of > 1:
        extract_share(RunFolder(out), share, sites=site, positions=position, progress=True)
        _print_share(share, json)
        return
    run = extract_step(RunFolder(out), sites=site, positions=position, again=again, say=say, progress=True)
    _print_run(run, out, json)


def fit(
    task: options.Tasks = None,
    calibration: options.Calibration = "platt",
    certify: options.Certify = None,
    out: options.Out = Path("runs/probe"),
    again: options.Again = False,
    json: options.Json = False,
) -> None:
    """Fit one predictor a task; --certify keeps a third of the groups aside and states what holds for new answers."""
    from ellora_trust.cli.render import print_json, say
    from probes.steps import fit_step, stored_job
    from probes.steps.run_folder import RunFolder

    folder = RunFolder(out)
    job = stored_job(folder)
    job = replace(job, fitting=options.fitting_of(calibration, job.fitting.risk, certify))
    found = fit_step(folder, job, tasks=task, again=again, say=say)
    if json:
        print_json({"out": str(out), "predictors": {name: one.to_dict() for name, one in found.items()}})
        return
    for name, one in found.items():
        print(f"{folder.probe(name)} {one.sentence()}")


def evaluate(
    permutations: options.Permutations = 60,
    calibration: options.Calibration = "platt",
    risk: options.Risk = 0.1,
    opinion: options.Opinion = None,
    out: options.Out = Path("runs/probe"),
    again: options.Again = False,
    json: options.Json = False,
) -> None:
    """Say how well errors are predicted, against baselines and controls; writes results.json."""
    from ellora_trust.cli.render import print_json, say
    from probes.steps import eval_step, stored_job
    from probes.steps.run_folder import RunFolder

    folder = RunFolder(out)
    job = stored_job(folder)
    fitting = options.fitting_of(calibration, risk, job.fitting.certify)
    asked = replace(job, permutations=permutations, fitting=fitting, opinion=opinion or job.opinion)
    found = eval_step(folder, asked, again=again, say=say)
    if json:
        print_json({"out": str(out), "tasks": [one.to_dict() for one in found]})
        return
    for one in found:
        print_evaluation(one)


def report(out: options.Out = Path("runs/probe"), json: options.Json = False) -> None:
    """Write report.html from results.json; loads no model."""
    from ellora_trust.cli.render import print_json
    from probes.steps import report_step
    from probes.steps.run_folder import RunFolder

    path = report_step(RunFolder(out))
    if json:
        print_json({"report": str(path)})
        return
    print(path)


def print_evaluation(found: Evaluation) -> None:
    """Print one task's tables and sentences."""
    from ellora_trust.cli.render import print_table
    from probes.reporting.report import auroc_table, detail_table, kept_table, selective_table, summary

    print(f"\n{found.task}: {summary(found)}")
    tables = [auroc_table(found), detail_table(found)]
    if found.checks is not None:
        tables += [selective_table(found.checks), kept_table(found.checks)]
    for table in tables:
        print_table("", table.columns, table.rows)
    for sentence in found.sentences():
        print(sentence)


def _print_share(share: Share, json: bool) -> None:
    from ellora_trust.cli.render import print_json

    if json:
        print_json({"share": share.name, "joined": False})
        return
    print(f"share {share.name} is done; when all are, run the same command once alone: it joins them")


def _print_run(run: Run, out: Path, json: bool) -> None:
    from dataclasses import asdict

    from ellora_trust.cli.render import print_json

    if json:
        print_json({"out": str(out), **asdict(run)})
        return
    for name, record in run.tasks.items():
        where = f"{len(record.sites)} sites at {', '.join(record.positions)}"
        print(f"{out}/labels-{name}.jsonl: {record.n} answers; activations of {where}")
    for name, reason in run.skipped.items():
        print(f"{name}: skipped, {reason}")
