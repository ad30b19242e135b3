"""`Explanation`: one case with everything that was found about it; it saves itself as a folder.

explanation.page()                       # a Report
explanation.save(Path("runs/explain"))   # report.html, results.json, and what an edit would read
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.explaining.mending import Trial, documents_to_forget
from ellora_trust.explaining.said import AnswerSpan, Said

if TYPE_CHECKING:
    from attribution.asking import Asked
    from attribution.components_job import Located
    from attribution.tokens_job import Explained
    from ellora_trust.report import Report

FORGET, RETAIN = "forget.json", "retain.json"


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
        sets: What an edit would forget and keep, as `ellora-trust unlearn` reads it; None without an index.
        trials: Steering vectors tried.
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
    sets: Mapping[str, Any] | None = None
    trials: tuple[Trial, ...] = ()
    seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_seconds(self) -> tuple[float, float]:
        """Wall-clock and processor seconds of all steps."""
        wall, processor = zip(*self.seconds.values(), strict=True)
        return sum(wall), sum(processor)

    def unlearning(self, folder: Path | str = "FOLDER") -> tuple[str, str]:
        """Return a sentence on what an edit would target, and the command; the command is empty where there is none."""
        if self.documents is None:
            return "No index was given, so no documents are known; make one with ellora-trust attribute index.", ""
        chosen = documents_to_forget(self.documents)
        if not chosen:
            return "None of the documents found is a source of the answer, so an edit would have no target.", ""
        names = ", ".join(self.documents.hits[n].document for n in chosen)
        command = (
            f"ellora-trust unlearn --model {self.model} --forget {folder}/{FORGET} --retain {folder}/{RETAIN} "
            f"--objective npo --out {folder}/edit"
        )
        n = len(chosen)
        said = f"An edit would forget {n} document{'s' if n > 1 else ''}: {names}. What it keeps is a random draw."
        return said, command

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
            "steering": [trial.to_dict() for trial in self.trials],
            "unlearning": {"sentence": sentence, "command": command},
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
        if self.sets is not None and self.sets["forget"]["hits"]:
            write_json(self.sets["forget"], out / FORGET)
            write_json(self.sets["retain"], out / RETAIN)
        write_json(self.to_dict(), out / "results.json")
        write_html(self.page(out), out / "report.html")
