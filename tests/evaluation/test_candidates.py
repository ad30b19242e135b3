"""Everything that can be compared, applied and taken back."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import make_model
from tiny_probes import made_probe

import ellora_trust as et
from ellora_trust import fingerprint
from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.cache import state_of
from ellora_trust.evaluation.changes.candidates import Replacement, as_candidate, read_candidate
from ellora_trust.evaluation.changes.gated import read_gate
from ellora_trust.intervention import Nothing
from ellora_trust.loading import load
from ellora_trust.positions import Passage
from steering import SteeringVector
from steering.gating import Gate, LinearScore

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


def saved_vector(base, folder):
    pairs = [("x = 1", "y = 2"), ("a = [1]", "b = [2]")]
    vector = SteeringVector.fit(base, pairs, sites="resid.*").chosen(["resid.1"], 8.0)
    vector.save(folder, model=base)
    return vector


def sums(candidate, base):
    with candidate.entered(base) as state:
        return [one.sum for one in state.score(PROMPTS, [" 1", " 2"])]


def test_a_saved_gate_lets_a_vector_act_only_where_it_opens(base, tmp_path):
    vector = saved_vector(base, tmp_path / "vector")
    score = LinearScore(vector.directions["resid.0"], 0.25)
    ends = et.capture(base, [Passage(one) for one in PROMPTS], "resid.0", ["prompt_end"]).vectors(
        "resid.0", "prompt_end"
    )
    between = float(score(ends).mean())
    Gate(score, between, "resid.0").save(tmp_path / "gate", model=base)
    plain, steered = (
        sums(as_candidate("A/A", "nothing", base), base),
        sums(read_candidate(f"{tmp_path}/vector", base), base),
    )
    gated = read_candidate(f"some={tmp_path}/vector:8@{tmp_path}/gate", base)
    assert (gated.name, gated.kind) == ("some", "gated steering vector")
    opens = (score(ends) >= between).tolist()
    assert sorted(opens) == [False, True]
    expected = [after if opened else before for before, after, opened in zip(plain, steered, opens, strict=True)]
    assert sums(gated, base) == pytest.approx(expected, abs=1e-4)
    assert plain != pytest.approx(steered, abs=1e-3)


def test_a_threshold_behind_the_gate_replaces_its_own(base, tmp_path):
    vector = saved_vector(base, tmp_path / "vector")
    Gate(LinearScore(vector.directions["resid.0"]), 0.0, "resid.0").save(tmp_path / "gate", model=base)
    shut, wide = (read_candidate(f"{tmp_path}/vector@{tmp_path}/gate:{at}", base) for at in ("1e9", "-1e9"))
    assert sums(shut, base) == pytest.approx(sums(as_candidate("A/A", "nothing", base), base), abs=1e-5)
    assert sums(wide, base) == pytest.approx(sums(read_candidate(f"{tmp_path}/vector", base), base), abs=1e-4)
    # Answers under a gate can be kept, and another threshold is another state.
    states = [state_of(base, one.intervention) for one in (shut, wide)]
    assert None not in states
    assert states[0] != states[1]


def test_an_error_predictor_opens_a_gate_by_its_risk(base, tmp_path):
    saved_vector(base, tmp_path / "vector")
    probe = made_probe(base, site="resid.0", position="prompt_end")
    probe.save(tmp_path / "probe", model=base)
    gate = read_gate(tmp_path / "probe", threshold=None, model=base)
    rows = torch.randn(5, base.arch.d_model)
    assert gate.score(rows) == pytest.approx(probe.predict(rows))
    assert (gate.threshold, gate.site) == (0.5, "resid.0")
    assert state_of(base, read_candidate(f"{tmp_path}/vector@{tmp_path}/probe:0.7", base).intervention) is not None
    probe.position_ = "answer.mean"
    probe.save(tmp_path / "late", model=base)
    with pytest.raises(InputError, match="decides before the answer"):
        read_gate(tmp_path / "late", threshold=None, model=base)


def test_what_is_no_gate_is_refused(base, tmp_path):
    vector = saved_vector(base, tmp_path / "vector")
    with pytest.raises(InputError, match="which opens no gate"):
        read_candidate(f"{tmp_path}/vector@{tmp_path}/vector", base)
    with pytest.raises(InputError, match="this one is a function"):
        Gate(lambda hidden: hidden[:, 0], 0.0, "resid.0").save(tmp_path / "gate", model=base)
    Gate(LinearScore(vector.directions["resid.0"]), 0.0, "resid.0").save(tmp_path / "gate", model=base)
    with pytest.raises(InputError, match="--force"):
        read_candidate(f"{tmp_path}/vector@{tmp_path}/gate", make_model("qwen2"))


def test_a_slip_in_a_precision_is_said_before_the_hub_is_asked(tiny):
    with pytest.raises(InputError, match=r"unknown candidate 'int9'.* did you mean 'int\d'\?"):
        read_candidate("int9", tiny)
