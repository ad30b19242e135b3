"""Questions are put in each family's own spelling, found in the vocabulary, and the format is recorded."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_models import make_model, make_tokenizer

from ellora_trust.errors import InputError
from ellora_trust.model import CodeModel
from ellora_trust.prompts import FIM_FORMATS, chat, fim_format, render
from ellora_trust.tasks.base import Example

GAP = Example("e", "g", "def f(x): return x\n# type: ", "int", prefix="def f(x: ", suffix="): return x")
PLAIN = Example("p", "g", "x = ")

SPELLED = {
    "starcoder": "<fim_prefix>P<fim_suffix>S<fim_middle>",
    "santacoder": "<fim-prefix>P<fim-suffix>S<fim-middle>",
    "qwen2.5-coder/codegemma": "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>",
    "deepseek-coder": "<｜fim▁begin｜>P<｜fim▁hole｜>S<｜fim▁end｜>",
    "codellama": "<PRE> P <SUF>S <MID>",
    "codestral": "[SUFFIX]S[PREFIX]P",
}


@pytest.mark.parametrize("known", FIM_FORMATS, ids=lambda known: known.family)
def test_each_family_is_recognised_by_its_vocabulary_and_spelled_its_way(known):
    tokenizer = make_tokenizer((known.prefix, known.suffix, known.middle))
    found = fim_format(tokenizer)
    assert found is not None
    assert found.family == known.family
    assert found.render("P", "S") == SPELLED[known.family]


def test_suffix_first_order_puts_the_prefix_last():
    tokenizer = make_tokenizer(("<fim_prefix>", "<fim_suffix>", "<fim_middle>"))
    found = fim_format(tokenizer, order="spm")
    assert found is not None
    assert found.render("P", "S") == "<fim_prefix><fim_suffix>S<fim_middle>P"


def with_tokens(model: CodeModel, *tokens: str) -> CodeModel:
    other = dataclasses.replace(model, tokenizer=make_tokenizer(tokens))
    other.hf.resize_token_embeddings(len(other.tokenizer))
    return other


def test_auto_takes_fill_in_the_middle_where_model_and_example_have_it():
    plain = make_model("llama")
    assert fim_format(plain.tokenizer) is None
    assert render(plain, GAP, header="H\n").format == "plain"
    assert render(plain, GAP, header="H\n").text == "H\n" + GAP.prompt
    filling = with_tokens(make_model("llama"), "<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    rendered = render(filling, GAP, header="H\n")
    assert rendered.format == "fim:starcoder:psm"
    assert rendered.text == "<fim_prefix>def f(x: <fim_suffix>): return x<fim_middle>"
    assert render(filling, PLAIN).format == "plain"


def test_chat_uses_the_tokenizers_template_and_a_prefill(tiny):
    tiny.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    try:
        assert chat(tiny, "hello", prefill="def ") == "<user>hello<assistant>def "
        assert render(tiny, PLAIN, format="chat").text == "<user>x = <assistant>"
    finally:
        tiny.tokenizer.chat_template = None


@pytest.mark.parametrize(
    ("example", "format", "message"),
    [
        (GAP, "fim", "tiny-llama has no fill-in-the-middle tokens; use --format plain"),
        (PLAIN, "fim", "example p has no gap; use --format plain"),
        (GAP, "chat", "tiny-llama has no chat template"),
        (GAP, "poem", "unknown prompt format 'poem'; use one of auto, chat, fim, plain"),
    ],
)
def test_a_format_the_model_lacks_is_refused(tiny, example, format: str, message: str):
    with pytest.raises(InputError, match=message):
        render(tiny, example, format=format)  # pyright: ignore[reportArgumentType]
