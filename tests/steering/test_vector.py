"""Steering vectors: fitted, applied at the right tokens whatever the batch, taken back, saved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, make_model

from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.model import CodeModel
from ellora_trust.positions import Passage
from probes import ErrorProbe
from steering import SteeringVector, per_row

PROMPTS = [
    "def add(a, b):\n    return",
    "x = [1, 2, 3]\ny = x\ny.append(4)\nprint(x",
    "for i in range(3):\n    print(i",
]
PAIRS = [("def add(a, b):\n    return a", "def f(x):\n    x"), ("y = x[:]\nprint(y)", "y = x\nprint(y)")]


@pytest.fixture(scope="module")
def vector(tiny: CodeModel) -> SteeringVector:
    return SteeringVector.fit(tiny, PAIRS, ["resid.0", "resid.1", "attn.1"])


def logits_of(model: CodeModel, prompt: str) -> torch.Tensor:
    ids = model.tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        return model.hf(ids).logits[0]


def hooks_of(model: CodeModel) -> list[tuple[int, ...]]:
    """Numbers of every module's hooks: another test of this model may have left some of its own."""
    return [(*m._forward_hooks, *m._forward_pre_hooks) for m in model.hf.modules()]


def own_generate(model: CodeModel, prompts: list[str], **how) -> list[list[int]]:
    batch = model.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    out = model.hf.generate(**batch, max_new_tokens=6, do_sample=False, **how)
    answers = out[:, batch.input_ids.shape[1] :].tolist()
    return [answer[: answer.index(0) + 1] if 0 in answer else answer for answer in answers]  # 0 ends a text


def tokens_of(model: CodeModel, prompts: list[str]) -> list[list[int]]:
    return [answer.tokens for answer in model.generate(prompts, max_new_tokens=6)]


def test_direction_is_the_mean_difference_of_the_activations(tiny: CodeModel, vector: SteeringVector):
    positive = capture(tiny, [p for p, _ in PAIRS], "resid.1", "prompt_end").vectors("resid.1", "prompt_end")
    negative = capture(tiny, [n for _, n in PAIRS], "resid.1", "prompt_end").vectors("resid.1", "prompt_end")
    torch.testing.assert_close(vector.directions["resid.1"], (positive - negative).mean(0))
    assert vector.norms["resid.1"] == pytest.approx(float((positive - negative).mean(0).norm()), rel=1e-5)


@pytest.mark.parametrize("positions", ["prompt_end", "all", "answer", "prompt"])
def test_batches_padding_and_caching_change_nothing(tiny: CodeModel, vector: SteeringVector, positions: str):
    how = {"sites": ["resid.0", "resid.1"], "strength": 6.0, "positions": positions}
    with vector.apply(tiny, **how):
        alone = [own_generate(tiny, [prompt])[0] for prompt in PROMPTS]
        together = own_generate(tiny, PROMPTS)
        uncached = own_generate(tiny, PROMPTS, use_cache=False)
        ours = tokens_of(tiny, PROMPTS)
        doubled = tokens_of(tiny, [*PROMPTS, *PROMPTS])
    assert alone == together == uncached == ours == doubled[:3] == doubled[3:]
    assert alone != [own_generate(tiny, [prompt])[0] for prompt in PROMPTS]


def test_beams_are_steered_as_their_prompts(tiny: CodeModel, vector: SteeringVector):
    with vector.apply(tiny, sites="resid.0", strength=[6.0, None, 6.0], positions="all"):
        together = own_generate(tiny, PROMPTS, num_beams=3)
    for number, prompt in enumerate(PROMPTS):
        strength = None if number == 1 else 6.0
        with vector.apply(tiny, sites="resid.0", strength=[strength], positions="all"):
            assert own_generate(tiny, [prompt], num_beams=3)[0] == together[number]


def test_zero_strength_leaves_logits_unchanged(tiny: CodeModel, vector: SteeringVector):
    plain = logits_of(tiny, PROMPTS[0])
    with vector.apply(tiny, sites=["resid.0", "resid.1"], strength=0.0, positions="all"):
        assert torch.equal(logits_of(tiny, PROMPTS[0]), plain)


def test_model_is_restored_also_after_an_exception(tiny: CodeModel, vector: SteeringVector):
    hooks = hooks_of(tiny)
    plain, weights = logits_of(tiny, PROMPTS[0]), {k: v.clone() for k, v in tiny.hf.state_dict().items()}
    with pytest.raises(TypeError), vector.apply(tiny, sites="resid.0", strength=9.0, positions="all"):
        steered = logits_of(tiny, PROMPTS[0]) + None
    with vector.apply(tiny, sites="resid.0", strength=9.0, positions="all"):
        steered = logits_of(tiny, PROMPTS[0])
    assert not torch.equal(steered, plain)
    assert torch.equal(logits_of(tiny, PROMPTS[0]), plain)
    assert all(torch.equal(tiny.hf.state_dict()[name], value) for name, value in weights.items())
    assert hooks_of(tiny) == hooks
    assert "generate" not in tiny.hf.__dict__
    assert tiny.may_share_prefixes
    assert tiny.batch is None


def test_only_the_named_token_changes(tiny: CodeModel, vector: SteeringVector):
    plain = capture(tiny, PROMPTS, "resid.0", "all")["resid.0", "all"]
    with vector.apply(tiny, sites="resid.0", strength=3.0, positions="prompt_end"):
        steered = capture(tiny, PROMPTS, "resid.0", "all")["resid.0", "all"]
    for before, after in zip(plain, steered, strict=True):
        torch.testing.assert_close(after[-1] - before[-1], 3 * vector.directions["resid.0"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(after[:-1], before[:-1])


def test_selector_finds_its_tokens_under_padding(tiny: CodeModel, vector: SteeringVector):
    prompt = PROMPTS[1]
    tokens = tiny.tokenizer(prompt, return_offsets_mapping=True)
    at = prompt.rindex("x")
    expected = [i for i, (start, end) in enumerate(tokens["offset_mapping"]) if start <= at < end]
    plain = capture(tiny, PROMPTS, "resid.0", "all")["resid.0", "all"][1]
    with vector.apply(tiny, sites="resid.0", strength=3.0, positions='last_use("x")'):
        steered = capture(tiny, PROMPTS, "resid.0", "all")["resid.0", "all"][1]
    moved = ((steered - plain).abs().amax(-1) > 1e-3).nonzero().flatten().tolist()
    assert moved == expected


def test_scored_answer_does_not_move_the_prompt_end(tiny: CodeModel, vector: SteeringVector):
    passage = Passage(PROMPTS[0], " a + b")
    plain = capture(tiny, [passage], "resid.0", "all")["resid.0", "all"][0]
    with vector.apply(tiny, sites="resid.0", strength=3.0):
        steered = capture(tiny, [passage], "resid.0", "all")["resid.0", "all"][0]
    moved = ((steered - plain).abs().amax(-1) > 1e-3).nonzero().flatten().tolist()
    assert moved == [len(tiny.tokenizer(PROMPTS[0]).input_ids) - 1]


def component(model: CodeModel, vector: SteeringVector) -> torch.Tensor:
    unit = vector.directions["resid.1"] / vector.directions["resid.1"].norm()
    return capture(model, PROMPTS, "resid.1", "prompt_end").vectors("resid.1", "prompt_end") @ unit


def test_ablate_clamp_and_project_set_the_component(tiny: CodeModel, vector: SteeringVector):
    before = component(tiny, vector)
    length = float(vector.directions["resid.1"].norm())
    for operation, strength, expected in (
        ("ablate", 1.0, torch.zeros(3)),
        ("ablate", 0.5, before / 2),
        ("clamp", 2.0, torch.full((3,), 2 * length)),
        ("project", -1.0, -before),
    ):
        with vector.apply(tiny, sites="resid.1", strength=strength, operation=operation):
            torch.testing.assert_close(component(tiny, vector), expected, atol=1e-3, rtol=1e-3)


def test_each_prompt_of_a_batch_can_have_its_own_vector(tiny: CodeModel, vector: SteeringVector):
    other = dataclasses.replace(vector, directions={s: -2 * v for s, v in vector.directions.items()})
    each = [vector.steering("resid.0", 5.0, "all"), None, other.steering("resid.0", 5.0, "all")]
    with per_row(each).apply(tiny):
        together = tokens_of(tiny, PROMPTS)
    for number, steering in enumerate(each):
        if steering is None:
            assert together[number] == tokens_of(tiny, [PROMPTS[number]])[0]
        else:
            with steering.apply(tiny):
                assert together[number] == tokens_of(tiny, [PROMPTS[number]])[0]


def test_gate_decides_row_by_row(tiny: CodeModel, vector: SteeringVector):
    seen = capture(tiny, PROMPTS, "resid.0", "prompt_end").vectors("resid.0", "prompt_end")
    threshold = float(seen[:, 0].sort().values[1])
    gate = {"when": lambda h: h[:, 0], "threshold": threshold, "when_site": "resid.0"}
    with vector.apply(tiny, sites="resid.1", strength=8.0, positions="answer", **gate):
        gated, own = tokens_of(tiny, PROMPTS), own_generate(tiny, PROMPTS)
    with vector.apply(tiny, sites="resid.1", strength=8.0, positions="answer"):
        steered = tokens_of(tiny, PROMPTS)
    plain = tokens_of(tiny, PROMPTS)
    is_open = seen[:, 0] >= threshold
    assert is_open.sum() == 2
    assert gated == own == [steered[i] if is_open[i] else plain[i] for i in range(3)]


def test_gate_behind_the_steered_site_is_refused(tiny: CodeModel, vector: SteeringVector):
    gate = {"when": lambda h: h[:, 0], "when_site": "resid.1"}
    with pytest.raises(InputError, match="lies behind"), vector.apply(tiny, sites="resid.0", **gate):
        pass


def test_error_predictor_can_be_the_gate(tiny: CodeModel, vector: SteeringVector):
    prompts = [f"{prompt} {number}" for number in range(12) for prompt in PROMPTS]
    seen = capture(tiny, prompts, "resid.0", "prompt_end")
    wrong = np.tile([True, False, True], 12)
    probe = ErrorProbe().fit(dict(seen), wrong, np.repeat(np.arange(12), 3))
    first = prompts[:3]
    risky = probe.predict(seen.vectors("resid.0", "prompt_end")[:3]) >= 0.5
    assert risky.tolist() == [True, False, True]
    how = {"sites": "resid.1", "strength": 8.0, "positions": "answer"}
    with vector.apply(tiny, **how, when=probe.predict, when_site="resid.0"):
        gated = tokens_of(tiny, first)
    with vector.apply(tiny, **how):
        steered = tokens_of(tiny, first)
    plain = tokens_of(tiny, first)
    assert gated == [steered[0], plain[1], steered[2]]
    assert steered != plain


def test_two_vectors_add_up(tiny: CodeModel, vector: SteeringVector):
    plain = capture(tiny, PROMPTS, "resid.0", "prompt_end").vectors("resid.0", "prompt_end")
    with vector.apply(tiny, sites="resid.0"), vector.apply(tiny, sites="resid.0", strength=2.0):
        both = capture(tiny, PROMPTS, "resid.0", "prompt_end").vectors("resid.0", "prompt_end")
    torch.testing.assert_close(both - plain, 3 * vector.directions["resid.0"].expand(3, -1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_is_steered_alike_with_and_without_cache(family: str):
    model = make_model(family)
    vector = SteeringVector.fit(model, PAIRS, "resid.*")
    with vector.apply(model, sites=["resid.0", "resid.1"], strength=4.0, positions="all"):
        cached = own_generate(model, PROMPTS)
        assert cached == own_generate(model, PROMPTS, use_cache=False)
        assert cached == tokens_of(model, PROMPTS)


def test_saved_vector_is_the_same_and_knows_its_model(tiny: CodeModel, vector: SteeringVector, tmp_path):
    vector.chosen(["resid.1"], 2.0).save(tmp_path / "v", model=tiny, data={"pairs": 2}, metrics={})
    loaded = SteeringVector.load(tmp_path / "v", model=tiny)
    assert loaded.sites == ("resid.1",)
    assert loaded.strength == 2.0
    assert loaded.artifact.data == {"pairs": 2}
    assert all(torch.equal(loaded.directions[site], value) for site, value in vector.directions.items())
    with pytest.raises(InputError, match="was fitted on tiny-llama"):
        SteeringVector.load(tmp_path / "v", model=make_model("gpt2"))


def test_bad_requests_get_one_sentence(tiny: CodeModel, vector: SteeringVector):
    for how, message in (
        ({"sites": "resid.9"}, "has no direction at resid.9"),
        ({}, "none was chosen"),
        ({"sites": "resid.0", "positions": "somewhere"}, "unknown position 'somewhere'"),
        ({"sites": "resid.0", "positions": "fim_middle"}, "no token that ends"),
        ({"sites": "resid.0", "operation": "multiply"}, "unknown steering operation"),
    ):
        with pytest.raises(InputError, match=message), vector.apply(tiny, **how):
            pass
    with pytest.raises(InputError, match="strengths were given"), vector.apply(tiny, sites="resid.0", strength=[1.0]):
        tiny.generate(PROMPTS, max_new_tokens=1)
    with pytest.raises(InputError, match="no pair"):
        SteeringVector.fit(tiny, [])
    with pytest.raises(InputError, match="is nowhere in the prompt"):
        SteeringVector.fit(tiny, PAIRS, position='last_use("nothing")')
