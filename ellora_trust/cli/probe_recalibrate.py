"""`ellora-trust probe recalibrate`: a predictor for a fine-tuned or quantised model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ellora_trust.cli import probe_options as options


def recalibrate(
    probe: Annotated[Path, typer.Argument(help="The fitted predictor's folder.")],
    model: Annotated[str, typer.Option(help="The new model: hub id, folder or .gguf file.")],
    task: Annotated[str | None, typer.Option(help="Questions; the predictor's own task, if left out.")] = None,
    labels: options.Labels = None,
    source: options.Source = None,
    limit: options.Limit = 600,
    seed: Annotated[int, typer.Option(help="Of the choice of questions; 1 differs from what fitting takes.")] = 1,
    calibration: options.Calibration = "platt",
    dtype: options.Dtype = None,
    device: options.Device = None,
    out: Annotated[Path, typer.Option(help="Folder of the new predictor.")] = Path("runs/recalibrated"),
    json: options.Json = False,
) -> None:
    """Keep the direction, fit the calibration on a new model's answers, and say what was lost."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.loading import load
    from probes.error_probe import ErrorProbe
    from probes.steps.job import ProbeJob
    from probes.steps.recalibration import label_for, recalibrate, save_recalibrated

    fitted = ErrorProbe.load(probe)
    asked = (task or str(fitted.artifact_.data.get("task")),)
    fitting = options.fitting_of(calibration, 0.1, None)
    job = ProbeJob(model, asked, limit, seed, _text(source), _text(labels), fitting=fitting)
    questions = job.sets()[0]
    loaded = load(model, dtype=dtype, device=device)
    labelled = label_for(fitted, loaded, questions, limit=limit, seed=seed, progress=True)
    found = recalibrate(fitted, labelled, method=job.fitting.calibration)
    save_recalibrated(found, out, model=loaded, labelled=labelled)
    if json:
        print_json({"out": str(out), **found.to_dict()})
        return
    print("\n".join([*found.sentences(), f"The new predictor is in {out}"]))


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
