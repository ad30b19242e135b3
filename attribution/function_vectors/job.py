"""The job of `ellora-trust attribute tasks`: vectors fitted, checked on held-out prompts, as table, picture, JSON.

found = measure_tasks(model, "testbed", n_held=12)
found.vectors.save("runs/tasks", model=model)
write_html(found.page(), Path("runs/tasks/report.html"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution.function_vectors.checks import NEUTRAL, OURS, OWN, RANDOM, Done, Told, causal_check, identification
from attribution.function_vectors.heads import head_sites
from attribution.function_vectors.queries import Source, source_of
from attribution.function_vectors.views import heads_figure, identified_figure
from attribution.tasks import TaskVectors, task_vectors
from ellora_trust.artifacts import versions
from ellora_trust.errors import InputError
from ellora_trust.report import Figure, Highlight, Report, Section, Table, Text

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.report import Block

TOLD_COLUMNS = ("held out", "task read from", "right")
DONE_COLUMNS = ("the model is given", "does the task")


@dataclass(frozen=True)
class TasksFound:
    """Task vectors with what was measured of them, and one prompt's task where one was asked about.

    Attributes:
        vectors: Fitted.
        told: Accuracy of identification, of ours and of the baselines; empty where nothing was held out.
        done: Rates of the causal check; empty where no two tasks have neutral prompts.
        model: Name of the model.
        fingerprint: Of the model.
        prompt: What was asked about; empty for nothing.
        probabilities: Of its tasks, the likeliest first.
    """

    vectors: TaskVectors
    told: tuple[Told, ...]
    done: tuple[Done, ...]
    model: str
    fingerprint: str
    prompt: str = ""
    probabilities: Mapping[str, float] | None = None

    def asked(self, model: CodeModel, prompt: str) -> TasksFound:
        """Return the same with one prompt identified.

        Raises:
            InputError: An empty prompt.
        """
        if not prompt.strip():
            raise InputError("the prompt has no text; give what the model is asked")
        return replace(self, prompt=prompt, probabilities=self.vectors.identify(model, [prompt])[0])

    def told_table(self) -> Table:
        """Return the accuracies."""
        rows = [[one.held, one.method, f"{one.accuracy:.1%} (n = {one.accuracy.n})"] for one in self.told]
        strong = frozenset(n for n, one in enumerate(self.told) if one.method == OURS)
        chance = f"Chance is {1 / len(self.vectors.tasks):.1%}. Brackets: 95 %, one prompt a group."
        return Table(TOLD_COLUMNS, rows, chance, strong)

    def done_table(self) -> Table:
        """Return the rates of the causal check."""
        rows = [[one.condition, f"{one.rate:.1%} (n = {one.rate.n})"] for one in self.done]
        caption = (
            f"Added at {self.vectors.site}, {self.vectors.strength:g} times, from the prompt's last token on; 95 %."
        )
        return Table(DONE_COLUMNS, rows, caption)

    def sentences(self) -> list[str]:
        """Say who wins the identification, and what the vectors do."""
        said = []
        for held in dict.fromkeys(one.held for one in self.told):
            accuracies = {one.method: one.accuracy for one in self.told if one.held == held}
            ours, words = accuracies[OURS], accuracies["bag of words"]
            said.append(f"{held}: the chosen heads tell the task in {ours.value:.0%}, {_beside(ours, words)}.")
        if self.done:
            rates = {one.condition: one.rate for one in self.done}
            more = rates[OWN].low > max(rates[NEUTRAL].high, rates[RANDOM].high)
            said.append(
                f"With its vector a task is done after {rates[OWN].value:.0%} of the neutral prompts, without after "
                f"{rates[NEUTRAL].value:.0%}, with a random vector as long after {rates[RANDOM].value:.0%}"
                + ("." if more else ": not told apart.")
            )
        return said

    def metrics(self) -> dict[str, Any]:
        """Return what the artifact keeps."""
        return {"identification": [one.to_dict() for one in self.told], "causal": [one.to_dict() for one in self.done]}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the tensors as JSON values."""
        vectors = self.vectors
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "source": vectors.source,
            "tasks": list(vectors.tasks),
            "heads": list(vectors.heads),
            "site": vectors.site,
            "strength": vectors.strength,
            **self.metrics(),
            "prompt": self.prompt or None,
            "probabilities": dict(self.probabilities) if self.probabilities else None,
        }

    def page(self) -> Report:
        """Return the page."""
        vectors = self.vectors
        lead = f"Which of {len(vectors.tasks)} tasks {self.model} performs, read from {len(vectors.heads)} heads."
        sections = []
        if self.probabilities:
            sections.append(Section("This prompt", prompt_blocks(self.prompt, self.probabilities)))
        if self.told:
            sections.append(Section("Does it tell the task?", [*map(Text, self.sentences()), self.told_table()]))
        if self.done:
            sections.append(Section("Does a vector make it do the task?", [self.done_table()]))
        caption = (
            "Rise of log p of the answer (nats) with a head's mean output in an uninformed prompt; framed: chosen."
        )
        sections.append(Section("Heads", [Figure(heads_figure(vectors), caption), Text(", ".join(vectors.heads))]))
        known = {"model": self.model, "fingerprint": self.fingerprint, "source": vectors.source}
        settings = {name: str(value) for name, value in vectors.settings.items()}
        return Report("Which task is it performing?", lead, sections, {**known, **settings, **versions()})


def _beside(ours: Any, words: Any) -> str:
    """Compare with the bag of words, as far as the intervals allow."""
    if words.low > ours.high:
        return f"a bag of words in {words.value:.0%}, which needs no model and is better"
    if ours.low > words.high:
        return f"a bag of words in {words.value:.0%}"
    return f"a bag of words, which needs no model, in {words.value:.0%}: not told apart"


def prompt_blocks(prompt: str, probabilities: Mapping[str, float], n: int = 5) -> list[Block]:
    """Return the blocks of one identified prompt."""
    names, values = list(probabilities)[:n], list(probabilities.values())[:n]
    rows = [[name, f"{value:.1%}"] for name, value in zip(names, values, strict=True)]
    caption = f"Of {len(probabilities)} tasks; a prompt of none of them gets one of them too."
    return [
        Highlight("Prompt", [(prompt, 0.0)], "Read at its last token."),
        Table(("task", "probability"), rows, caption),
        Figure(identified_figure(names, values), "Probability of the likeliest tasks."),
    ]


def measure_tasks(
    model: CodeModel,
    tasks: Source | str | Sequence[str],
    *,
    n_fit: int = 24,
    n_held: int = 12,
    n_trials: int = 4,
    n_heads: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TasksFound:
    """Fit task vectors and check them on held-out prompts.

    Args:
        model: The model.
        tasks: As for `attribution.tasks.task_vectors`, as are `n_fit`, `n_trials`, `n_heads` and `seed`.
        n_fit: See there.
        n_held: Held-out prompts of each task and kind, >= 1.
        n_trials: See there.
        n_heads: See there.
        seed: See there; also of random heads and directions.
        progress: Show progress bars.

    Raises:
        InputError: As `task_vectors`; n_held is below 1; or n_heads leaves no other heads to compare with.
    """
    if n_held < 1:
        raise InputError(f"n_held is {n_held}; use 1 or more")
    half = len(head_sites(model)) // 2
    if n_heads is not None and n_heads > half:
        raise InputError(f"n_heads is {n_heads}; use {half} or less, as many random heads are compared with them")
    source = tasks if isinstance(tasks, Source) else source_of(tasks)
    vectors = task_vectors(model, source, n_fit=n_fit, n_trials=n_trials, n_heads=n_heads, seed=seed, progress=progress)
    drawn = source.draw(n_fit, n_held, seed)
    told = identification(model, vectors, drawn, seed=seed)
    (first, *_) = drawn.held.values()
    able = {query.task for query in first if query.neutral}
    done = causal_check(model, vectors, source, first, seed=seed) if len(able) > 1 else []
    found = TasksFound(vectors, tuple(told), tuple(done), model.name, model.fingerprint)
    return replace(found, vectors=replace(vectors, metrics=found.metrics()))


def saved_tasks(model: CodeModel, folder: str | Path, *, force: bool = False) -> TasksFound:
    """Return what `measure_tasks` found and was saved, with its numbers.

    Raises:
        InputError: As `TaskVectors.load`.
    """
    vectors = TaskVectors.load(folder, model=model, force=force)
    told = tuple(Told.from_dict(one) for one in vectors.metrics.get("identification", ()))
    done = tuple(Done.from_dict(one) for one in vectors.metrics.get("causal", ()))
    return TasksFound(vectors, told, done, model.name, model.fingerprint)
