"""`Explanation`: one case with everything that was found about it; it saves itself as a folder.

explanation.page()                       # a Report
explanation.save(Path("runs/explain"))   # report.html, results.json, and what an edit would read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.explaining.editing import EditPlan
from ellora_trust.explaining.mending import Trial
from ellora_trust.explaining.said import AnswerSpan, Said
from ellora_trust.explaining.tasks import NamedTask

if TYPE_CHECKING:
    from attribution.asking import Asked
    from attribution.inside.job import Located
    from attribution.prompt.job import Explained
    from ellora_trust.report import Report


@dataclass(frozen=True)
class Explanation:
    """One case.

    Attributes:
        model: Name of the model.
        fingerprint: Of the model.
        said: Prompt, answer and risks.
        risky: What the predictor likes least; the whole answer without one.
        about: What was asked about: where the foil departs, else the risky span.
        foil: What it did not say.
        words: What the words before `about` did for it.
        components: Heads and MLPs that carry it; None where no pair of prompts can be made.
        pair: Which pair, or why there is none.
        documents: Training documents behind it; None without an index.
        edit: What an edit would forget and keep, by which objective; None without an index.
        trials: Steering vectors tried.
        task: Which task the model takes the prompt for; None without task vectors.
        seconds: Step to wall-clock and processor seconds.
        settings: Of the run.
    """

    model: str
    fingerprint: str
    said: Said
    risky: AnswerSpan
    about: AnswerSpan
    foil: str | None
    words: Explained
    components: Located | None
    pair: str
    documents: Asked | None = None
    edit: EditPlan | None = None
    trials: tuple[Trial, ...] = ()
    task: NamedTask | None = None
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_seconds(self) -> tuple[float, float]:
        """Wall-clock and processor seconds of all steps."""
        wall, processor = zip(*self.seconds.values(), strict=True)
        return sum(wall), sum(processor)

    def unlearning(self, folder: Path | str = "FOLDER") -> tuple[str, str]:
        """Return a sentence on what an edit would target, and the command; the command is empty where there is none."""
        if self.edit is None:
            return "No index was given, so no documents are known; make one with ellora-trust attribute index.", ""
        return self.edit.sentence, self.edit.command(self.model, folder)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        sentence, command = self.unlearning()
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            **self.said.to_dict(),
            "foil": self.foil,
            "risky": self.risky.to_dict(),
            "about": self.about.to_dict(),
            "words": self.words.to_dict(),
            "pair": self.pair,
            "components": self.components.to_dict() if self.components else None,
            "documents": self.documents.to_dict() if self.documents else None,
            "task": self.task.to_dict() if self.task else None,
            "steering": [trial.to_dict() for trial in self.trials],
            "unlearning": {
                "sentence": sentence,
                "command": command,
                "objective": self.edit.objective if self.edit and command else None,
            },
            "seconds": {name: {"wall": w, "processor": p} for name, (w, p) in self.seconds.items()},
            "settings": dict(self.settings),
        }

    def page(self, folder: Path | str = "FOLDER") -> Report:
        """Return the page."""
        from ellora_trust.explaining.page import page

        return page(self, folder)

    def save(self, folder: str | Path) -> None:
        """Write report.html, results.json and, with an index, what an edit would forget and keep.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        from ellora_trust.cachedir import explained
        from ellora_trust.report import write_html, write_json

        out = Path(folder)
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
        if self.edit is not None:
            self.edit.save(out)
        write_json(self.to_dict(), out / "results.json")
        write_html(self.page(out), out / "report.html")
