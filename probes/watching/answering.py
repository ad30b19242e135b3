"""Prompts answered under watch: what `ellora-trust generate` does.

guard = Guard(probe, model, policy="abstain", threshold=0.8)
guard.answer(["def f(x):"])                      # list of Answered
guard.verdict(answered)                          # what the risk means, in one line
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ellora_trust.errors import InputError, one_of
from ellora_trust.model import CodeModel
from ellora_trust.prompts import chat
from probes.error_probe import ErrorProbe
from probes.watching.answer import WatchedAnswer
from probes.watching.attach import attach
from probes.watching.policies import POLICIES, TokenEvent

PromptFormat = Literal["auto", "plain", "chat"]
FORMATS = ("auto", "plain", "chat")
# One event and the new text that its token completed.
Listener = Callable[[TokenEvent, str], None]


@dataclass(frozen=True)
class Answered:
    """One prompt's answer.

    Attributes:
        prompt: As given, before any chat template.
        text: The answer.
        watched: Its risks.
        pieces: Text of each token that was read, one for each of `watched.scores`.
    """

    prompt: str
    text: str
    watched: WatchedAnswer
    pieces: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return prompt, answer, risks, and the tokens with theirs."""
        watched = self.watched
        tokens = zip(self.pieces, watched.scores, watched.risks, strict=True)
        return {
            "prompt": self.prompt,
            "answer": self.text,
            "risk": watched.risk,
            "score": watched.score,
            "highest": watched.highest,
            "highest_risk": watched.highest_risk,
            "flagged": watched.flagged,
            "finish": watched.finish,
            "reason": watched.reason,
            "tokens": [{"text": piece, "score": score, "risk": risk} for piece, score, risk in tokens],
        }


@dataclass(frozen=True)
class Guard:
    """A model that answers with a probe attached.

    Attributes:
        probe: Fitted or loaded.
        model: The one it was fitted on.
        policy: `flag`, `abstain` or `resample`.
        threshold: Risk from which an answer is flagged, [0, 1]; None as in `attach`.
        samples: Draws at most under `resample`.
        format: `plain`, `chat`, or `auto`: the one the probe was fitted on, else plain.
        stop: Strings before the first of which an answer ends.
        max_new_tokens: Length limit, in tokens.
        temperature: 0 is greedy.
        seed: Of the sampling.
        force: Accept another model.
    """

    probe: ErrorProbe
    model: CodeModel
    policy: str = "flag"
    threshold: float | None = None
    samples: int = 4
    format: str = "auto"
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(one_of(self.policy, POLICIES, what="policy"))
        if self.format not in FORMATS:
            raise InputError(one_of(self.format, FORMATS, what="prompt format"))

    @property
    def data(self) -> dict[str, Any]:
        """What the probe's artifact says of the data it was fitted on."""
        artifact = getattr(self.probe, "artifact_", None)
        return dict(artifact.data) if artifact else {}

    @property
    def used_format(self) -> str:
        """How prompts are put."""
        if self.format != "auto":
            return self.format
        return "chat" if self.data.get("prompt_format") == "chat" else "plain"

    def answer(
        self, prompts: Sequence[str], *, progress: bool = False, listen: Listener | None = None
    ) -> list[Answered]:
        """Answer prompts under watch.

        Args:
            prompts: Texts.
            progress: Show a progress bar.
            listen: Called at each token as it is read; not under `resample`, whose draws may be thrown away.

        Raises:
            InputError: As `attach` and `generate`, or a model without a chat template.
        """
        put = [chat(self.model, prompt) if self.used_format == "chat" else prompt for prompt in prompts]
        options: dict[str, Any] = {"threshold": self.threshold, "samples": self.samples, "force": self.force}
        if listen is not None and self.policy != "resample":
            options["on_token"] = self._teller(listen)
        with attach(self.probe, self.model, policy=self.policy, **options) as watch:  # pyright: ignore  # checked above
            generations = self.model.generate(
                put,
                max_new_tokens=self.max_new_tokens,
                stop=self.stop,
                temperature=self.temperature,
                seed=self.seed,
                progress=progress,
            )
        return [
            Answered(prompt, g.text, watched, pieces_of(self.model, watched.tokens[: len(watched.scores)]))
            for prompt, g, watched in zip(prompts, generations, watch.answers, strict=True)
        ]

    def verdict(self, answered: Answered) -> str:
        """Return one line: the risk, how it was read, and what the probe was fitted on."""
        watched, data = answered.watched, self.data
        said = f"Risk {watched.risk:.2f} that this answer is wrong"
        if watched.finish == "abstain":
            said += f"; {watched.reason}"
        elif watched.flagged:
            said += "; flagged"
        fitted = f"task {data['task']}" if data.get("task") else "data that it does not record"
        n = f" ({data['n']} examples)" if data.get("n") else ""
        said += (
            f". Calibrated on {fitted}{n}, read at {self.probe.site_} {self.probe.position_}; elsewhere it is a guess."
        )
        was = data.get("prompt_format")
        if was and was != self.used_format:
            said += f" Those prompts were {was}, this one is {self.used_format}."
        return said

    def _teller(self, listen: Listener) -> Callable[[TokenEvent], None]:
        streams: dict[int, TextStream] = {}

        def tell(event: TokenEvent) -> None:
            stream = streams.setdefault(event.answer, TextStream(self.model))
            listen(event, stream.feed(event.token) if event.token is not None else "")

        return tell


class TextStream:
    """Text of tokens as they come; characters of several tokens are held back until they are whole."""

    def __init__(self, model: CodeModel):
        self._model, self._ids, self._said = model, [], 0

    def feed(self, token: int) -> str:
        """Return the text that this token completes."""
        self._ids.append(token)
        text = self._model.decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        new, self._said = text[self._said :], len(text)
        return new


def pieces_of(model: CodeModel, ids: Sequence[int]) -> list[str]:
    """Return the text of each token; joined they are the text."""
    stream = TextStream(model)
    return [stream.feed(token) for token in ids]
