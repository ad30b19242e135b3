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
from ellora_trust.explaining.editing import EditPlan, plan_edit
from ellora_trust.explaining.explanation import Explanation
from ellora_trust.explaining.mending import Trial, try_vectors
from ellora_trust.explaining.reasons import decisive_pair, words_behind
from ellora_trust.explaining.said import AnswerSpan, Said, foil_span, risky_span, say
from ellora_trust.explaining.tasks import NamedTask, identify_task

if TYPE_CHECKING:
    from attribution.asking import Asked
    from attribution.components_job import Located
    from attribution.task_vectors import TaskVectors
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
    asked = _Case(
        load(model) if isinstance(model, str) else model,
        language,
        force,
        progress,
        {"max_new_tokens": max_new_tokens, "stop": tuple(stop)},
    )
    return asked.explain(prompt, (probe, index, vectors, tasks), (foil, against), k=k, format=format)


@dataclass
class _Case:
    """One run: the model, how it is asked, and the seconds of each step."""

    model: CodeModel
    language: Language
    force: bool
    progress: bool
    length: dict[str, Any]
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def explain(self, prompt: str, means: Any, instead: Any, *, k: int, format: str) -> Explanation:
        (probe, index, vectors, tasks), (foil, against) = means, instead
        with self._timed("answer"):
            said = self._say(prompt, probe, format)
        risky = risky_span(said)
        about, other = foil_span(said, foil) if foil is not None else (risky, None)
        with self._timed("words"):
            words = words_behind(self.model, said, about, other, self.language, progress=self.progress)
        with self._timed("components"):
            other_prompt = self._put(against, said.prompt != prompt)
            components, pair = self._components(said, words.result, other_prompt)
        with self._timed("documents"):
            documents, plan = self._documents(said, about, foil, index, k)
        with self._timed("steering"):
            trials = self._steer(said, vectors, foil)
        with self._timed("task"):
            task = self._task(said, tasks)
        return Explanation(
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            said=said,
            risky=risky,
            about=about,
            foil=foil,
            words=words,
            components=components,
            pair=pair,
            documents=documents,
            edit=plan,
            trials=trials,
            task=task,
            seconds=self.seconds,
            settings=self._settings(format, probe, index),
        )

    def _settings(self, format: str, probe: Any, index: Any) -> dict[str, str]:
        folders = {name: str(one) for name, one in (("probe", probe), ("index", index)) if isinstance(one, (str, Path))}
        length = {name: str(value) for name, value in self.length.items()}
        return {"language": self.language, "format": format, **length, **folders}

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        wall, processor = time.monotonic(), time.process_time()
        yield
        self.seconds[name] = (time.monotonic() - wall, time.process_time() - processor)

    def _say(self, prompt: str, probe: ErrorProbe | str | Path | None, format: str) -> Said:
        from ellora_trust.prompts import chat
        from probes.error_probe import ErrorProbe
        from probes.watching.answering import FORMATS, Guard

        if format not in FORMATS:
            raise InputError(f"unknown prompt format {format!r}; use one of {', '.join(FORMATS)}")
        if probe is None:
            put = chat(self.model, prompt) if format == "chat" else prompt
            return say(self.model, put, None, **self.length)
        fitted = probe if isinstance(probe, ErrorProbe) else ErrorProbe.load(probe, model=self.model, force=self.force)
        return say(self.model, prompt, Guard(fitted, self.model, format=format, force=self.force, **self.length))

    def _put(self, against: str | None, as_chat: bool) -> str | None:
        from ellora_trust.prompts import chat

        return chat(self.model, against) if against is not None and as_chat else against

    def _components(self, said: Said, words: Any, against: str | None) -> tuple[Located | None, str]:
        from attribution.components_job import locate

        pair, sentence = decisive_pair(self.model, said.prompt, words, against)
        return (None if pair is None else locate(self.model, [pair], progress=self.progress)), sentence

    def _documents(
        self, said: Said, about: AnswerSpan, foil: str | None, index: str | Path | None, k: int
    ) -> tuple[Asked | None, EditPlan | None]:
        from attribution.asking import Library

        if index is None:
            return None, None
        library = Library.open(Path(index), self.model, force=self.force)
        first = len(said.prompt)
        span = None if foil is not None else (first + about.start, first + about.end)
        asked = library.with_lines(library.ask(said.prompt, said.answer, about=span, foil=foil, k=k))
        return asked, plan_edit(library, asked)

    def _task(self, said: Said, tasks: TaskVectors | str | Path | None) -> NamedTask | None:
        return None if tasks is None else identify_task(self.model, said.prompt, tasks, force=self.force)

    def _steer(self, said: Said, vectors: Any, foil: str | None) -> tuple[Trial, ...]:
        from steering import SteeringVector

        named = vectors if isinstance(vectors, Mapping) else {str(v): SteeringVector.load(v) for v in vectors}

        def asking(prompt: str) -> str:
            return self.model.generate([prompt], **self.length)[0].text

        return try_vectors(self.model, said, named, foil, asking, force=self.force)
