"""A tiny model as a GGUF file."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_gguf(path: Path) -> None:
    """A one-layer llama with random weights and a six-word vocabulary, in GGUF."""
    from gguf import GGUFWriter

    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    d, ff, vocabulary = 32, 64, ["<unk>", "<s>", "</s>", "a", "b", "ab"]
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd": (len(vocabulary), d),
        "output": (len(vocabulary), d),
        "output_norm": (d,),
        **{f"blk.0.{n}": (d, d) for n in ("attn_q", "attn_k", "attn_v", "attn_output")},
        **{f"blk.0.{n}": (d,) for n in ("attn_norm", "ffn_norm")},
        "blk.0.ffn_gate": (ff, d),
        "blk.0.ffn_up": (ff, d),
        "blk.0.ffn_down": (d, ff),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
