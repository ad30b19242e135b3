"""Gradients of single texts: what autograd finds, whatever the batch, the padding, the family or the length."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, make_model, make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from attribution.gradient.gradients import per_text_gradients, visit_gradients
from attribution.gradient.layers import coverage, find_layers
from attribution.gradient.losses import Counted, answer, contrast, spans, whole
from ellora_trust import InputError
from ellora_trust.model import CodeModel

TEXTS = ["def f(x):\n    return x + 1\n", "y = [1, 2]\n", "for i in range(10):\n    print(i)\n"]
ALL = ("body", "head", "embedding")


def small_llama(*, tied: bool, context: int = 64) -> CodeModel:
    torch.manual_seed(3)
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        eos_token_id=0,
    )
    return CodeModel("small", LlamaForCausalLM(config), tokenizer)


def by_autograd(model: CodeModel, text: Counted) -> dict[str, torch.Tensor]:
    """The gradient of every parameter, from the plain loss of one text alone."""
    ids = torch.tensor([text.ids])
    logprobs = torch.log_softmax(model.hf(input_ids=ids).logits[0, :-1].float(), -1)
    loss = -(logprobs[range(ids.shape[1] - 1), ids[0, 1:]] * torch.tensor(text.weights[1:])).sum()
    names, parameters = zip(*model.hf.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).norm() <= 2e-5 * expected.norm() + 1e-7


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2_moe", "gemma2", "gpt_neox", "opt"])
def test_gradients_of_every_linear_are_autograds(family):
    model = make_model(family)
    layers = find_layers(model)
    texts = [whole(model, text) for text in TEXTS]
    found = per_text_gradients(model, layers, texts)
    assert "head" in {layer.part for layer in layers}
    tied = model.hf.get_input_embeddings().weight is model.arch.head.weight
    for number, text in enumerate(texts):
        expected = by_autograd(model, text)
        for layer in layers:
            if layer.part == "head" and tied:
                continue  # autograd adds the embedding's; see the next test
            right = expected[f"{layer.name}.weight"]
            gradient = found[layer.name][number]
            assert_close(gradient.T if family == "gpt2" and layer.part == "body" else gradient, right)


@pytest.mark.parametrize("tied", [True, False])
def test_head_and_embedding_are_autograds_tied_or_not(tied):
    model = small_llama(tied=tied)
    text = whole(model, TEXTS[0])
    found = per_text_gradients(model, find_layers(model, ALL), [text])
    expected = by_autograd(model, text)
    head, embedding = found["lm_head"][0], found["model.embed_tokens"][0].T
    if tied:
        assert_close(head + embedding, expected["model.embed_tokens.weight"])
    else:
        assert_close(head, expected["lm_head.weight"])
        assert_close(embedding, expected["model.embed_tokens.weight"])


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2_moe"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_and_batch_change_nothing(family, padding):
    model = make_model(family)
    layers = [layer for layer in find_layers(model) if not layer.routed]
    texts = [whole(model, text) for text in TEXTS]

    def gradients(batch):
        found = {}
        visit_gradients(
            model, layers, batch, lambda at, a, g: found.update({at.name: g.transpose(1, 2) @ a}), padding=padding
        )
        return found

    together = gradients(texts)
    for number, text in enumerate(texts):
        alone = gradients([text])
        for name, gradient in alone.items():
            assert_close(together[name][number], gradient[0])


def test_a_text_longer_than_the_context_is_the_sum_of_its_pieces():
    model = small_llama(tied=True, context=8)
    layers = find_layers(model)
    text = whole(model, "".join(TEXTS))
    pieces = list(text.pieces(8))
    assert len(pieces) > 2
    assert sum(piece.n_counted for piece in pieces) == text.n_counted == len(text.ids) - 1
    found = per_text_gradients(model, layers, [text])
    parts = per_text_gradients(model, layers, pieces)
    for layer in layers:
        assert_close(found[layer.name][0], parts[layer.name].sum(0))


def test_the_loss_is_the_sum_over_counted_tokens_and_splits_into_prompt_and_answer(tiny):
    text = TEXTS[0]
    border = text.index("\n")
    layers = find_layers(tiny)
    first, second = spans(tiny, text, [(0, border)]), spans(tiny, text, [(border, len(text))])
    both = whole(tiny, text, end=False)
    assert first.n_counted + second.n_counted == both.n_counted
    found = per_text_gradients(tiny, layers, [first, second, both])
    for gradients in found.values():
        assert_close(gradients[0] + gradients[1], gradients[2])
    said = answer(tiny, text[:border], text[border:])
    (loss,) = visit_gradients(tiny, layers, [said], lambda layer, a, g: None).tolist()
    assert loss == pytest.approx(-tiny.score([text[:border]], [text[border:]])[0].sum, rel=1e-5)


def test_a_contrast_is_the_gradient_of_the_difference_of_two_logits(tiny):
    prompt, said, foil = "def f(x):\n    return ", "x + 1\n", "x - 1\n"
    layers = find_layers(tiny, ["body"])  # autograd adds to the head what it gets as embedding
    found = per_text_gradients(tiny, layers, [contrast(tiny, prompt, said, foil)])
    first = tiny.tokenizer(prompt).input_ids + tiny.tokenizer("x", add_special_tokens=False).input_ids
    plus, minus = (tiny.tokenizer(f"x {sign}", add_special_tokens=False).input_ids[1] for sign in "+-")
    logits = tiny.hf(input_ids=torch.tensor([first])).logits[0, -1]
    parameters = {layer.name: layer.module.weight for layer in layers}
    expected = torch.autograd.grad(logits[minus] - logits[plus], list(parameters.values()))
    for name, gradient in zip(parameters, expected, strict=True):
        assert_close(found[name][0], gradient)
    with pytest.raises(InputError, match="the same text"):
        contrast(tiny, prompt, said, said)


def test_a_text_that_ends_where_the_other_goes_on_is_told_by_its_end(tiny):
    asked = contrast(tiny, "x = ", "a", "a.b")
    end = tiny.tokenizer.eos_token_id
    assert asked.said.ids[-1] == end != asked.foil.ids[-1]
    assert asked.said.ids[:-1] == asked.foil.ids[:-1]


def test_inputs_are_zero_in_padding_where_that_is_asked(tiny):
    texts = [whole(tiny, text) for text in TEXTS]
    short = min(len(text.ids) for text in texts)
    row = next(i for i, text in enumerate(texts) if len(text.ids) == short)
    for asked in (True, False):
        seen = []
        visit_gradients(
            tiny,
            find_layers(tiny)[3:4],
            texts,
            lambda _, a, g, seen=seen: seen.append((a[row, short:], g[row, short:])),
            zero_padding=asked,
        )
        inputs, gradients = seen[0]
        assert bool(inputs.any()) is not asked
        assert not gradients.any()


def test_a_token_counts_when_it_holds_a_character_of_the_span(tiny):
    text = "value = other(1)\n"
    start = text.index("other")
    counted = spans(tiny, text, [(start, start + 5)])
    chosen = [i for i, weight in zip(counted.ids, counted.weights, strict=True) if weight]
    assert tiny.tokenizer.decode(chosen).strip(" ") == "other"


def test_the_model_is_left_as_it_was_also_after_an_exception(tiny):
    def broken(layer, a, g):
        raise RuntimeError("in the middle")

    flags = [p.requires_grad for p in tiny.hf.parameters()]
    hooks = sum(len(m._forward_hooks) for m in tiny.hf.modules())
    with pytest.raises(RuntimeError, match="in the middle"):
        visit_gradients(tiny, find_layers(tiny), [whole(tiny, TEXTS[0])], broken)
    assert [p.requires_grad for p in tiny.hf.parameters()] == flags
    assert sum(len(m._forward_hooks) for m in tiny.hf.modules()) == hooks
    assert all(p.grad is None for p in tiny.hf.parameters())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_layers_cover_the_matrices_of_every_family(family):
    model = make_model(family)
    layers = find_layers(model)
    assert [layer.part for layer in layers].count("head") == 1
    matrices = sum(p.numel() for p in model.hf.parameters() if p.dim() == 2)
    held = coverage(model, layers) * sum(p.numel() for p in model.hf.parameters())
    tables = sum(m.weight.numel() for m in model.hf.modules() if isinstance(m, torch.nn.Embedding))
    routers = sum(p.numel() for n, p in model.hf.named_parameters() if n.endswith(("gate.weight", "router.weight")))
    assert round(held) >= matrices - tables - routers


def test_what_cannot_be_counted_is_one_sentence(tiny):
    with pytest.raises(InputError, match="tb-7 has no token that something predicts"):
        whole(tiny, "", end=False, name="tb-7")
    with pytest.raises(InputError, match=r"has no characters 3\.\.99; use a non-empty range in 0\.\.5"):
        spans(tiny, "x = 1", [(3, 99)])
    with pytest.raises(InputError, match=r"unknown part of the model 'heads'.*did you mean 'head'"):
        find_layers(tiny, ["heads"])
