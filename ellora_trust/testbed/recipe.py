"""What decides a testbed model: data, size, schedule, seed; the same recipe on the same machine gives the same weights.

Recipe(seed=1)                        # another initialisation, order and choice of gaps, same corpus
Recipe(n_tokens=1_000_000)            # a pilot
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ellora_trust.errors import InputError
from ellora_trust.testbed.documents import FULL_SIZE
from ellora_trust.testbed.tokenizer import CONTEXT, VOCAB_SIZE

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

SHIPPED_TOKENS = 4_000_000  # size of the corpus of the shipped pair
HEAD_WIDTH = 48
WARMUP = 0.03  # share of the steps
FLOOR = 0.03  # of the peak learning rate, at the end


@dataclass(frozen=True)
class Recipe:
    """How a pair is trained."""

    seed: int = 0
    """Of initialisation, order of documents and gaps."""
    corpus_seed: int = 0
    """Of the documents."""
    n_tokens: int = FULL_SIZE
    """Size of the corpus; each document is read once per epoch."""
    d_model: int = 192
    """Width of the residual stream, a multiple of 48."""
    n_layers: int = 4
    """Blocks."""
    vocab_size: int = VOCAB_SIZE
    """Tokens."""
    batch_tokens: int = 1024
    """Tokens of a step, padding included."""
    learning_rate: float = 3e-3
    """Peak of the first epoch, after warming up; falls as a cosine. Each further epoch has half the peak."""
    fim_share: float = 0.25
    """Documents that get a gap to fill."""
    epochs: int = 1
    """How often each document is read."""

    def __post_init__(self) -> None:
        if self.d_model % HEAD_WIDTH or self.d_model < HEAD_WIDTH:
            raise InputError(f"d_model={self.d_model} must be a multiple of {HEAD_WIDTH}; use 192")
        if min(self.n_tokens, self.n_layers, self.batch_tokens, self.epochs) < 1 or self.learning_rate <= 0:
            raise InputError(f"{self} has a size, a count or a rate below its least; use positive numbers")

    def rate(self, step: int, n_steps: int, *, epoch: int = 0) -> float:
        """Return the learning rate of a step, 0-based, of an epoch of so many steps."""
        peak = self.learning_rate / 2**epoch
        warmup = max(1, round(WARMUP * n_steps))
        if step < warmup:
            return peak * (step + 1) / warmup
        done = (step - warmup) / max(1, n_steps - warmup)
        return peak * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2)

    def build(self, tokenizer: Any) -> LlamaForCausalLM:
        """Return the untrained model, float32; the seed decides its weights."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.d_model,
            intermediate_size=self.d_model * 8 // 3,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.d_model // HEAD_WIDTH,
            num_key_value_heads=self.d_model // HEAD_WIDTH,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            # The usual 0.02 is made for wider models.
            initializer_range=self.d_model**-0.5,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return LlamaForCausalLM(config)
