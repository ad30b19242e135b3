"""The front side of a request: prompts are put as the model reads them, counted, and checked before they may queue.

reader = Reader(guarded, Limits())
job = await asyncio.to_thread(reader.job, asked)
"""

from __future__ import annotations

import copy
import secrets
import threading
from typing import TYPE_CHECKING

from ellora_trust.serving.limits import Limits
from ellora_trust.serving.refusals import Refusal, shown
from ellora_trust.serving.schema import Asked, ChatRequest, CompletionRequest, Override

if TYPE_CHECKING:
    from ellora_trust.serving.generation import Guarded
    from ellora_trust.serving.jobs import Job

# The library multiplies a seed before it is a 64-bit one.
SEEDS = 2**40


class Reader:
    """Turns what was asked into what the model is to do.

    It has a tokenizer of its own: the worker's must not be used by two threads at once.
    """

    def __init__(self, guarded: Guarded, limits: Limits):
        self._guarded, self._limits = guarded, limits
        self._tokenizer = copy.deepcopy(guarded.model.tokenizer)
        self._lock = threading.Lock()

    def job(self, asked: Asked) -> Job:
        """Return a job within the limits.

        Raises:
            Refusal: 404, another model; 400, too many tokens or answers, or a prompt that cannot be put; 403, a policy
                that this server does not leave to its clients.
        """
        from ellora_trust.serving.jobs import Job

        self.check_model(asked.model)
        defaults, override = self._guarded.defaults, self._override(asked)
        policy, n = override.policy or defaults.policy, asked.n or 1
        samples = override.samples or defaults.samples
        temperature = defaults.temperature if asked.temperature is None else asked.temperature
        self._check_answers(asked, n, policy, samples=samples, temperature=temperature)
        texts = [self._chat(asked)] if isinstance(asked, ChatRequest) else _prompts(asked)
        lengths = [self._length(text) for text in texts]
        return Job(
            texts=tuple(text for text in texts for _ in range(n)),
            n_prompt_tokens=sum(lengths),
            max_tokens=self._max_tokens(asked, max(lengths)),
            stop=asked.stops,
            temperature=temperature,
            seed=(secrets.randbits(40) if asked.seed is None else asked.seed) % SEEDS,
            policy=policy,
            threshold=self._guarded.threshold if override.threshold is None else override.threshold,
            samples=samples,
            format="chat" if isinstance(asked, ChatRequest) else "plain",
            streams=bool(asked.stream),
        )

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served here.

        Raises:
            Refusal: 404.
        """
        if name is not None and name != self._guarded.name:
            raise Refusal(
                404,
                f"model {shown(name)} is not served here; use {self._guarded.name!r}",
                param="model",
                code="model_not_found",
            )

    def _override(self, asked: Asked) -> Override:
        given = asked.ellora_trust or Override()
        if given != Override() and not self._guarded.defaults.override:
            raise Refusal(
                403, "policy, threshold and samples are fixed on this server; leave them out", param="ellora_trust"
            )
        return given

    def _check_answers(self, asked: Asked, n: int, policy: str, *, samples: int, temperature: float) -> None:
        prompts = len(asked.prompts) if isinstance(asked, CompletionRequest) else 1
        draws = samples if policy == "resample" else 1
        if prompts * n * draws > self._limits.answers:
            raise Refusal(
                400,
                f"{prompts} prompts, n={n} and {draws} draws make {prompts * n * draws} answers; ask for at most "
                f"{self._limits.answers}",
                param="n",
            )
        if policy == "resample" and temperature == 0:
            raise Refusal(
                400,
                "policy 'resample' draws again, but nothing is drawn at temperature 0; give a temperature, such as 0.8",
                param="temperature",
            )

    def _chat(self, asked: ChatRequest) -> str:
        from jinja2 import TemplateError

        if not getattr(self._tokenizer, "chat_template", None):
            raise Refusal(400, f"{self._guarded.name} has no chat template; use /v1/completions", param="messages")
        turns = [message.turn() for message in asked.messages]
        try:
            with self._lock:
                return self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise Refusal(
                400, f"the model's chat template does not take these messages: {error}", param="messages"
            ) from None

    def _length(self, text: str) -> int:
        """Tokens of a prompt."""
        with self._lock:
            length = len(self._tokenizer(text).input_ids)
        if not length:
            raise Refusal(400, "the prompt is empty; give at least one character", param="prompt")
        return length

    def _max_tokens(self, asked: Asked, longest: int) -> int:
        room, limit = self._guarded.model.max_length - longest, self._limits.max_tokens
        wanted = asked.limit
        if wanted is not None and wanted > limit:
            raise Refusal(400, f"max_tokens is {wanted}; this server writes at most {limit}", param="max_tokens")
        if room < (wanted or 1):
            raise Refusal(
                400,
                f"the prompt has {longest} tokens and {wanted or 1} are asked for, but {self._guarded.name} reads at "
                f"most {self._guarded.model.max_length}; shorten the prompt or lower max_tokens",
                param="messages" if isinstance(asked, ChatRequest) else "prompt",
                code="context_length_exceeded",
            )
        return wanted or min(self._guarded.defaults.max_tokens, limit, room)


def _prompts(asked: Asked) -> list[str]:
    assert isinstance(asked, CompletionRequest), "there are two kinds"
    return asked.prompts
