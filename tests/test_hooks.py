"""Activations are read and replaced exactly, whatever the batch, and no trace is left."""

from __future__ import annotations

import hashlib

import pytest
import torch
from tiny_models import FAMILIES, make_model

from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder, capture, edit
from ellora_trust.positions import Passage
from ellora_trust.sites import Site, visit

PROMPTS = ["def add(a, b):\n    return", "x = 1", "for i in range(10):\n    print(i, i + 1, 'and more')\n", "y = x[:]"]
POSITIONS = ["last", "mean", "max", "all", "prompt_end", 0, 2]


def close(a, b) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return bool(((a - b).norm(dim=-1) <= 1e-5 * a.norm(dim=-1).clamp_min(1e-6)).all())


def hooks_and_bytes(model) -> tuple[int, str]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    count = sum(len(getattr(module, kind)) for module in model.hf.modules() for kind in kinds)
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.hf.state_dict().values()))
    return count, digest.hexdigest()


def reference(model, prompt: str) -> dict[str, torch.Tensor]:
    """Every site's activations by transformers' own `output_hidden_states`, batch of one."""
    ids = torch.tensor([model.tokenizer(prompt).input_ids])
    with torch.no_grad():
        hidden = model.hf.model(ids, output_hidden_states=True).hidden_states
    return {"embed": hidden[0][0], "resid.0": hidden[1][0]}


def test_capture_equals_output_hidden_states(tiny):
    got = capture(tiny, PROMPTS, ["embed", "resid.0"], POSITIONS)
    for i, prompt in enumerate(PROMPTS):
        for site, hidden in reference(tiny, prompt).items():
            assert torch.allclose(got[site, "all"][i], hidden, atol=1e-5)
            assert torch.allclose(got[site, "last"][i], hidden[-1], atol=1e-5)
            assert torch.allclose(got[site, "2"][i], hidden[2], atol=1e-5)
            # The first token is an attention sink and stays out of mean and max.
            assert torch.allclose(got[site, "mean"][i], hidden[1:].mean(0), atol=1e-5)
            assert torch.allclose(got[site, "max"][i], hidden[1:].amax(0), atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "gpt_bigcode", "mixtral"])
def test_batch_size_and_order_change_nothing(family: str):
    model = make_model(family)
    sites = ["embed", "resid.*", "attn.1", "mlp.0", "head.1.2"]
    together = capture(model, PROMPTS, sites, POSITIONS)
    alone = capture(model, PROMPTS, sites, POSITIONS, token_budget=1)
    backwards = capture(model, PROMPTS[::-1], sites, POSITIONS)
    for key, value in together.items():
        assert close(value, alone[key]), key
        assert close(value, list(backwards[key])[::-1] if isinstance(value, list) else backwards[key].flip(0)), key


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_side_changes_nothing_in_a_users_own_forward(tiny, side: str):
    expected = capture(tiny, PROMPTS, "resid.*", POSITIONS)
    tiny.tokenizer.padding_side = side
    batch = tiny.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    recorder = Recorder(tiny, "resid.*".split(), POSITIONS)
    lengths = batch.attention_mask.sum(1).tolist()
    from ellora_trust.positions import token_ranges

    with recorder.attached(), torch.no_grad():
        recorder.start(torch.stack([token_ranges(recorder.positions, n, n, {}) for n in lengths]))
        tiny.hf(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        got = recorder.finish()
    for key, value in got.items():
        assert close(value, expected[key]), key


def test_shared_prefix_is_run_once_and_changes_nothing(tiny, monkeypatch):
    header = "def one():\n    return 1\n\ndef two():\n    return 2\n\n"
    prompts = [header + prompt for prompt in PROMPTS]
    shared = capture(tiny, prompts, "resid.*", POSITIONS)
    calls = []
    real = tiny.hf.model.forward
    monkeypatch.setattr("ellora_trust.batching.MIN_SHARED_TOKENS", 10**9)
    plain = capture(tiny, prompts, "resid.*", POSITIONS)
    for key, value in plain.items():
        assert close(value, shared[key]), key
    monkeypatch.undo()

    def counted(*args, **kwargs):
        calls.append(kwargs["input_ids"].shape)
        return real(*args, **kwargs)

    monkeypatch.setattr(tiny.hf.model, "forward", counted)
    capture(tiny, prompts, "resid.*", "last")
    longest = max(len(tiny.tokenizer(p).input_ids) for p in prompts)
    assert calls[0][0] == 1
    assert calls[0][1] >= 16
    assert [tuple(shape) for shape in calls[1:]] == [(len(prompts), longest - calls[0][1])]


def test_named_spans_reach_their_tokens(tiny):
    text = "def add(a, b):\n    return a + b"
    start = text.index("return")
    got = capture(tiny, [Passage(text, spans={"keyword": (start, start + 6)})], "resid.1", ["keyword.all", "keyword"])
    ids = tiny.tokenizer(text).input_ids
    spelled = [tiny.tokenizer.decode(ids[:i]) for i in range(len(ids) + 1)]
    inside = [i for i in range(len(ids)) if len(spelled[i + 1]) > start and len(spelled[i]) < start + 6]
    everything = capture(tiny, [text], "resid.1", "all")["resid.1", "all"][0]
    assert torch.allclose(got["resid.1", "keyword.all"][0], everything[inside], atol=1e-6)
    assert torch.allclose(got["resid.1", "keyword"][0], everything[inside].mean(0), atol=1e-6)


def test_answer_positions_of_a_given_answer(tiny):
    got = capture(
        tiny, [Passage("x = ", "[1, 2]")], "resid.1", ["all", "answer", "answer.last", "prompt_end", "answer.first"]
    )
    n_prompt = len(tiny.tokenizer("x = ").input_ids)
    everything = got["resid.1", "all"][0]
    assert torch.allclose(got["resid.1", "answer"][0], everything[n_prompt:].mean(0), atol=1e-6)
    assert torch.allclose(got["resid.1", "answer.last"][0], everything[-1])
    assert torch.allclose(got["resid.1", "answer.first"][0], everything[n_prompt])
    assert torch.allclose(got["resid.1", "prompt_end"][0], everything[n_prompt - 1])


def test_an_edit_in_prefill_acts_at_the_positions_it_is_told(tiny):
    with edit(tiny, {"resid.0": lambda h, at: torch.where(at[..., None] == 3, torch.zeros_like(h), h)}):
        got = capture(tiny, PROMPTS[:1], "resid.0", "all")["resid.0", "all"][0]
    plain = capture(tiny, PROMPTS[:1], "resid.0", "all")["resid.0", "all"][0]
    assert not got[3].any()
    assert torch.equal(got[:3], plain[:3])


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_an_edit_sees_the_same_positions_with_and_without_cache(tiny, use_cache: bool, side: str):
    tiny.tokenizer.padding_side = side if use_cache is False else "left"
    batch = tiny.tokenizer(PROMPTS, return_tensors="pt", padding=True)
    direction = torch.linspace(-1, 1, 32)

    def push(hidden, at):
        # A push that depends on the position shows any that is off by one.
        return hidden + direction * at.clamp_min(0)[..., None] / 10

    with edit(tiny, {"resid.*": push}):
        theirs = tiny.hf.generate(
            **tiny.tokenizer(PROMPTS[0], return_tensors="pt"), max_new_tokens=6, do_sample=False, use_cache=use_cache
        )[0, -6:]
        ours = tiny.generate(PROMPTS, max_new_tokens=6)[0].tokens
        logits = tiny.hf(**batch).logits
    assert ours == theirs.tolist()[: len(ours)]
    assert torch.isfinite(logits).all()


def test_zero_edit_leaves_logits_bit_identical_and_a_real_one_does_not(tiny):
    ids = torch.tensor([tiny.tokenizer(PROMPTS[0]).input_ids])
    plain = tiny.hf(ids).logits
    with edit(tiny, {"resid.*": lambda h, at: h + 0.0}):
        assert torch.equal(tiny.hf(ids).logits, plain)
    with edit(tiny, {"resid.1": lambda h, at: h * 2 + 1}):
        assert not torch.equal(tiny.hf(ids).logits, plain)


def test_nothing_is_left_after_capture_edit_or_an_exception_inside(tiny):
    before = hooks_and_bytes(tiny)
    capture(tiny, PROMPTS, "resid.*", "last")
    with edit(tiny, {"resid.*": lambda h, at: h + 1}):
        tiny.generate(PROMPTS[:1], max_new_tokens=2)
    assert hooks_and_bytes(tiny) == before
    with pytest.raises(ZeroDivisionError), edit(tiny, {"resid.*": lambda h, at: h / (1 // 0)}):
        tiny.generate(PROMPTS[:1], max_new_tokens=2)
    assert hooks_and_bytes(tiny) == before


def test_nothing_is_left_after_an_exception_in_the_middle_of_registering(tiny, monkeypatch):
    before = hooks_and_bytes(tiny)
    registered = []

    def failing(arch, site: Site, visitor, **how):
        if len(registered) == 1:
            raise RuntimeError("out of hooks")
        registered.append(site)
        return visit(arch, site, visitor, **how)

    monkeypatch.setattr("ellora_trust.hooks.visit", failing)
    with pytest.raises(RuntimeError, match="out of hooks"), edit(tiny, {"resid.*": lambda h, at: h}):
        pass
    registered.clear()
    with pytest.raises(RuntimeError, match="out of hooks"), Recorder(tiny, ["resid.*"], ["last"]).attached():
        pass
    assert hooks_and_bytes(tiny) == before


def test_the_head_is_not_run_by_capture(tiny):
    calls = []
    handle = tiny.arch.head.register_forward_hook(lambda *a: calls.append(1))
    try:
        capture(tiny, PROMPTS, "resid.*", "last")
        assert not calls
        tiny.generate(PROMPTS[:1], max_new_tokens=1)
        assert calls
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("residual.3", "unknown site 'residual.3'; use embed, resid.L"),
        ("resid.2", r"layer in site 'resid.2' is out of range for a model with 2 layers; use 0..1 or \*"),
        ("head.0.9", r"head in site 'head.0.9' is out of range for a model with 4 heads; use 0..3"),
        ("resid", "unknown site 'resid'"),
    ],
)
def test_a_wrong_site_is_named_with_what_is_allowed(tiny, site: str, message: str):
    with pytest.raises(InputError, match=message):
        capture(tiny, PROMPTS, site, "last")


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ("answer.median", "unknown position 'answer.median'; use an integer, a span"),
        ("annotation", "names a span that the passage does not have; it has text, prompt, answer"),
        (99, "position 99 is outside a text of 4 tokens"),
        ([], "no position was given"),
    ],
)
def test_a_wrong_position_is_named_with_what_is_allowed(tiny, positions, message: str):
    n = len(tiny.tokenizer("x = 1").input_ids)
    with pytest.raises(InputError, match=message.replace("4 tokens", f"{n} tokens")):
        capture(tiny, ["x = 1"], "resid.0", positions)


def test_an_edit_that_changes_the_shape_is_refused(tiny):
    with (
        pytest.raises(InputError, match=r"returned shape .* it must return"),
        edit(tiny, {"resid.0": lambda h, at: h[:, :, :3]}),
    ):
        tiny.generate(["x = 1"], max_new_tokens=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_edits_and_recordings_work_in_every_familys_own_generate(family: str) -> None:
    model = make_model(family)
    inputs = model.tokenizer(PROMPTS[:1], return_tensors="pt")
    ids = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    seen: list[list[int]] = []

    def note(activation: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        seen.append(positions[0].tolist())
        return activation

    plain = model.hf.generate(**ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    with edit(model, {"resid.0": note}):
        edited = model.hf.generate(**ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    n = ids["input_ids"].shape[1]
    assert torch.equal(plain, edited)
    assert seen == [list(range(n)), [n], [n + 1]]
