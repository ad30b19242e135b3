"""What may be asked: the fields of OpenAI's API that are honoured, those that are accepted, and none beside.

asked = parse(CompletionRequest, b'{"model": "smollm2", "prompt": "x =", "max_tokens": 4}')
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ellora_trust.serving.refusals import Refusal, shown

# Fields that would change the answer, with the values at which they do not.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_p": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "modalities": (None, ["text"]),
    "reasoning_effort": (None, "none"),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "top_logprobs": (None, 0),
}
# Fields that concern bookkeeping only.
IGNORED = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "verbosity"})

Text = Annotated[str, Field(min_length=1)]
T = TypeVar("T", bound="Asked")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Override(_Strict):
    """What a request may say about its risk, in `extra_body={"ellora_trust": {...}}`."""

    policy: Literal["flag", "abstain", "resample"] | None = None
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    samples: Annotated[int, Field(ge=2)] | None = None


class StreamOptions(_Strict):
    include_usage: bool | None = None
    # Padding against eavesdroppers on TLS; there is none here.
    include_obfuscation: bool | None = None


class Asked(_Strict, ABC):
    """What both kinds of request share."""

    model: str | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ellora_trust: Override | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def limit(self) -> int | None:
        """Tokens of an answer at most."""
        return self.max_tokens

    @property
    @abstractmethod
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities come with the answer."""


class CompletionRequest(Asked):
    """`POST /v1/completions`."""

    prompt: str | Annotated[list[str], Field(min_length=1)]
    logprobs: Literal[0] | None = None

    @property
    def prompts(self) -> list[str]:
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs is not None


class Part(_Strict):
    type: Literal["text"]
    text: str


class Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1)]
    name: str | None = None

    def turn(self) -> dict[str, str]:
        """Return it as chat templates read it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        # The newer name of the same role; no template knows it.
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class ChatRequest(Asked):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.logprobs)


def parse(kind: type[T], body: bytes) -> T:
    """Return a request.

    Raises:
        Refusal: 400, not JSON, a field that is not supported, or a value out of range.
    """
    try:
        raw = json.loads(body)
        # JSON can spell half of a surrogate pair, which is no character: no tokenizer takes it.
        json.dumps(raw, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is not JSON in valid Unicode; send one JSON object") from None
    if not isinstance(raw, dict):
        raise Refusal(400, "the body is not a JSON object; send one with the request's fields")
    try:
        asked = kind.model_validate(_supported(raw))
    except ValidationError as error:
        raise _refusal(error) from None
    if asked.stream and asked.wants_logprobs:
        raise Refusal(400, "logprobs cannot be streamed; use stream=false or leave logprobs out", param="logprobs")
    return asked


def _supported(raw: dict[str, Any]) -> dict[str, Any]:
    for name, values in NEUTRAL.items():
        if name in raw and raw[name] not in values:
            raise Refusal(
                400,
                f"{name} is {shown(raw[name])}, which this server does not support; leave {name} out",
                param=name,
                code="unsupported_value",
            )
    return {name: value for name, value in raw.items() if name not in NEUTRAL and name not in IGNORED}


def _refusal(error: ValidationError) -> Refusal:
    errors = error.errors(include_url=False, include_context=False)
    first, name = errors[0], _path(errors[0]["loc"])
    if first["type"] == "extra_forbidden":
        return Refusal(400, f"field {shown(name)} is not supported; leave it out", param=name, code="unsupported_field")
    if first["type"] == "missing":
        return Refusal(400, f"field {shown(name)} is missing; give it", param=name)
    # A field of several types has an error for each.
    messages = dict.fromkeys(e["msg"][:1].lower() + e["msg"][1:] for e in errors if _path(e["loc"]) == name)
    return Refusal(400, f"{name} is {shown(first['input'])}: {' or '.join(messages)}", param=name, code="invalid_value")


def _path(loc: tuple[int | str, ...]) -> str:
    """Where an error is, without the types that pydantic tried there."""
    return ".".join(str(part) for part in loc[:3] if part != "str" and "[" not in str(part) and "-" not in str(part))
