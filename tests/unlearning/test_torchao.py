"""torchao's rounding: what it gives back is what it computes with; without it, a sentence."""

from __future__ import annotations

import copy
import importlib.util
import sys

import pytest
import torch
from tiny_models import make_model

from ellora_trust.errors import EnvironmentProblem, InputError
from unlearning.checkpoint.delta import weights_sha256
from unlearning.checkpoint.torchao_rounding import available, stored

installed = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is an optional extra")


@installed
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_changes_linear_layers_by_at_most_half_a_step_and_is_taken_back(family, bits):
    model = make_model(family)
    sha = weights_sha256(model.hf)
    change = stored(model, bits)
    assert change.tensors
    assert not any("embed" in name or "wte" in name for name in change.tensors)
    before = dict(model.hf.named_parameters())
    for name, weight in change.tensors.items():
        old = before[name].detach()
        step = old.abs().max() / (2 ** (bits - 1) - 1)
        assert 0 < (weight - old).abs().max() <= 0.6 * step
    with change.apply(model):
        assert weights_sha256(model.hf) != sha
    assert weights_sha256(model.hf) == sha


@installed
def test_logits_are_those_of_a_model_that_torchao_quantised():
    from torchao.quantization import (  # pyright: ignore[reportMissingImports]  # an extra
        Int8WeightOnlyConfig,
        quantize_,
    )

    model = make_model("llama")
    theirs = copy.deepcopy(model.hf)
    # `stored` names what it rounds: a head that is tied to the embedding is not among it.
    rounded = {name.removesuffix(".weight") for name in stored(model, 8).tensors}
    quantize_(theirs, Int8WeightOnlyConfig(), lambda module, name: name in rounded)
    ids = torch.tensor([model.tokenizer("def f(x):\n    return x\n").input_ids])
    with torch.no_grad(), stored(model, 8).apply(model):
        assert torch.allclose(model.hf(ids).logits, theirs(ids).logits, atol=2e-4)


def test_without_torchao_the_extra_is_named(monkeypatch):
    model = make_model("llama")
    with pytest.raises(InputError, match="use 8 or 4"):
        stored(model, 3)
    monkeypatch.setattr("unlearning.checkpoint.torchao_rounding._installed", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'ellora-trust\[torchao\]'"):
        stored(model, 8)


def test_a_torchao_that_cannot_be_imported_is_one_sentence(monkeypatch):
    monkeypatch.setattr("unlearning.checkpoint.torchao_rounding._installed", lambda: True)
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(EnvironmentProblem, match=r"cannot be used .* install the version in constraints\.txt"):
        stored(make_model("llama"), 8)
    with pytest.warns(UserWarning, match="rounding by torchao is left out"):
        assert not available()
