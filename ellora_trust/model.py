"""`CodeModel`: a causal language model with its tokenizer and the names of its parts.

model = load("smollm2")
model.score(["def add(a, b):\\n    return"], [" a + b"])
model.generate(["def add(a, b):\\n    return"], max_new_tokens=8, stop=("\\n",))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ellora_trust import fingerprint
from ellora_trust.architecture import Architecture, discover
from ellora_trust.decoding import Decoding, Generation
from ellora_trust.errors import InputError
from ellora_trust.layout import Batch
from ellora_trust.observer import Observer
from ellora_trust.positions import Passage
from ellora_trust.precision import with_gradients
from ellora_trust.runs import run

# Padded tokens in a batch: large enough to fill two cores or one GPU, small enough that 49k-wide logits fit.
TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Score:
    """Log-probability of one continuation.

    Attributes:
        tokens: log p of each of its tokens given all before, in nats, (n_tokens,).
    """

    tokens: Tensor

    @property
    def sum(self) -> float:
        """log p of the whole continuation, in nats."""
        return float(self.tokens.double().sum())

    @property
    def mean(self) -> float:
        """log p per token, in nats."""
        return self.sum / max(len(self.tokens), 1)


@dataclass
class CodeModel:
    """A causal language model, its tokenizer and its architecture.

    Attributes:
        name: What it was loaded as.
        hf: The transformers model, in evaluation mode.
        tokenizer: Its tokenizer.
        source: Folder its weights came from, if they lie in one.
        token_budget: Padded tokens in a batch.
        observers: Who looks on while it generates.
        batch: The prompts that the running forward works on; None outside of a run.
        may_share_prefixes: Off while something treats the first tokens of two prompts differently.
    """

    name: str
    hf: PreTrainedModel
    tokenizer: Any
    source: Path | None = None
    token_budget: int = TOKEN_BUDGET
    arch: Architecture = field(init=False)
    observers: list[Observer] = field(default_factory=list, init=False)
    batch: Batch | None = field(default=None, init=False)
    may_share_prefixes: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        from ellora_trust.validation import validate

        self.hf.eval()
        with_gradients(self.hf)
        self.arch = discover(self.hf)
        self.take_as_loaded()
        validate(self)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.hf.parameters()) / 1e6
        return (
            f"CodeModel({self.name!r}, {self.arch.n_layers} layers, d_model {self.arch.d_model}, {size:.0f} M "
            f"parameters, {self.hf.dtype}, {self.device})"
        )

    @property
    def device(self) -> torch.device:
        return self.hf.device

    @cached_property
    def max_length(self) -> int:
        """Longest text it reads, in tokens."""
        config = self.hf.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or self.tokenizer.model_max_length)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a text."""
        configured = [self.hf.generation_config.eos_token_id if self.hf.generation_config else None]
        configured.append(self.tokenizer.eos_token_id)
        flat = [i for ids in configured for i in (ids if isinstance(ids, (list, tuple)) else [ids])]
        return frozenset(i for i in flat if i is not None)

    @cached_property
    def pad_id(self) -> int:
        """What padding is filled with; masked, so any valid token serves."""
        return self.tokenizer.pad_token_id or min(self.eos_ids, default=0)

    @property
    def fingerprint(self) -> str:
        """sha256 over config, dtype and weights; follows weights changed in memory."""
        if self.source is not None and fingerprint.tensor_state(self.hf) == self._loaded_state:
            return fingerprint.of_files(self.hf, self.source)
        return fingerprint.of_weights(self.hf)

    def take_as_loaded(self) -> None:
        """Take the weights as they lie in memory now for those of the source."""
        self._loaded_state = fingerprint.tensor_state(self.hf)

    @cached_property
    def _anchor(self) -> list[int]:
        return self.tokenizer("a", add_special_tokens=False).input_ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens in the middle of a text: SentencePiece would drop a leading space otherwise."""
        before = self.tokenizer.decode(self._anchor, clean_up_tokenization_spaces=False)
        whole = self.tokenizer.decode(
            [*self._anchor, *tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return whole[len(before) :]

    def shares_prefixes(self, n_tokens: int) -> bool:
        """Whether keys and values of the first tokens may be computed once and padded after.

        Not in models with a recurrent state or with a sliding window that the prefix would fill, nor while
        `may_share_prefixes` is off.
        """
        if not self.may_share_prefixes:
            return False
        config = self.hf.config.get_text_config(decoder=True)
        kinds = set(getattr(config, "layer_types", None) or [])
        if not kinds <= {"full_attention", "sliding_attention"}:
            return False
        # Without layer types, a window in the config may apply to every layer.
        windowed = "sliding_attention" in kinds or not kinds
        window = getattr(config, "sliding_window", None) if windowed else None
        return window is None or n_tokens < window // 2

    def score(self, prompts: Sequence[str], continuations: Sequence[str], *, progress: bool = False) -> list[Score]:
        """Return the log-probability of each continuation after its prompt.

        Args:
            prompts: Texts before.
            continuations: Texts after, tokenised apart from their prompts; one each.
            progress: Show a progress bar.

        Raises:
            InputError: The lists differ in length, a text is empty, or one is too long.
        """
        if len(prompts) != len(continuations) or not prompts:
            raise InputError(
                f"{len(prompts)} prompts and {len(continuations)} continuations were given; give as many of each, at "
                "least one"
            )
        empty = [i for i, text in enumerate(continuations) if not text]
        if empty:
            raise InputError(f"continuation {empty[0]} is empty; give at least one character")
        passages = [Passage(p, c) for p, c in zip(prompts, continuations, strict=True)]
        done = run(self, passages, score=True, progress=progress, label="scoring").generations
        return [Score(torch.tensor(answer.logprobs)) for answer in done]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
        progress: bool = False,
    ) -> list[Generation]:
        """Return an answer to each prompt, with log-probability and entropy of each token in nats.

        Args:
            prompts: Texts to continue.
            max_new_tokens: Length limit, in tokens.
            stop: Strings before the first of which an answer ends.
            temperature: 0 is greedy.
            seed: Of the sampling.
            progress: Show a progress bar.

        Raises:
            InputError: No prompt, an empty or too long one, or a setting out of range.
        """
        decoding = Decoding(max_new_tokens, tuple(stop), temperature, seed)
        passages = [Passage(prompt) for prompt in prompts]
        return run(self, passages, decoding=decoding, progress=progress, label="generating").generations
