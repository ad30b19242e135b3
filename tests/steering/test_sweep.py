"""The sweep from a shared prefix gives what full forwards give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, make_model

from ellora_trust.batching import Row
from ellora_trust.errors import InputError
from ellora_trust.inference import SharedPrefix
from ellora_trust.model import CodeModel
from steering import SteeringVector
from steering.measuring.training import answer_loss, train_patch
from steering.measuring.trials import Question, run_trials
from steering.sweep import Patch, Reading, naive, patched, score_patches

TEXT = "def add(a, b):\n    return a + b\nx = [1, 2]\ny = x\nprint("


def patches_of(model: CodeModel, seed: int = 0) -> list[Patch]:
    torch.manual_seed(seed)
    layers, width = model.arch.n_layers, model.arch.d_model
    cells = [(start, window) for start in range(layers) for window in (1, 2) if start + window <= layers]
    return [Patch(start, torch.randn(window, width) * scale) for start, window in cells for scale in (1.0, 5.0)]


def swept(model: CodeModel, reading: Reading, patches: list[Patch]) -> torch.Tensor:
    found = torch.empty(len(patches), len(reading.answer), model.arch.head.weight.shape[0])
    for numbers, logits in patched(model, reading, patches):
        found[numbers] = logits
    return found


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_logits_equal_those_of_full_forwards(family: str):
    model = make_model(family)
    ids, answer = model.tokenizer(TEXT).input_ids, model.tokenizer(" x)\n").input_ids
    reading, patches = Reading.of(model, ids, answer), patches_of(model)
    fast, slow = swept(model, reading, patches), naive(model, reading, patches)
    assert (fast - slow).abs().max() <= 2e-4
    assert torch.equal(fast.argmax(-1), slow.argmax(-1))
    assert len({tuple(row.flatten().tolist()) for row in slow}) == len(patches), "every patch does something of its own"


@pytest.mark.smollm2
def test_argmax_and_logits_equal_full_forwards_on_the_default_model(smollm2: CodeModel):
    ids = smollm2.tokenizer(TEXT * 4).input_ids
    reading = Reading.of(smollm2, ids, smollm2.tokenizer(" x)").input_ids)
    generator = torch.Generator().manual_seed(0)
    patches = [Patch(start, torch.randn(3, 576, generator=generator) * 3) for start in range(0, 28, 4)]
    fast, slow = swept(smollm2, reading, patches), naive(smollm2, reading, patches)
    assert (fast - slow).abs().max() <= 2e-4
    assert torch.equal(fast.argmax(-1), slow.argmax(-1))


def test_patch_is_what_a_steering_vector_does(tiny: CodeModel):
    vector = SteeringVector.fit(tiny, [(TEXT, "x = 1\nprint(x")], "resid.*")
    ids, answer = tiny.tokenizer(TEXT).input_ids, tiny.tokenizer(" x)").input_ids
    deltas = 3 * torch.stack([vector.directions["resid.0"], vector.directions["resid.1"]])
    scored = score_patches(tiny, Reading.of(tiny, ids, answer), [Patch(0, deltas)])
    with vector.apply(tiny, sites=["resid.0", "resid.1"], strength=3.0):
        (expected,) = tiny.score([TEXT], [" x)"])
    assert float(scored.logprobs[0]) == pytest.approx(expected.sum, abs=1e-3)


def test_shared_first_tokens_change_nothing(tiny: CodeModel):
    prompts = [tiny.tokenizer(TEXT * 2 + end).input_ids for end in ("x[0]", "y[1:]")]
    prefix = SharedPrefix.compute(tiny, [Row(ids, len(ids)) for ids in prompts])
    assert len(prefix.ids) >= 16
    patches = patches_of(tiny)
    for ids in prompts:
        shared = score_patches(tiny, Reading.of(tiny, ids, [5, 6], prefix=prefix), patches)
        alone = score_patches(tiny, Reading.of(tiny, ids, [5, 6]), patches)
        torch.testing.assert_close(shared.logprobs, alone.logprobs, atol=1e-4, rtol=1e-4)


def test_model_whose_cache_cannot_be_shared_takes_full_forwards(tiny: CodeModel, monkeypatch: pytest.MonkeyPatch):
    ids, patches = tiny.tokenizer(TEXT).input_ids, patches_of(tiny)
    quick = score_patches(tiny, Reading.of(tiny, ids, [5, 6]), patches)
    monkeypatch.setattr(tiny, "may_share_prefixes", False)
    reading = Reading.of(tiny, ids, [5, 6])
    assert reading.cache is None
    torch.testing.assert_close(score_patches(tiny, reading, patches).logprobs, quick.logprobs, atol=1e-4, rtol=1e-4)


def test_blocks_are_restored_also_after_an_exception(tiny: CodeModel):
    reading = Reading.of(tiny, tiny.tokenizer(TEXT).input_ids, [5])
    with pytest.raises(RuntimeError):
        list(patched(tiny, reading, [Patch(1, torch.zeros(1, 3))]))
    assert not any("forward" in block.module.__dict__ for block in tiny.arch.blocks)


def test_trials_resume_from_their_file(tiny: CodeModel, tmp_path):
    ids = tuple(tiny.tokenizer(TEXT).input_ids)
    questions = [Question(f"q{n}", ids[n:], (5, 6)) for n in range(3)]
    patches, store = patches_of(tiny), tmp_path / "trials.jsonl"
    first = run_trials(tiny, questions[:2], patches, store=store)
    store.write_text(store.read_text() + '{"key": "half a li')
    again = run_trials(tiny, questions, patches, store=store)
    assert again.logprobs[:2].tolist() == first.logprobs.tolist()
    assert (
        len([line for line in store.read_text().splitlines() if line.startswith('{"key"') and line.endswith("}")]) == 3
    )
    other = run_trials(tiny, questions[:1], patches_of(tiny, seed=1), store=store)
    assert other.logprobs.tolist() != first.logprobs[:1].tolist()


def test_prompts_that_differ_in_their_last_token_alone_share_all_else(tiny: CodeModel):
    ids = tuple(tiny.tokenizer(TEXT).input_ids) * 3
    questions = [Question("a", ids, (5,)), Question("b", (*ids[:-1], 7), (5,)), Question("c", (*ids, 9), (5,))]
    patches = patches_of(tiny)
    together = run_trials(tiny, questions, patches)
    alone = [run_trials(tiny, [question], patches).logprobs[0] for question in questions]
    assert together.logprobs == pytest.approx(np.stack(alone), abs=2e-4)


def test_resumed_trials_go_on_from_the_prefix_that_all_questions_share(tiny: CodeModel, tmp_path, monkeypatch):
    ids = tuple(tiny.tokenizer(TEXT).input_ids)[:20] * 2
    # Two of them share more with each other than with the first.
    questions = [Question(f"q{n}", (*ids[:20], *tail, *ids), (5, 6)) for n, tail in enumerate([(7, 8), (9, 7), (9, 8)])]
    read, shared = Reading.of, []

    def noted(*args, prefix):
        shared.append(len(prefix.ids))
        return read(*args, prefix=prefix)

    monkeypatch.setattr(Reading, "of", noted)
    run_trials(tiny, questions[:1], patches_of(tiny), store=tmp_path / "trials.jsonl")
    run_trials(tiny, questions, patches_of(tiny), store=tmp_path / "trials.jsonl")
    assert shared[1:] == [20, 20]


def test_too_short_a_prompt_is_refused(tiny: CodeModel):
    with pytest.raises(InputError, match="at least 2 and 1"):
        Reading.of(tiny, [5], [6])


def test_training_lowers_the_loss_and_leaves_the_weights(tiny: CodeModel):
    rng = torch.Generator().manual_seed(0)
    questions = [
        Question(f"q{n}", tuple(torch.randint(5, 290, (12,), generator=rng).tolist()), (17, 23)) for n in range(16)
    ]
    start = Patch(0, torch.randn(2, tiny.arch.d_model, generator=rng))
    weights = {name: value.clone() for name, value in tiny.hf.state_dict().items()}
    before = run_trials(tiny, questions, [start])
    trained = train_patch(tiny, questions, start)
    after = run_trials(tiny, questions, [trained])
    assert after.logprobs.mean() > before.logprobs.mean() + 0.5
    assert all(torch.equal(tiny.hf.state_dict()[name], value) for name, value in weights.items())
    assert all(parameter.grad is None for parameter in tiny.hf.parameters())


def test_gradient_through_the_shared_prefix_is_that_of_a_full_forward(tiny: CodeModel):
    reading = Reading.of(tiny, tiny.tokenizer(TEXT).input_ids, [5, 6])
    delta = torch.randn(1, tiny.arch.d_model, generator=torch.Generator().manual_seed(0))

    def loss_at(step: torch.Tensor) -> float:
        return -float(score_patches(tiny, reading, [Patch(0, step)]).logprobs[0])

    given = delta.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(answer_loss(tiny, reading, Patch(0, given)), given)
    along = gradient / gradient.norm()
    slope = (loss_at(delta + 1e-2 * along) - loss_at(delta - 1e-2 * along)) / 2e-2
    assert slope == pytest.approx(float(gradient.norm()), rel=0.02)
