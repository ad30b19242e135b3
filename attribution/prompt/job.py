"""The job of `ellora-trust attribute tokens`: an answer, what its prompt's units did for it, and whether that is so.

explained = explain_tokens(model, prompt, method="shapley", curves=True)
write_html(explained.page(), Path("runs/tokens.html"))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attribution.prompt.erasure import PromptErasure, erase_one
from attribution.prompt.units import By
from attribution.prompt.views import caption, highlight
from attribution.tokens import Method, TokenAttribution, attribute_tokens
from ellora_trust.artifacts import versions
from ellora_trust.errors import InputError
from ellora_trust.report import Block, Figure, Report, Section, Table
from ellora_trust.spans import Language

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# White space, then what follows it on the first line that has text.
_FIRST_LINE = re.compile(r"\s*\S[^\n]*")
_CURVES = "Dotted: median of random orders of the same units, bars their middle 90 %. Means over shares: "


@dataclass(frozen=True)
class Explained:
    """A prompt's scores with what readers need to judge them.

    Attributes:
        result: Scores of the units.
        curves: What leaving units out does, if asked for.
        own: Whether the answer is the model's own.
        model: Name of the model.
        fingerprint: Of the model.
        settings: Of the run, for the page's end.
    """

    result: TokenAttribution
    curves: PromptErasure | None
    own: bool
    model: str
    fingerprint: str
    settings: dict[str, str]

    def strongest(self, n: int = 10) -> Table:
        """Return the n units with the largest scores, for or against, as a block of the report."""
        chosen = sorted(self.result.units, key=lambda unit: (-abs(unit.score), unit.start))[:n]
        line = self.result.prompt.count
        rows = [
            [
                _one_line(u.name),
                u.kind,
                str(1 + line("\n", 0, u.start + _indent(self.result, u.start))),
                f"{u.score:+.3f}",
            ]
            for u in chosen
        ]
        return Table(["unit", "kind", "line", "score (nats)"], rows, caption(self.result))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        curves = self.curves.to_dict() if self.curves else None
        who = {"model": self.model, "fingerprint": self.fingerprint}
        return {**who, **self.result.to_dict(), "own_answer": self.own, "curves": curves, "settings": self.settings}

    def page(self) -> Report:
        """Return the page: the prompt coloured by score, the strongest units, and the curves if there are any."""
        foil = f" rather than {self.result.foil.strip()!r}" if self.result.foil else ""
        by = f"{self.model} itself answers" if self.own else f"{self.model} is given"
        lead = f"What in the prompt speaks for {self.result.answer.strip()!r}{foil}; {by} it."
        sections = [
            Section("Prompt", [highlight(self.result)]),
            Section("Strongest units", [replace(self.strongest(20), caption="")]),
        ]
        if self.curves:
            blocks: list[Block] = [
                Figure(curves_figure(self.curves), _CURVES + self.curves.sentence() + "."),
                curves_table(self.curves),
            ]
            sections.append(Section("Is the ranking right about the model?", blocks))
        provenance = {"model": self.model, "fingerprint": self.fingerprint, **self.settings, **versions()}
        return Report("Prompt words behind an answer", lead, sections, provenance)


def _indent(result: TokenAttribution, start: int) -> int:
    """White space at the beginning of a unit: its line is that of its text."""
    rest = result.prompt[start:]
    return len(rest) - len(rest.lstrip())


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(white space)"


def explain_tokens(
    model: CodeModel,
    prompt: str,
    answer: str | None = None,
    *,
    foil: str | None = None,
    method: Method = "shapley",
    language: Language = "python",
    by: By = "identifier",
    steps: int = 64,
    samples: int = 16,
    curves: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Explained:
    """Score a prompt's units for an answer.

    Args:
        model: The model.
        prompt: The text before the answer.
        answer: What is explained; the model's own greedy answer, up to the end of its first line with text, if None.
        foil: Another answer to compare with.
        method: As for `attribute_tokens`, and so are language, by, steps and samples.
        language: Of the prompt.
        by: How finely the prompt is divided.
        steps: Of integrated gradients.
        samples: Orders of Shapley values.
        curves: Whether to leave out and keep the first units, beside random orders.
        seed: Of everything drawn.
        progress: Show a progress bar.

    Raises:
        InputError: As `attribute_tokens`, or the model answers with nothing.
    """
    said = own_answer(model, prompt) if answer is None else answer
    how: dict[str, Any] = {"method": method, "language": language, "by": by, "steps": steps, "samples": samples}
    result = attribute_tokens(model, prompt, said, foil=foil, seed=seed, progress=progress, **how)
    found = erase_one(model, result, seed=seed) if curves else None
    settings = {name: str(value) for name, value in {**how, "seed": seed}.items()}
    return Explained(result, found, answer is None, model.name, model.fingerprint, settings)


def own_answer(model: CodeModel, prompt: str, *, max_new_tokens: int = 24) -> str:
    """Return the model's greedy answer up to the end of its first line with text.

    Raises:
        InputError: It has no text.
    """
    (said,) = model.generate([prompt], max_new_tokens=max_new_tokens)
    found = _FIRST_LINE.match(said.text)
    if found is None:
        raise InputError(f"{model.name} answers {said.text!r}, which has no text to explain; give an answer")
    return found.group()


def curves_table(curves: PromptErasure) -> Table:
    """Return the losses at each share, with the mean of the random orders in parentheses."""
    rows = []
    for number, share in enumerate(curves.shares):
        columns: Sequence[tuple[Any, Any]] = ((curves.taken, curves.random_taken), (curves.kept, curves.random_kept))
        cells = [f"{mine[number]:.2f} ({random[:, number].mean():.2f})" for mine, random in columns]
        rows.append([f"{share:.0%}", *cells])
    caption = f"Loss in nats; in parentheses the mean of {len(curves.random_taken)} random orders of the same units."
    return Table(["first units", "left out", "only they kept"], rows, caption)


def curves_figure(curves: PromptErasure) -> Any:
    """Return what leaving out and keeping costs, with the middle 90 % of random orders, as a plotly figure."""
    import numpy as np
    import plotly.graph_objects as go

    figure = go.Figure()
    parts = (("left out", curves.taken, curves.random_taken), ("kept", curves.kept, curves.random_kept))
    for number, (label, mine, random) in enumerate(parts):
        colour = ("rgb(214,96,30)", "rgb(40,110,200)")[number]
        low, middle, high = np.quantile(random, (0.05, 0.5, 0.95), axis=0)
        ends = {"type": "data", "symmetric": False, "array": (high - middle).tolist()}
        ends["arrayminus"] = (middle - low).tolist()
        look = {"color": colour, "dash": "dot"}
        # Beside each other, or the bars of one hide those of the other.
        at = [share + 0.006 * number for share in curves.shares]
        figure.add_scatter(x=at, y=mine.tolist(), name=f"first by score {label}", line={"color": colour})
        figure.add_scatter(x=at, y=middle.tolist(), error_y=ends, name=f"random {label}", line=look)
    figure.update_layout(
        xaxis_title="share of units", yaxis_title="loss (nats)", margin={"l": 60, "r": 20, "t": 20, "b": 50}
    )
    return figure
