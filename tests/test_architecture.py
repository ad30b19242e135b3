"""Structure is found without a list of names, for every family tried."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, make_model
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, LlamaModel

from ellora_trust.architecture import discover
from ellora_trust.errors import InputError
from ellora_trust.hooks import capture, edit
from ellora_trust.sites import resolve
from ellora_trust.validation import check_sites


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_of_every_family_is_what_it_is_called(family: str):
    model = make_model(family)
    kinds = ["embed", "resid.*", "attn.*", "mlp.*", "head.*.*"]
    checks = check_sites(model, [site for kind in kinds for site in resolve(model, kind)])
    assert len(checks) == 1 + 3 * 2 + 2 * 4
    assert all(check.ok for check in checks), [str(c.site) for c in checks if not c.ok]


@pytest.mark.parametrize("family", FAMILIES)
def test_stream_is_the_sum_of_what_the_parts_add(family: str):
    # torch multiplies experts in single precision only.
    experts = family in ("mixtral", "qwen2_moe", "deepseek_v3")
    model = make_model(family, dtype=torch.float32 if experts else torch.float64)
    seen = capture(model, ["x = [1, 2]"], ["embed", "resid.*", "attn.*", "mlp.*"], "all")
    before = seen["embed", "all"][0]
    for layer in range(2):
        before = before + seen[f"attn.{layer}", "all"][0] + seen[f"mlp.{layer}", "all"][0]
        assert torch.allclose(seen[f"resid.{layer}", "all"][0], before, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "gpt2", "opt", "deepseek_v3"])
def test_zeroing_every_head_zeroes_the_attention_but_its_bias(family: str):
    model = make_model(family)
    with edit(model, {"head.1.*": lambda h, at: h * 0}):
        first = capture(model, ["x = 1"], "attn.1", "all")["attn.1", "all"][0]
        other = capture(model, ["y + 2"], "attn.1", "all")["attn.1", "all"][0]
    assert torch.allclose(first[0], other[1], atol=1e-6)


def test_a_model_without_head_is_refused_with_a_remedy():
    headless = LlamaModel(LlamaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(InputError, match="no language-model head; load it with AutoModelForCausalLM"):
        discover(headless)


def test_blocks_that_are_no_sum_are_refused_by_name():
    bloom = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=2))
    with pytest.raises(InputError, match=r"transformer.h.0 \(BloomBlock\) does not add attention \+ MLP"):
        discover(bloom.eval())


def test_blocks_that_add_little_more_than_bfloat16_rounds_are_still_named():
    # As in SmolLM2, whose first token has a stream a hundred times as long as what a block adds.
    model = make_model("llama")
    with torch.no_grad():
        model.hf.get_input_embeddings().weight.mul_(60)
    exact = discover(model.hf)
    rounded = discover(model.hf.to(torch.bfloat16))
    names = [(block.attn.name, block.mlp.name, block.attn.scale) for block in exact.blocks]
    assert [(block.attn.name, block.mlp.name, block.attn.scale) for block in rounded.blocks] == names
