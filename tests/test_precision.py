"""Quantised weights: what only reads works, what would write them is refused in one sentence."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, make_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from attribution.gradient.gradients import per_text_gradients
from attribution.gradient.layers import Layer, find_layers
from attribution.gradient.losses import whole
from ellora_trust import capture
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.evaluation.changes.candidates import in_dtype
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.precision import need_float, packed_weights
from unlearning import Item, unlearn

TEXT = "def add(a, b):\n    return a + b\n"
ITEM = Item("add", "add", "def add(a, b):", "\n    return a + b\n")


class Rounded(nn.Module):
    """A matrix in int8 with a scale a row, as a package that brings modules of its own keeps it."""

    weight: Tensor
    scale: Tensor

    def __init__(self, matrix: nn.Linear):
        super().__init__()
        scale = matrix.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (matrix.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.weight * self.scale).T


def rounded(model: CodeModel) -> CodeModel:
    """A copy with the MLPs' last matrices in int8."""
    hf: Any = copy.deepcopy(model.hf)
    for block in hf.model.layers:
        block.mlp.down_proj = Rounded(block.mlp.down_proj)
    return CodeModel("tiny-int8", hf, model.tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_floating_point_model_is_taken_for_a_quantised_one(family: str, dtype: torch.dtype):
    model = make_model(family, dtype=dtype)
    assert packed_weights(model.hf) == []
    need_float(model, "this test")


def test_a_quantised_model_answers_is_scored_and_read(tiny: CodeModel):
    model = rounded(tiny)
    assert model.score(["x ="], [" 1"])[0].sum == pytest.approx(tiny.score(["x ="], [" 1"])[0].sum, abs=0.2)
    assert len(model.generate(["x ="], max_new_tokens=3)[0].tokens) > 0
    states = [torch.as_tensor(capture(one, [TEXT], "resid.1", "last")["resid.1", "last"]) for one in (tiny, model)]
    assert torch.cosine_similarity(states[0], states[1]).item() > 0.99
    assert model.fingerprint != tiny.fingerprint


def test_unlearn_names_a_quantised_weight_and_what_to_do(tiny: CodeModel):
    model = rounded(tiny)
    with pytest.raises(
        InputError,
        match=r"unlearn needs floating-point weights, and 2 of tiny-int8 are quantised, "
        r"model\.layers\.0\.mlp\.down_proj\.weight among them; use the checkpoint that it was made of, in float32",
    ):
        unlearn(model, forget=[ITEM], retain=[ITEM])


def test_what_would_round_cast_or_train_quantised_weights_is_refused(tiny: CodeModel):
    model = rounded(tiny)
    with pytest.raises(InputError, match="rounding to 4 bits needs floating-point weights"):
        quantised(model, 4)
    with pytest.raises(InputError, match="a copy in bfloat16 needs floating-point weights"):
        in_dtype(model, torch.bfloat16)
    with pytest.raises(InputError, match="training all weights further needs floating-point weights"):
        relearn(model, [ITEM], steps=1, learning_rate=1e-3, watch=lambda model: 0.0)


def test_adapters_can_be_trained_beside_quantised_weights(tiny: CodeModel):
    found = relearn(
        rounded(tiny),
        [ITEM],
        steps=4,
        learning_rate=1e-2,
        rank=2,
        watch=lambda m: m.score([ITEM.prompt], [" a"])[0].sum,
    )
    assert found.curve[-1] != found.curve[0]


def test_attribution_does_not_leave_out_a_matrix_that_it_cannot_see_into(tiny: CodeModel):
    with pytest.raises(InputError, match=r"model\.layers\.0\.mlp\.down_proj is a Rounded with quantised weights"):
        find_layers(rounded(tiny))


class Stops(torch.autograd.Function):
    """The identity, without a gradient: as a kernel for answers alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        return None


def test_a_kernel_without_a_gradient_is_named(tiny: CodeModel):
    layers = find_layers(tiny)
    handle = tiny.hf.get_submodule("model.norm").register_forward_hook(lambda module, args, out: Stops.apply(out))
    try:
        with pytest.raises(
            InputError, match=r"no gradient reaches model\.layers\.1\.mlp\.down_proj: .* use another quantisation"
        ):
            per_text_gradients(tiny, layers, [whole(tiny, TEXT)])
    finally:
        handle.remove()
    assert per_text_gradients(tiny, layers, [whole(tiny, TEXT)])["lm_head"].abs().max() > 0


def test_a_checkpoint_whose_package_is_missing_names_the_extra(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(*args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError("No module named 'torchao'")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", missing)
    with pytest.raises(EnvironmentProblem, match=r"No module named 'torchao'; for quantised weights, pip install 'ell"):
        load(tiny_folder)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is an optional extra")
@pytest.mark.parametrize("setting", ["load_in_4bit", "load_in_8bit"])
def test_a_checkpoint_of_bitsandbytes_loads_and_every_matrix_passes_the_gradient_on(
    tiny: CodeModel, tiny_folder: Path, tmp_path: Path, setting: str
):
    how: Any = {setting: True}
    if setting == "load_in_4bit":
        how |= {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}
    made: Any = AutoModelForCausalLM.from_pretrained(
        tiny_folder, quantization_config=BitsAndBytesConfig(**how), dtype=torch.float32, device_map={"": "cpu"}
    )
    made.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    model = load(tmp_path, device="cpu")
    assert packed_weights(model.hf)
    layers = find_layers(model)
    assert [one.name for one in layers] == [one.name for one in find_layers(tiny)]
    ours, theirs = (per_text_gradients(m, layers, [whole(m, TEXT)]) for m, layers in both(tiny, model))
    worst = min(float(torch.cosine_similarity(ours[n].flatten(), theirs[n].flatten(), 0)) for n in ours)
    assert worst > (0.6 if setting == "load_in_4bit" else 0.99)
    with pytest.raises(InputError, match="unlearn needs floating-point weights"):
        unlearn(model, forget=[ITEM], retain=[ITEM])


def both(*models: CodeModel) -> list[tuple[CodeModel, list[Layer]]]:
    return [(model, find_layers(model)) for model in models]


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is an optional extra")
def test_torchaos_weights_have_a_fingerprint_and_gradients(tiny: CodeModel):
    from torchao.quantization import (  # pyright: ignore[reportMissingImports]  # an extra
        Int8WeightOnlyConfig,
        quantize_,
    )

    hf = copy.deepcopy(tiny.hf)
    quantize_(hf, Int8WeightOnlyConfig(), lambda module, name: isinstance(module, nn.Linear) and "layers" in name)
    model = CodeModel("tiny-torchao", hf, tiny.tokenizer)
    first = model.fingerprint
    assert first == model.fingerprint != tiny.fingerprint
    with pytest.raises(InputError, match="unlearn needs floating-point weights"):
        unlearn(model, forget=[ITEM], retain=[ITEM])
    name = "model.layers.0.self_attn.q_proj"
    ours, theirs = (per_text_gradients(m, find_layers(m), [whole(m, TEXT)])[name].flatten() for m in (tiny, model))
    assert torch.cosine_similarity(ours, theirs, 0) > 0.99
