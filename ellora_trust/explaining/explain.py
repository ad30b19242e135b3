"""`explain`: one prompt, its answer under watch, and what is behind it, in one call.

    explanation = explain("testbed", prompt, probe="runs/probe/probe-testbed", index="runs/index", foil=fix)
    explanation.risky.text, explanation.documents.hits[0].document
    explanation.save("runs/explain")

| question | answered by | needs |
|---|---|---|
| is it wrong, and where? | an error predictor on every token | `probe` |
| which words made it say so? | leaving out each word before it | |
| which heads and MLPs? | attribution patching against a prompt that makes it say the foil | `foil` |
| which training documents? | gradients and 3-grams | `index` |
| does it know better? | saved steering vectors, beside random directions | `vectors` |
| what would an edit forget? | the documents that are its source | `index` |
| which task does it take this for? | heads that tell tasks apart | `tasks` |

What is not given is left out and said so; nothing is guessed in its place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.errors import InputError
from ellora_trust.explaining.editing import EditPlan, documents_to_forget, plan_edit
from ellora_trust.explaining.explanation import Explanation
from ellora_trust.explaining.mending import Trial, try_vectors
from ellora_trust.explaining.reasons import decisive_pair, words_behind
from ellora_trust.explaining.said import AnswerSpan, Said, foil_span, risky_span, say
from ellora_trust.explaining.tasks import NamedTask, identify_task

if TYPE_CHECKING:
    from attribution.asking import Asked
    from attribution.function_vectors.vectors import TaskVectors
    from attribution.inside.job import Located
    from ellora_trust.model import CodeModel
    from ellora_trust.spans import Language
    from probes import ErrorProbe
    from steering import SteeringVector


def explain(
    model: CodeModel | str,
    prompt: str,
    *,
    probe: ErrorProbe | str | Path | None = None,
    index: str | Path | None = None,
    vectors: Mapping[str, SteeringVector] | Sequence[str | Path] = (),
    tasks: TaskVectors | str | Path | None = None,
    foil: str | None = None,
    against: str | None = None,
    language: Language = "python",
    k: int = 5,
    max_new_tokens: int = 64,
    stop: Sequence[str] = (),
    format: str = "auto",
    force: bool = False,
    progress: bool = False,
) -> Explanation:
    """Explain what a model says to one prompt.

    Args:
        model: The model, or its name.
        prompt: What it is asked.
        probe: An error predictor, or its folder.
        index: Folder of an attribution index of its training documents.
        vectors: Steering vectors by name, or their folders.
        tasks: Task vectors, or their folder, to name the task it takes the prompt for.
        foil: A whole answer that it should have given; the questions are then about where the two part.
        against: A prompt after which the foil would be right; if left out, one is looked for.
        language: Of prompt and answer.
        k: Training documents to name.
        max_new_tokens: Of the answer.
        stop: Strings that end it.
        format: How the prompt is put: plain, chat, or auto for what the predictor was fitted on.
        force: Use predictor, index and vectors on another model than theirs.
        progress: Show progress bars.

    Raises:
        InputError: An empty prompt or answer, a foil that is the answer, or a predictor or index of another model.
    """
    from ellora_trust.loading import load

    if not prompt.strip():
        raise InputError("the prompt has no text; give what the model is asked")
    given = _Given(
        probe=probe,
        index=index,
        vectors=vectors,
        tasks=tasks,
        foil=foil,
        against=against,
        language=language,
        k=k,
        max_new_tokens=max_new_tokens,
        stop=tuple(stop),
        format=format,
        force=force,
        progress=progress,
    )
    return _Case(load(model) if isinstance(model, str) else model, prompt, given).explain()


@dataclass(frozen=True)
class _Given:
    """What a run was given, as in `explain`."""

    probe: ErrorProbe | str | Path | None
    index: str | Path | None
    vectors: Mapping[str, SteeringVector] | Sequence[str | Path]
    tasks: TaskVectors | str | Path | None
    foil: str | None
    against: str | None
    language: Language
    k: int
    max_new_tokens: int
    stop: tuple[str, ...]
    format: str
    force: bool
    progress: bool

    @property
    def length(self) -> dict[str, Any]:
        return {"max_new_tokens": self.max_new_tokens, "stop": self.stop}

    def settings(self) -> dict[str, str]:
        """What makes the run again, as far as it was given in words; artifacts in memory have no name."""
        plain = {name: value for name, value in vars(self).items() if name not in ("vectors", "progress")}
        said = {name: str(value) for name, value in plain.items() if isinstance(value, str | Path | int | tuple)}
        return {**said, "vectors": ", ".join(map(str, self.vectors))}


@dataclass
class _Case:
    """One run: the model, what it is asked, and the seconds of each step."""

    model: CodeModel
    prompt: str
    given: _Given
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def explain(self) -> Explanation:
        given = self.given
        with self._timed("answer"):
            said = self._say()
        risky = risky_span(said)
        about, other = foil_span(said, given.foil) if given.foil is not None else (risky, None)
        with self._timed("words"):
            words = words_behind(self.model, said, about, other, given.language, progress=given.progress)
        with self._timed("components"):
            components, pair = self._components(said, words.result)
        with self._timed("documents"):
            documents, plan = self._documents(said, about)
        with self._timed("steering"):
            trials = self._steer(said)
        with self._timed("task"):
            task = self._task(said)
        return Explanation(
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            said=said,
            risky=risky,
            about=about,
            foil=given.foil,
            words=words,
            components=components,
            pair=pair,
            documents=documents,
            edit=plan,
            trials=trials,
            task=task,
            seconds=self.seconds,
            settings=given.settings(),
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        wall, processor = time.monotonic(), time.process_time()
        yield
        self.seconds[name] = (time.monotonic() - wall, time.process_time() - processor)

    def _say(self) -> Said:
        from ellora_trust.prompts import chat
        from probes.error_probe import ErrorProbe
        from probes.watching.answering import FORMATS, Guard

        probe, format, force = self.given.probe, self.given.format, self.given.force
        if format not in FORMATS:
            raise InputError(f"unknown prompt format {format!r}; use one of {', '.join(FORMATS)}")
        if probe is None:
            put = chat(self.model, self.prompt) if format == "chat" else self.prompt
            return say(self.model, put, None, **self.given.length)
        fitted = probe if isinstance(probe, ErrorProbe) else ErrorProbe.load(probe, model=self.model, force=force)
        guard = Guard(fitted, self.model, format=format, force=force, **self.given.length)
        return say(self.model, self.prompt, guard)

    def _components(self, said: Said, words: Any) -> tuple[Located | None, str]:
        from attribution.inside.job import locate
        from ellora_trust.prompts import chat

        against = self.given.against
        if against is not None and said.prompt != self.prompt:  # it was put as a chat, so the other prompt is too
            against = chat(self.model, against)
        pair, sentence = decisive_pair(self.model, said.prompt, words, against)
        return (None if pair is None else locate(self.model, [pair], progress=self.given.progress)), sentence

    def _documents(self, said: Said, about: AnswerSpan) -> tuple[Asked | None, EditPlan | None]:
        from attribution.asking import Library

        given = self.given
        if given.index is None:
            return None, None
        library = Library.open(Path(given.index), self.model, force=given.force)
        first = len(said.prompt)
        span = None if given.foil is not None else (first + about.start, first + about.end)
        asked = library.ask(said.prompt, said.answer, about=span, foil=given.foil, k=given.k)
        asked = library.with_lines(asked, documents_to_forget(asked))
        return asked, plan_edit(library, asked)

    def _task(self, said: Said) -> NamedTask | None:
        tasks = self.given.tasks
        return None if tasks is None else identify_task(self.model, said.prompt, tasks, force=self.given.force)

    def _steer(self, said: Said) -> tuple[Trial, ...]:
        from steering import SteeringVector

        given, vectors = self.given, self.given.vectors
        named = vectors if isinstance(vectors, Mapping) else {str(v): SteeringVector.load(v) for v in vectors}

        def asking(prompt: str) -> str:
            return self.model.generate([prompt], **given.length)[0].text

        return try_vectors(self.model, said, named, given.foil, asking, force=given.force)
