"""Scores and generations equal the slow, obvious way, and do not depend on the batch."""

from __future__ import annotations

import pytest
import torch
from tiny_models import make_model

from ellora_trust.batching import plan_batches
from ellora_trust.decoding import Decoding
from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder, capture
from ellora_trust.positions import Passage
from ellora_trust.runs import run

PROMPTS = [
    "def add(a, b):\n    return",
    "x = 1",
    "for i in range(10):\n    print(i, i + 1)\n",
    "y = x[:]",
    "é = '日本'",
]
ANSWERS = [" a + b", "\ny = 2", "x", " # copy of x", "\n"]


def brute_force(model, prompt: str, answer: str) -> list[float]:
    """log p of each answer token, one forward of one unpadded row."""
    before = model.tokenizer(prompt).input_ids
    after = model.tokenizer(answer, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model.hf(torch.tensor([before + after])).logits[0].float()
    logprobs = torch.log_softmax(logits, -1)
    return [float(logprobs[len(before) + i - 1, token]) for i, token in enumerate(after)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "cohere", "granite", "codegen", "mixtral"])
def test_scores_equal_brute_force_under_padding(family: str):
    model = make_model(family)
    for prompt, answer, score in zip(PROMPTS, ANSWERS, model.score(PROMPTS, ANSWERS), strict=True):
        expected = brute_force(model, prompt, answer)
        assert score.tokens.tolist() == pytest.approx(expected, abs=2e-4)
        assert score.sum == pytest.approx(sum(expected), abs=1e-3)


def test_continuations_of_one_prompt_share_its_prefix_exactly(tiny):
    prompt = "def one():\n    return 1\n\ndef two():\n    return 2\n\ndef three():\n    return"
    scores = tiny.score([prompt] * 3, [" 3", " 33", "\n"])
    for answer, score in zip([" 3", " 33", "\n"], scores, strict=True):
        assert score.tokens.tolist() == pytest.approx(brute_force(tiny, prompt, answer), abs=2e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "gemma3_text", "gpt_neox", "starcoder2", "phi"])
def test_greedy_generation_equals_transformers(family: str):
    model = make_model(family)
    done = model.generate(PROMPTS, max_new_tokens=8)
    for prompt, generation in zip(PROMPTS, done, strict=True):
        inputs = model.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        theirs = model.hf.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0)
        assert generation.tokens == theirs[0, inputs.input_ids.shape[1] :].tolist()


def test_logprobs_and_entropies_of_a_generation_are_those_of_its_tokens(tiny):
    generation = tiny.generate(PROMPTS[:1], max_new_tokens=5)[0]
    ids = tiny.tokenizer(PROMPTS[0]).input_ids
    with torch.no_grad():
        logits = tiny.hf(torch.tensor([ids + generation.tokens])).logits[0, len(ids) - 1 : -1]
    logprobs = torch.log_softmax(logits, -1)
    picked = logprobs[range(len(generation.tokens)), generation.tokens]
    assert generation.logprobs == pytest.approx(picked.tolist(), abs=2e-4)
    assert generation.entropies == pytest.approx((-(logprobs.exp() * logprobs).sum(-1)).tolist(), abs=2e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batch_size_and_order_change_no_generation(tiny, temperature: float):
    decoding = Decoding(max_new_tokens=6, stop=("a",), temperature=temperature, seed=3)
    passages = [Passage(p) for p in PROMPTS]
    together = run(tiny, passages, decoding=decoding).generations
    alone = run(tiny, passages, decoding=decoding, token_budget=1).generations
    assert [g.tokens for g in together] == [g.tokens for g in alone]
    for a, b in zip(together, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-4)


def test_sampling_follows_its_seed_and_the_distribution(tiny):
    first = tiny.generate(["x = 1"] * 400, max_new_tokens=1, temperature=1.0, seed=1)
    assert [g.tokens for g in first] == [
        g.tokens for g in tiny.generate(["x = 1"] * 400, max_new_tokens=1, temperature=1.0, seed=1)
    ]
    assert [g.tokens for g in first] != [
        g.tokens for g in tiny.generate(["x = 1"] * 400, max_new_tokens=1, temperature=1.0, seed=2)
    ]
    with torch.no_grad():
        p = torch.softmax(tiny.hf(torch.tensor([tiny.tokenizer("x = 1").input_ids])).logits[0, -1], -1)
    commonest = int(p.argmax())
    share = sum(g.tokens == [commonest] for g in first) / 400
    assert abs(share - float(p[commonest])) < 4 * (float(p[commonest]) / 400) ** 0.5


def test_an_answer_ends_before_its_stop_string(tiny):
    long = tiny.generate(PROMPTS, max_new_tokens=12)
    stop = next(g.text[2] for g in long if len(g.text) > 4)
    for whole, cut in zip(long, tiny.generate(PROMPTS, max_new_tokens=12, stop=(stop,)), strict=True):
        assert cut.text == whole.text.split(stop)[0]
        if stop in whole.text:
            assert cut.finish == "stop"
            assert tiny.decode(cut.tokens[: cut.n_answer]).startswith(cut.text)
            assert len(tiny.decode(cut.tokens[: max(cut.n_answer - 1, 0)])) <= len(cut.text)


@pytest.mark.parametrize("max_new_tokens", [1, 7])
@pytest.mark.parametrize("budget", [1, 4096])
def test_activations_taken_while_generating_equal_a_second_forward(tiny, max_new_tokens: int, budget: int):
    positions = ["prompt_end", "answer", "answer.last", "answer.max", "answer.first", "mean", "last", "all"]
    recorder = Recorder(tiny, ["embed", "resid.*", "head.1.3"], positions)
    decoding = Decoding(max_new_tokens=max_new_tokens, stop=("a", "1"))
    got = run(tiny, [Passage(p) for p in PROMPTS], decoding=decoding, recorder=recorder, token_budget=budget)
    answered = [
        Passage(p, answer_ids=tuple(g.tokens[: g.n_answer])) for p, g in zip(PROMPTS, got.generations, strict=True)
    ]
    assert any(g.finish == "length" for g in got.generations)
    again = capture(tiny, answered, ["embed", "resid.*", "head.1.3"], positions)
    for key, value in got.activations.items():
        for a, b in zip(value, again[key], strict=True):
            assert torch.allclose(a, b, atol=1e-5 * max(1.0, float(b.norm()) if b.numel() else 1.0)), key


def test_batches_hold_every_row_once_within_the_budget():
    lengths = [3, 100, 7, 7, 50, 1, 99]
    batches = plan_batches(lengths, 120)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 120 for b in batches)
    assert [lengths[b[0]] for b in batches] == sorted((lengths[b[0]] for b in batches), reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate([]), "there is nothing to run: the list of prompts is empty"),
        (lambda m: m.generate([""]), "prompt 0 is empty; give at least one character"),
        (lambda m: m.generate(["x"], max_new_tokens=0), "max_new_tokens is 0; it must be at least 1"),
        (lambda m: m.generate(["x"], temperature=-1), "temperature is -1; it must be 0"),
        (
            lambda m: m.generate(["x " * 600]),
            r"prompt 0 has \d+ tokens and 64 tokens to generate, but tiny-llama reads at most 512",
        ),
        (lambda m: m.score(["x"], []), "1 prompts and 0 continuations were given"),
        (lambda m: m.score(["x"], [""]), "continuation 0 is empty"),
    ],
)
def test_bad_input_is_one_clear_sentence(tiny, call, message: str):
    with pytest.raises(InputError, match=message):
        call(tiny)
