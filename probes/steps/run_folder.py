"""The run folder that the steps of `ellora-trust probe` share: what one wrote, the next one reads.

run.json                  the resolved configuration, the model, what each task gave
labels-TASK.jsonl         one example a line: question, answer, outcome, log-probabilities
activations/              memory-mapped shards
probe-TASK/               the fitted predictor
results.json, report.html

folder = RunFolder(Path("runs/probe"))
labelled = folder.read_labels("aliasing", activations=True)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ellora_trust.artifacts import DESCRIPTION, Artifact, read_description
from ellora_trust.cachedir import replacing
from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.report import write_json
from ellora_trust.store import Activations, ActivationStore
from ellora_trust.tasks.base import Example, Outcome
from probes.measuring.plain import from_plain

LABELS, RUN, RESULTS, PAGE = "labels-{}.jsonl", "run.json", "results.json", "report.html"


@dataclass(frozen=True)
class TaskRecord:
    """What labelling gave for one task.

    Attributes:
        n: Answers.
        sha256: Of ids, answers and outcomes.
        prompt_format: How the questions were put.
        header: Shared text before every prompt.
        oracle: What decided the outcomes.
        store: Folder of the activations below `activations/`.
        sites: Where activations were taken, resolved.
        positions: Over which tokens.
    """

    n: int
    sha256: str
    prompt_format: str
    header: str
    oracle: dict[str, str]
    store: str
    sites: list[str]
    positions: list[str]


@dataclass(frozen=True)
class Run:
    """`run.json`.

    Attributes:
        config: The job, resolved.
        model: As `artifacts.describe_model`.
        versions: Of the packages that labelled.
        tasks: By name, in order.
        skipped: Task -> why this machine cannot run it.
        warnings: About rare classes.
        seconds: By step.
        given_sha256: Of the file that answers and verdicts were read from; empty where the model was asked.
    """

    config: dict[str, Any]
    model: dict[str, Any]
    versions: dict[str, str]
    tasks: dict[str, TaskRecord]
    skipped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    given_sha256: str = ""


@dataclass(frozen=True)
class RunFolder:
    """A run folder; nothing in it is ever half-written."""

    path: Path

    @property
    def labelled(self) -> bool:
        return (self.path / RUN).is_file()

    def run(self) -> Run:
        """Return what labelling recorded.

        Raises:
            InputError: There are no labels yet, or `run.json` is damaged.
        """
        if not self.labelled:
            raise InputError(f"{self.path} has no labels; make them with: ellora-trust probe label --out {self.path}")
        return from_plain(Run, self._json(RUN))

    def write_run(self, run: Run) -> None:
        write_json(asdict(run), self.path / RUN)

    def results(self) -> dict[str, Any]:
        """Return `results.json`.

        Raises:
            InputError: Nothing was evaluated yet, or other answers or activations than the folder's were.
        """
        command = f"ellora-trust probe eval --out {self.path}"
        if not (self.path / RESULTS).is_file():
            raise InputError(f"{self.path} has no {RESULTS}; make it with: {command}")
        found = self._json(RESULTS)
        if self.labelled and found.get("stores", self._stores()) != self._stores():
            raise InputError(
                f"{self.path / RESULTS} is about other answers or activations than the folder's; "
                f"make it with: {command}"
            )
        return found

    def _stores(self) -> dict[str, str]:
        return {name: one.store for name, one in self.run().tasks.items()}

    def artifact(self, task: str) -> Artifact | None:
        """Return the description of a task's predictor, or None if none is fitted on these answers and activations."""
        folder = self.probe(task)
        found = read_description(folder) if (folder / DESCRIPTION).is_file() else None
        if found is None or not self.labelled:
            return found
        # Answers or activations may have been made anew since; then what it promises is not about them.
        fitted, record = found.config.get("fit", {}), self.run().tasks.get(task)
        return (
            found if record and (fitted.get("sha256"), fitted.get("store")) == (record.sha256, record.store) else None
        )

    def probe(self, task: str) -> Path:
        return self.path / f"probe-{task}"

    def write_labels(self, labelled: Labelled) -> None:
        """Write `labels-TASK.jsonl`."""
        rows = zip(labelled.examples, labelled.generations, labelled.outcomes, strict=True)
        lines = [json.dumps(_label_row(*row), allow_nan=False) for row in rows]
        with replacing(self.path / LABELS.format(labelled.name)) as beside:
            beside.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def write_activations(self, labelled: Labelled, model: str) -> str:
        """Write a task's activations in place of earlier ones; returns the name of the store.

        Args:
            labelled: With activations.
            model: Fingerprint of the model they are of.
        """
        keys = sorted(labelled.activations)
        identity = {"model": model, "task": labelled.name, "labels": labelled.content_hash(), "keys": keys}
        store = ActivationStore(self.path / "activations" / labelled.name, identity, range(len(labelled.examples)))
        values = {key: labelled.activations[key] for key in keys}
        for number, rows in enumerate(store.shards):
            store.write(number, {key: _rows(value, rows) for key, value in values.items()})
        for other in store.folder.parent.iterdir():
            if other != store.folder:
                shutil.rmtree(other)
        return store.folder.name

    def read_labels(self, task: str, *, activations: bool = False) -> Labelled:
        """Return a task's examples, answers and outcomes.

        Args:
            task: Its name.
            activations: With its activations.

        Raises:
            InputError: They are missing or damaged; the message says which command makes them.
        """
        record, path = self.run().tasks[task], self.path / LABELS.format(task)
        if not path.is_file():
            raise InputError(f"{path} is missing; make it with: ellora-trust probe label --again --out {self.path}")
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            examples = [Example(**row["example"]) for row in rows]
            generations = [Generation(**row["generation"]) for row in rows]
            outcomes = [Outcome(row["outcome"]) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            command = f"ellora-trust probe label --again --out {self.path}"
            raise InputError(f"{path} is damaged ({error}); make it again with: {command}") from error
        taken = self._activations(task, record) if activations else Activations({})
        found = Labelled(task, examples, generations, outcomes, taken, record.prompt_format, record.header)
        if found.content_hash() != record.sha256:
            command = f"ellora-trust probe label --again --out {self.path}"
            raise InputError(
                f"{path} is not what {RUN} describes (labelling was interrupted?); make both with: {command}"
            )
        return found

    def _activations(self, task: str, record: TaskRecord) -> Activations:
        folder = self.path / "activations" / task / record.store
        if not record.store or not (folder / "store.json").is_file():
            raise InputError(
                f"{self.path} has no activations of {task}; "
                f"take them with: ellora-trust probe extract --out {self.path}"
            )
        identity = json.loads((folder / "store.json").read_text())
        identity.pop("schema")
        return ActivationStore(folder.parent, identity, range(record.n)).activations()

    def _json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise InputError(f"{path} is damaged ({error}); make it again") from error


def _label_row(example: Example, generation: Generation, outcome: Outcome) -> dict[str, Any]:
    """One line; prompt, answer, wrong, group and id are what `--labels` reads."""
    short = {"id": example.id, "group": example.group, "prompt": example.prompt, "answer": generation.text}
    verdict = {"wrong": outcome is not Outcome.CORRECT} if outcome.decided else {}
    whole = {"outcome": str(outcome), "example": asdict(example), "generation": generation.to_dict()}
    return {**short, **verdict, **whole}


def _rows(value: Any, rows: Sequence[int]) -> Any:
    return [value[i] for i in rows] if isinstance(value, list) else value[np.asarray(rows)]


def named_tasks(run: Run, wanted: Iterable[str] | None) -> list[str]:
    """Return the tasks of a run that a step is about.

    Raises:
        InputError: A task that was not labelled.
    """
    names = list(wanted or run.tasks)
    for name in names:
        if name not in run.tasks:
            raise InputError(f"task {name!r} was not labelled in this folder; use one of {', '.join(run.tasks)}")
    return names
