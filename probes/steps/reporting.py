"""`probe report`: `report.html` from what the folder holds; no model is loaded.

report_step(folder)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.report import Report, write_html
from probes.guarantee.certificate import Certificate
from probes.measuring.result import Evaluation
from probes.reporting.report import section
from probes.steps.run_folder import LABELS, PAGE, RunFolder


def report_step(folder: RunFolder) -> Path:
    """Write `report.html` from `results.json`, and from labels and predictors where they are; returns its path.

    Args:
        folder: Evaluated.

    Raises:
        InputError: Nothing was evaluated, or other answers than the folder's were.
    """
    raw = folder.results()
    results = [Evaluation.from_dict(one) for one in raw["tasks"]]
    sections = [section(one, _labels(folder, one.task), _certificate(folder, one.task)) for one in results]
    lead = f"How well the errors of {raw['model']['name']} can be predicted from its activations."
    path = folder.path / PAGE
    write_html(Report("Error prediction", lead, sections, _provenance(raw)), path)
    return path


def _labels(folder: RunFolder, task: str) -> Labelled | None:
    there = folder.labelled and (folder.path / LABELS.format(task)).is_file()
    return folder.read_labels(task) if there else None


def _certificate(folder: RunFolder, task: str) -> Certificate | None:
    artifact = folder.artifact(task)
    raw = artifact.config.get("certificate") if artifact else None
    return Certificate.from_dict(raw) if raw else None


def _provenance(raw: dict[str, Any]) -> dict[str, str]:
    try:
        model = raw["model"]
        return {
            "model": f"{model['name']} ({model['dtype']})",
            "fingerprint": model["fingerprint"],
            **{f"{name}: {what}": text for name, one in raw["oracles"].items() for what, text in one.items()},
            **{f"{name}: skipped": reason for name, reason in raw["skipped"].items()},
            **{
                name: str(value)
                for name, value in _flat(raw["config"]).items()
                if name != "model" and value is not None
            },
            **raw["versions"],
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"results.json lacks {error}; make it again with: ellora-trust probe eval --again") from error


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    nested = [_flat(value) if isinstance(value, Mapping) else {name: value} for name, value in config.items()]
    return {name: value for one in nested for name, value in one.items()}
