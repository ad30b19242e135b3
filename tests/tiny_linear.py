"""A decoder that is linear in its embeddings: attention averages over the tokens before, nothing else happens.

So a difference of two logits is a sum over tokens and over components, and attributions have closed forms.
"""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import make_tokenizer
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ellora_trust.model import CodeModel


class LinearConfig(PretrainedConfig):
    model_type = "linear"


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        shares = mask[..., None].to(hidden.dtype)
        return self.out((hidden * shares).cumsum(1) / shares.cumsum(1).clamp_min(1))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(width), nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return hidden + self.attn(hidden, mask) + self.mlp(hidden)


class LinearLM(PreTrainedModel):
    config_class = LinearConfig
    base_model_prefix = ""
    generation_config = None

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(0, 0.4)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, logits_to_keep: int = 0, **others: Any
    ) -> CausalLMOutputWithPast:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return CausalLMOutputWithPast(logits=self.head(hidden[:, -logits_to_keep:]))


def make_linear() -> CodeModel:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = LinearConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        eos_token_id=0,
    )
    return CodeModel("linear", LinearLM(config), tokenizer)
