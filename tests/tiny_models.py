"""Tiny random models of many families, from their configs."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from ellora_trust.model import CodeModel

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
EXPERTS = {
    "moe_intermediate_size": 16,
    "num_experts_per_tok": 2,
}
# model_type of transformers -> settings beside the vocabulary
FAMILIES = {
    "gpt_bigcode": OLD,
    "gpt2": OLD,
    "codegen": {**OLD, "rotary_dim": 4},
    "starcoder2": GROUPED,
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "mistral": GROUPED,
    "gemma2": {**GROUPED, "head_dim": 8},
    "gemma3_text": {**GROUPED, "head_dim": 8},
    "gpt_neox": SHAPE,
    "phi": SHAPE,
    "opt": {**{k: v for k, v in SHAPE.items() if k != "intermediate_size"}, "ffn_dim": 48, "word_embed_proj_dim": 32},
    "cohere": GROUPED,
    "granite": {**GROUPED, "residual_multiplier": 0.3},
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "qwen2_moe": {**GROUPED, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "deepseek_v3": {
        **SHAPE,
        **EXPERTS,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
}
CORPUS = ["def add(a, b):\n    return a + b\n", "for i in range(10):\n    print(i)\n", "x = [1, 2, 3]\ny = x[:]\n"]


def make_tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A small byte-level tokenizer; byte-level, so that every text can be written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<eos>", *extra], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def make_model(family: str = "llama", *, dtype: torch.dtype = torch.float32, seed: int = 0) -> CodeModel:
    """A random two-layer model of a family, with weights large enough that logits differ."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0, **FAMILIES[family]
    )
    hf = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for parameter in hf.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return CodeModel(f"tiny-{family}", hf, tokenizer)


def hooks_of(model: CodeModel) -> list[tuple[int, ...]]:
    """Ids of the hooks on every module, to see that nothing stays."""
    return [(*module._forward_hooks, *module._forward_pre_hooks) for module in model.hf.modules()]
