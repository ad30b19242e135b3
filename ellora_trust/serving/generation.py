"""The worker's side of a request: the model answers under watch, and stops when nobody listens any more.

guarded = Guarded(model, probe, Defaults())
guarded.answer(job, ticket)              # one Choice for each of job.texts; in the worker's thread only
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from ellora_trust.serving.jobs import Choice, Defaults, HungUp, Job, TokenRead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ellora_trust.batching import Row
    from ellora_trust.decoding import Generation
    from ellora_trust.model import CodeModel
    from probes.error_probe import ErrorProbe
    from probes.watching.answer import WatchedAnswer
    from probes.watching.policies import TokenEvent


class Listener(Protocol):
    """Who asked."""

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        ...

    def tell(self, event: TokenRead) -> None:
        """A token was read."""


class _Presence:
    """An `ellora_trust.observer.Observer` that ends the whole call between two tokens, whatever the policy."""

    needs_last = False

    def __init__(self, listener: Listener):
        self._listener = listener

    def start(self, n: int) -> None: ...

    def begin(self, rows: Sequence[Row], numbers: Sequence[int], n_shared: int) -> None: ...

    def select(self, keep: Sequence[int]) -> None: ...

    def stops(self, tokens: Sequence[Sequence[int] | None]) -> Sequence[int]:
        if self._listener.gone:
            raise HungUp
        return ()

    def end(self, generations: Sequence[Generation]) -> None: ...


class Guarded:
    """A model with its probe.

    Attributes:
        model: Touched by one thread only.
        probe: Fitted or loaded.
        defaults: Where a request does not say.
        name: What clients call the model.
        threshold: The default one, resolved.
    """

    def __init__(self, model: CodeModel, probe: ErrorProbe, defaults: Defaults):
        self.model, self.probe, self.defaults = model, probe, defaults
        self.name = defaults.name or model.name
        with self._attached(defaults.policy, defaults.threshold, defaults.samples, force=defaults.force) as watch:
            self.threshold: float = watch.readout.threshold

    def _attached(self, policy: str, threshold: float | None, samples: int, **options: Any) -> Any:
        from probes.watching.attach import attach

        by: Any = self.defaults.readout
        name: Any = policy
        return attach(self.probe, self.model, policy=name, threshold=threshold, samples=samples, readout=by, **options)

    def answer(self, job: Job, listener: Listener) -> list[Choice]:
        """Answer each of a job's texts.

        Raises:
            HungUp: Nobody listens any more; the model is what it was.
            InputError: As `attach` and `generate`.
        """
        # Draws of `resample` may be thrown away, so nobody hears of them.
        told = job.streams and job.policy != "resample"
        on_token = self._teller(listener) if told else None
        # The model was checked when the server started; hashing its weights again for each request would take seconds.
        options = {"force": True, "on_token": on_token}
        with (
            self._attached(job.policy, job.threshold, job.samples, **options) as watch,
            self._while_present(listener),
        ):
            generations = self.model.generate(
                job.texts, max_new_tokens=job.max_tokens, stop=job.stop, temperature=job.temperature, seed=job.seed
            )
        return [
            self._choice(job, number, generation, watched)
            for number, (generation, watched) in enumerate(zip(generations, watch.answers, strict=True))
        ]

    @contextmanager
    def _while_present(self, listener: Listener) -> Iterator[None]:
        presence = _Presence(listener)
        self.model.observers.append(presence)
        try:
            yield
        finally:
            self.model.observers.remove(presence)

    def _teller(self, listener: Listener) -> Any:
        from probes.watching.answering import TextStream

        streams: dict[int, TextStream] = {}

        def tell(event: TokenEvent) -> None:
            if event.token is None:
                return
            stream = streams.setdefault(event.answer, TextStream(self.model))
            listener.tell(TokenRead(event.answer, stream.feed(event.token), event.token_risk, event.token_score))

        return tell

    def _choice(self, job: Job, number: int, generation: Generation, watched: WatchedAnswer) -> Choice:
        from probes.watching.answering import Answered, Guard, pieces_of

        pieces = pieces_of(self.model, watched.tokens[: len(watched.scores)])
        read = [TokenRead(number, *values) for values in zip(pieces, watched.risks, watched.scores, strict=True)]
        guard = Guard(self.probe, self.model, policy=job.policy, threshold=job.threshold, format=job.format)
        verdict = guard.verdict(Answered("", generation.text, watched, pieces))
        n = generation.n_answer
        logprobs = list(zip(pieces[:n], generation.logprobs[:n], strict=False))
        return Choice(generation.text, len(generation.tokens), watched, read, logprobs, verdict)
