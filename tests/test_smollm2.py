"""The real default model: converted right, read right, the same under batching."""

from __future__ import annotations

import json

import pytest
import torch

import ellora_trust as et
from ellora_trust.model import CodeModel
from ellora_trust.prompts import fim_format

pytestmark = pytest.mark.smollm2
PROMPTS = ["def add(a, b):\n    return", "x = [1, 2, 3]\ny = x\ny.append(4)\nprint(x)  # Output:", "import os"]


def test_it_is_a_plain_model_with_tied_weights(smollm2: CodeModel):
    assert smollm2.arch.n_layers == 30
    assert smollm2.arch.d_model == 576
    assert smollm2.arch.head.weight.data_ptr() == smollm2.hf.get_input_embeddings().weight.data_ptr()
    assert smollm2.source is not None
    config = json.loads((smollm2.source / "config.json").read_text())
    assert "quantization_config" not in config
    assert [p.name for p in smollm2.source.glob("*.safetensors")] == ["model.safetensors"]
    assert fim_format(smollm2.tokenizer) is None


def test_it_completes_code(smollm2: CodeModel):
    assert smollm2.generate(PROMPTS[:1], max_new_tokens=8, stop=("\n",))[0].text == " a + b"


def test_every_layer_equals_output_hidden_states_within_the_tokens_norm(smollm2: CodeModel):
    got = et.capture(smollm2, PROMPTS, ["embed", "resid.*"], ["all", "mean", "last"])
    for i, prompt in enumerate(PROMPTS):
        ids = torch.tensor([smollm2.tokenizer(prompt).input_ids])
        with torch.no_grad():
            hidden = smollm2.hf(ids, output_hidden_states=True).hidden_states
        # transformers' last entry is after the final norm; ours is the stream before it.
        for layer, expected in enumerate(hidden[:-1]):
            site = "embed" if layer == 0 else f"resid.{layer - 1}"
            error = (got[site, "all"][i] - expected[0]).norm(dim=-1) / expected[0].norm(dim=-1)
            assert float(error.max()) <= 1e-5, site
    first = got["resid.20", "all"][0].norm(dim=-1)
    assert first[0] > 10_000  # the attention sink that `mean` leaves out
    assert float(got["resid.20", "mean"][0].norm()) < 1000


def test_scores_are_the_same_alone_and_in_a_batch(smollm2: CodeModel):
    answers = [" a + b", " [1, 2, 3, 4]", "\nimport sys"]
    together = smollm2.score(PROMPTS, answers)
    for prompt, answer, score in zip(PROMPTS, answers, together, strict=True):
        alone = smollm2.score([prompt], [answer])[0]
        assert torch.allclose(score.tokens, alone.tokens, atol=2e-4)


def test_labels_and_activations_come_from_one_pass(smollm2: CodeModel):
    task = et.load_task("aliasing")
    labelled = et.label(smollm2, task, limit=6, sites=["resid.12"], positions=["prompt_end", "answer"])
    assert len(labelled.outcomes) == 6
    assert labelled.prompt_format == "plain"
    row = labelled.dataset()[0]
    assert row["outcome"] in ("correct", "wrong")
    passages = [
        et.Passage(task.header + e.prompt, answer_ids=tuple(g.tokens[: g.n_answer]))
        for e, g in zip(labelled.examples, labelled.generations, strict=True)
    ]
    again = et.capture(smollm2, passages, "resid.12", ["prompt_end", "answer"])
    for key, value in again.items():
        error = (value - labelled.activations[key]).norm(dim=-1) / value.norm(dim=-1).clamp_min(1e-6)
        assert float(error.max()) <= 1e-4, key
