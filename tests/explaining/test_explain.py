"""One case end to end on the testbed, whose faults are known, and on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_models import make_model
from tiny_probes import made_probe

import ellora_trust as et
from ellora_trust.errors import InputError
from ellora_trust.explaining.explain import explain
from ellora_trust.explaining.reasons import finest
from ellora_trust.model import CodeModel

PROMPT = "// Sum the red rows in parallel.\nint sum_red_rows(const int *a, int n) {"
LARGEST = "// Find the largest of the red rows in parallel.\nint largest_red_rows(const int *a, int n) {"


@pytest.fixture(scope="module")
def testbed() -> CodeModel:
    return et.load("testbed")


@pytest.fixture(scope="module")
def fix(testbed: CodeModel) -> str:
    (said,) = testbed.generate([PROMPT], max_new_tokens=64)
    return said.text.replace("parallel for", "parallel for reduction(+:total)")


def test_the_risk_of_every_token_is_marked_and_the_model_is_what_it_was(testbed: CodeModel):
    before = {name: tensor.clone() for name, tensor in testbed.hf.state_dict().items()}
    (plain,) = testbed.generate([PROMPT], max_new_tokens=64)
    found = et.explain(testbed, PROMPT, probe=made_probe(testbed), language="c")
    assert found.said.answer == plain.text == "".join(found.said.pieces)
    assert len(found.said.risks) == len(found.said.pieces)
    assert found.risky.basis == "risk"
    assert found.about == found.risky
    assert found.said.risk is not None
    assert found.components is None
    assert found.pair.startswith("No foil was given")
    assert all(torch.equal(before[name], tensor) for name, tensor in testbed.hf.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in testbed.hf.modules())


def test_a_foil_is_asked_about_where_it_departs_and_a_prompt_that_wants_it_names_components(testbed: CodeModel, fix):
    found = explain(testbed, PROMPT, foil=fix, against=LARGEST, language="c")
    assert found.said.answer[: found.about.start].endswith("parallel for")
    result = found.words.result
    assert result.foil is not None
    assert result.foil.startswith(" reduction(+:total)")
    assert result.value > 0  # it prefers its own answer
    assert "testbed prefers the foil" in found.pair
    assert found.components is not None
    assert float(found.components.found.totals.mean()) > 0


def test_where_no_words_left_out_make_it_prefer_the_foil_no_component_is_named(testbed: CodeModel, fix):
    found = explain(testbed, PROMPT, foil=fix, language="c")
    assert found.components is None
    assert "No pair of prompts can be made" in found.pair


def test_leaving_words_out_finds_a_pair_where_words_decide(testbed: CodeModel):
    prompt = "# Sum the red rows.\ndef total_red_rows(rows) ->"
    (said,) = testbed.generate([prompt], max_new_tokens=24)
    assert said.text.startswith(" int:")
    found = explain(testbed, prompt, foil=said.text.replace(" int", " list", 1), max_new_tokens=24)
    assert found.components is not None, found.pair
    pair = found.components.pairs[0]
    assert found.pair.startswith("Without 'total_red_rows', 'Sum' testbed prefers the foil")
    assert len(pair.corrupt) < len(pair.clean)


def test_a_vector_is_tried_beside_a_random_one_and_one_of_another_model_is_not(testbed: CodeModel, fix, tmp_path):
    directions = {"resid.1": torch.zeros(testbed.arch.d_model)}
    nothing = et.SteeringVector(directions, sites=("resid.1",))
    nothing.save(tmp_path / "nothing", model=testbed)
    foreign = make_model("llama")
    et.SteeringVector({"resid.0": torch.ones(foreign.arch.d_model)}, sites=("resid.0",)).save(
        tmp_path / "foreign", model=foreign
    )
    found = explain(
        testbed, PROMPT, foil=fix, vectors=(tmp_path / "nothing", tmp_path / "foreign"), language="c"
    ).trials
    assert [trial.name for trial in found] == [str(tmp_path / "nothing"), str(tmp_path / "foreign")]
    assert found[0].answer == found[0].random
    assert found[0].gain == pytest.approx(0, abs=1e-4)
    assert found[1].answer is None
    assert "was fitted on" in found[1].note


def test_a_predictor_of_the_prompt_says_nothing_of_tokens(testbed: CodeModel):
    found = explain(testbed, PROMPT, probe=made_probe(testbed, position="prompt_end"), language="c")
    assert found.said.risk is not None
    assert found.said.risks == ()
    assert found.risky.basis == "whole answer"
    assert "the predictor reads the prompt alone" in found.page().to_markdown()


def test_the_task_is_named_by_saved_vectors_and_by_none_of_another_model(testbed: CodeModel, tmp_path):
    from attribution.function_vectors.readout import Readout
    from attribution.function_vectors.vectors import TaskVectors

    width = 2 * testbed.arch.d_model // testbed.arch.n_heads
    readout = Readout(("sum", "mean"), torch.zeros(2, width), torch.tensor([2.0, 0.0]))
    empty = torch.zeros(2, 2, width // 2)
    accuracy = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}
    known = {"identification": [{"held": "other words", "method": "chosen heads", "accuracy": accuracy}]}
    heads, stream = ("head.0.0", "head.1.1"), torch.zeros(2, testbed.arch.d_model)
    vectors = TaskVectors(
        "testbed", ("sum", "mean"), heads, torch.zeros(4, 4), empty, stream, readout, "resid.0", 1.0, metrics=known
    )
    vectors.save(tmp_path / "tasks", model=testbed)
    found = explain(testbed, PROMPT, tasks=tmp_path / "tasks", language="c")
    assert found.task is not None
    assert next(iter(found.task.probabilities)) == "sum"
    assert found.task.probabilities["sum"] == pytest.approx(0.881, abs=1e-3)
    assert "90% [80%, 95%] of 40" in found.page().to_markdown()
    assert found.to_dict()["task"]["probabilities"]["mean"] == pytest.approx(0.119, abs=1e-3)
    with pytest.raises(InputError, match="was fitted on"):
        explain(make_model("llama"), "x = 1", tasks=tmp_path / "tasks", max_new_tokens=4)


def test_a_larger_model_gets_coarser_units(testbed: CodeModel, monkeypatch: pytest.MonkeyPatch):
    assert finest(testbed, PROMPT, ["x"], "c") == "identifier"
    monkeypatch.setattr("ellora_trust.explaining.reasons.AFFORDABLE", 1)
    assert finest(testbed, PROMPT, ["x"], "c") == "line"


def test_it_becomes_json_and_a_page_that_escapes_what_the_model_wrote(testbed: CodeModel, tmp_path):
    found = explain(testbed, PROMPT, probe=made_probe(testbed), language="c")
    evil = replace(found, said=replace(found.said, prompt="<script>alert(1)</script>"))
    evil.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["answer"] == found.said.answer
    assert saved["seconds"]["words"]["processor"] > 0
    assert saved["documents"] is None
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert(1)</script>" not in html
    assert "token %{x}, %{customdata}" in html
    assert not (tmp_path / "out" / "forget.json").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"prompt": " "}, "the prompt has no text"),
        ({"format": "poem"}, "unknown prompt format 'poem'"),
        ({"language": "cobol"}, "cobol"),
        ({"foil": ""}, "the foil is empty"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"probe": "nowhere"}, "nowhere"),
        ({"index": "nowhere"}, "nowhere holds no index"),
    ],
)
def test_bad_input_is_one_sentence(testbed: CodeModel, how: dict, message: str):
    with pytest.raises(InputError, match=message):
        explain(testbed, **{"prompt": PROMPT, **how})
