"""Everything that can be compared, applied and taken back."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import make_model

from ellora_trust import fingerprint
from ellora_trust.errors import InputError
from ellora_trust.evaluation.candidates import Replacement, as_candidate, read_candidate
from ellora_trust.intervention import Nothing
from ellora_trust.loading import load
from steering import SteeringVector

PROMPTS = ["def add(a, b):", "x = [1"]


@pytest.fixture
def base(tiny_folder):
    return load(tiny_folder)


def adapter(folder, base_folder, **settings):
    """Train nothing: random numbers in an adapter as PEFT saves it; returns PEFT's own merged logits."""
    torch.manual_seed(0)
    model = load(base_folder)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], **settings)
    peft = get_peft_model(model.hf, config)
    for name, weight in peft.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn_like(weight)
    peft.save_pretrained(folder)
    ids = model.tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    return peft(ids).logits.detach()


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_a_lora_adapter_is_what_peft_makes_of_it(base, tiny_folder, tmp_path, rank_stabilised):
    expected = adapter(tmp_path / "lora", tiny_folder, use_rslora=rank_stabilised)
    candidate = read_candidate(str(tmp_path / "lora"), base)
    ids = base.tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    plain = base.hf(ids).logits.detach()
    before = fingerprint.of_weights(base.hf)
    with candidate.entered(base) as state:
        assert torch.allclose(state.hf(ids).logits, expected, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert fingerprint.of_weights(base.hf) == before


def test_an_adapter_that_means_something_else_is_refused(base, tiny_folder, tmp_path):
    adapter(tmp_path / "dora", tiny_folder, use_dora=True)
    with pytest.raises(InputError, match="uses use_dora; merge it"):
        read_candidate(str(tmp_path / "dora"), base)
    adapter(tmp_path / "other", tiny_folder)
    config = json.loads((tmp_path / "other/adapter_config.json").read_text())
    (tmp_path / "other/adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(InputError, match="is a IA3 adapter"):
        read_candidate(str(tmp_path / "other"), base)


def test_an_adapter_of_another_model_is_refused(base, tiny_folder, tmp_path):
    adapter(tmp_path / "lora", tiny_folder)
    file = tmp_path / "lora/adapter_model.safetensors"
    parts = load_file(file)
    save_file({name.replace("layers.1", "layers.7"): tensor for name, tensor in parts.items()}, file)
    with pytest.raises(InputError, match=r"layers\.7.*lacks"):
        read_candidate(str(tmp_path / "lora"), base)


def test_a_steering_vector_is_applied_with_the_strength_asked_for(base, tmp_path):
    pairs = [("x = 1", "y = 2"), ("a = [1]", "b = [2]")]
    vector = SteeringVector.fit(base, pairs, sites=["resid.0"]).chosen(["resid.0"], 1.0)
    vector.save(tmp_path / "vector", model=base)
    weak, strong = (read_candidate(f"{tmp_path}/vector{end}", base) for end in ("", ":8"))
    logits = []
    for one in (weak, strong):
        with one.entered(base) as state:
            logits.append(state.score(PROMPTS, [" 1", " 2"])[0].sum)
    assert logits[0] != logits[1]
    assert weak.kind == "steering vector"
    with pytest.raises(InputError, match="--force"):
        read_candidate(f"{tmp_path}/vector", make_model("qwen2"))


def test_another_checkpoint_is_evaluated_as_it_is(base, tmp_path):
    other = make_model("llama")
    for weight in other.hf.parameters():
        weight.data = weight.data * 1.5
    other.hf.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    candidate = read_candidate(f"bigger={tmp_path / 'other'}", base)
    assert candidate.name == "bigger"
    with candidate.entered(base) as state:
        assert state is not base
        whole = state.score(PROMPTS, [" 1", " 2"])
    # Put into the base's own shape it is the same.
    with Replacement(state).apply(base):
        assert [one.sum for one in base.score(PROMPTS, [" 1", " 2"])] == [one.sum for one in whole]


def test_a_checkpoint_with_another_vocabulary_is_refused(base):
    with pytest.raises(InputError, match="another vocabulary"):
        read_candidate("testbed", base)


def test_bfloat16_is_a_copy_and_leaves_the_base_alone(base):
    with read_candidate("bfloat16", base).entered(base) as state:
        assert state.hf.dtype == torch.bfloat16
        assert base.hf.dtype == torch.float32


def test_what_is_no_candidate_is_said(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no config"):
        read_candidate(str(tmp_path / "empty"), base)
    with pytest.raises(InputError, match="give an intervention"):
        as_candidate("x", 3, base)  # pyright: ignore[reportArgumentType]
    assert isinstance(as_candidate("A/A", "nothing", base).intervention, Nothing)


def test_an_error_predictor_changes_no_model(base, tmp_path):
    from ellora_trust import artifacts

    artifacts.write(tmp_path / "probe", artifacts.Artifact("error-probe", artifacts.describe_model(base)), {})
    with pytest.raises(InputError, match="error-probe, which changes no model"):
        read_candidate(str(tmp_path / "probe"), base)
