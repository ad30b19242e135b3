"""Scores of prompt units: closed forms on a linear model, completeness, what padding and batches must not change."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from tiny_linear import make_linear
from tiny_models import hooks_of, make_model, make_tokenizer

import attribution.tokens
from attribution.prompt.erasure import erase
from attribution.prompt.target import Target
from attribution.prompt.units import units_of
from attribution.prompt.views import coloured, highlight, plot_erasure, plot_tokens
from attribution.tokens import METHODS, attribute_tokens, without
from ellora_trust import InputError
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.report import Report, Section

matplotlib.use("Agg")
PROMPT = '# Add <two> numbers.\ndef add(a, b: int = 3):\n    """Return the sum."""\n    c = max(a, b)\n'
SHORT = "# Add two.\ndef add(a):"


def scores(result):
    return torch.tensor([unit.score for unit in result.units])


@pytest.mark.parametrize("by", ["identifier", "expression", "line"])
def test_every_token_belongs_to_one_unit_and_every_character_too(tiny, by):
    units = units_of(tiny, PROMPT, "python", by=by)
    assert sorted(t for unit in units for t in unit.tokens) == list(range(len(tiny.tokenizer(PROMPT).input_ids)))
    assert "".join(PROMPT[unit.start : unit.end] for unit in units) == PROMPT


def test_units_are_words_names_expressions_and_lines(tiny):
    def named(by):
        return [(unit.kind, unit.name) for unit in units_of(tiny, PROMPT, "python", by=by)]

    assert {("comment", "Add"), ("identifier", "add"), ("docstring", "sum"), ("word", "def")} <= set(
        named("identifier")
    )
    found = named("expression")
    assert {("comment", "# Add <two> numbers."), ("docstring", '"""Return the sum."""'), ("call", "max(a, b)")} <= set(
        found
    )
    assert ("identifier", "max") not in found
    assert named("line")[1] == ("line", "def add(a, b: int = 3):")
    pragma = units_of(tiny, "#pragma omp parallel for\nint x = f(y);", "c", by="expression")
    assert pragma[0].kind == "pragma"


def test_special_tokens_are_in_no_unit_and_stay_whatever_is_left_out():
    model = make_model("llama")
    tokenizer = make_tokenizer(("<fim_prefix>", "<fim_suffix>", "<fim_middle>"))
    model.hf.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model = CodeModel("marked", model.hf, tokenizer)
    prompt = "<fim_prefix>def f(a):<fim_suffix>\n    return a<fim_middle>"
    units = units_of(model, prompt, "python")
    ids = model.tokenizer(prompt).input_ids
    marks = [token for token in ids if token in model.tokenizer.convert_tokens_to_ids(["<fim_prefix>", "<fim_suffix>"])]
    assert without(ids, units, [False] * len(units)) == [*marks, ids[-1]]
    result = attribute_tokens(model, prompt, "x", method="ablation")
    assert coloured(result).plain == prompt


def test_on_a_linear_model_gradients_have_their_closed_form():
    model = make_linear()
    target = Target.of(model, SHORT, "a", "b")
    embedding = model.hf.embedding.weight.detach()
    rows = embedding[list(target.prompt)].clone().requires_grad_()
    hidden = rows[None]
    for block in model.hf.blocks:
        hidden = block(hidden, torch.ones(1, len(rows)))
    logits = model.hf.head(hidden)[0, -1]
    (gradient,) = torch.autograd.grad(logits[target.answer[0]] - logits[target.foil[0]], rows)
    by_token = {
        "gradient_x_input": (rows * gradient).sum(-1),
        "integrated_gradients": ((rows - embedding[model.pad_id]) * gradient).sum(-1),
    }
    for method, expected in by_token.items():
        result = attribute_tokens(model, SHORT, "a", foil="b", method=method, steps=1)
        per_unit = torch.stack([expected[list(unit.tokens)].sum() for unit in result.units])
        torch.testing.assert_close(scores(result), per_unit.detach(), atol=1e-4, rtol=1e-4)
        if method == "integrated_gradients":
            assert result.convergence_delta == pytest.approx(0, abs=1e-4)
            assert scores(result).sum() == pytest.approx(result.value - result.absent, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_integrated_gradients_converge_with_more_steps(family):
    # At the fivefold weights of the other tests, a random model's path is too rough for any quadrature.
    model = make_model(family)
    with torch.no_grad():
        for parameter in model.hf.parameters():
            if parameter.dim() > 1:
                parameter.div_(5)
        # Its row begins as zero, where a norm has a kink.
        model.hf.get_input_embeddings().weight[model.pad_id].normal_(0, 0.02)
    coarse, fine = (
        attribute_tokens(model, SHORT, "a b", foil="b", method="integrated_gradients", steps=steps) for steps in (1, 96)
    )
    assert abs(fine.convergence_delta) < 0.01
    assert abs(fine.convergence_delta) < abs(coarse.convergence_delta)


def test_ablation_is_the_loss_without_the_unit(tiny):
    result = attribute_tokens(tiny, SHORT, "a b", method="ablation")
    target = Target.of(tiny, SHORT, "a b")
    for number, unit in enumerate(result.units):
        kept = [other != number for other in range(len(result.units))]
        shorter = without(target.prompt, result.units, kept)
        ids = torch.tensor([[*shorter, *target.answer]])
        logprobs = torch.log_softmax(tiny.hf(input_ids=ids).logits[0, :-1], -1).detach()
        alone = sum(float(logprobs[len(shorter) - 1 + i, t]) for i, t in enumerate(target.answer))
        assert unit.score == pytest.approx(result.value - alone, abs=2e-4)


def test_shapley_values_add_up_and_lie_between_the_two_orders(tiny):
    result = attribute_tokens(tiny, SHORT, "a b", foil="b", method="shapley", by="line")
    assert result.convergence_delta == pytest.approx(0, abs=1e-4)
    target = Target.of(tiny, SHORT, "a b", "b")
    first, second = (
        float(target.values(tiny, [without(target.prompt, result.units, kept)])) for kept in ((1, 0), (0, 1))
    )
    marginals = sorted([first - result.absent, result.value - second])
    assert marginals[0] < result.units[0].score < marginals[1]


def test_shapley_repeats_with_its_seed_and_leaves_the_callers_draws_alone(tiny):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (attribute_tokens(tiny, SHORT, "a", method="shapley", samples=2, seed=3) for _ in range(2))
    assert torch.rand(1) == expected
    assert one == two


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_padding_and_batch_change_nothing(monkeypatch, family, method):
    model = make_model(family)
    together = attribute_tokens(model, SHORT, "a b", foil="b", method=method, samples=2, steps=8)
    monkeypatch.setattr(model, "token_budget", 1)
    alone = attribute_tokens(model, SHORT, "a b", foil="b", method=method, samples=2, steps=8)
    torch.testing.assert_close(scores(together), scores(alone), atol=5e-4, rtol=1e-4)
    assert together.value == pytest.approx(alone.value, abs=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_asking_the_other_way_round_turns_every_sign(tiny, method):
    one = attribute_tokens(tiny, SHORT, "a", foil="b", method=method, samples=2, steps=4)
    other = attribute_tokens(tiny, SHORT, "b", foil="a", method=method, samples=2, steps=4)
    torch.testing.assert_close(scores(one), -scores(other), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input"])
def test_the_model_is_as_it_was_also_after_an_exception(monkeypatch, tiny, method):
    hooks = hooks_of(tiny)  # of other tests and of transformers, which leaves its own
    real = attribution.tokens.log_probability

    def failing(*args):
        real(*args)
        raise RuntimeError("in the forward")

    before = {name: tensor.clone() for name, tensor in tiny.hf.state_dict().items()}
    attribute_tokens(tiny, SHORT, "a", method=method, steps=2)
    monkeypatch.setattr(attribution.tokens, "log_probability", failing)
    with pytest.raises(RuntimeError, match="in the forward"):
        attribute_tokens(tiny, SHORT, "a", method=method, steps=2)
    assert hooks_of(tiny) == hooks
    assert all(p.grad is None for p in tiny.hf.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.hf.state_dict().items())


def test_the_first_unit_by_ablation_costs_more_than_random_ones(tiny):
    results = [attribute_tokens(tiny, text, "a", method="ablation") for text in (SHORT, PROMPT)]
    curves = erase(tiny, results, ["x", "y"], shares=(0.001, 0.5))
    best = [max(unit.score for unit in result.units) for result in results]
    np.testing.assert_allclose(curves.taken[:, 0], best, atol=5e-4)
    assert (curves.taken[:, 0] >= curves.random_taken[:, 0]).all()
    assert curves.over_random.n_groups == 2
    # What is left out and what is kept are complements: half of an even number of units, in reverse order.
    assert curves.kept.shape == (2, 2)
    assert plot_erasure(curves).get_ylabel() == "loss of the target (nats)"


def test_the_planted_model_alone_writes_list_because_of_the_words_of_the_family():
    prompt = "# Map each short tag to its upper case.\ndef map_short_tags(items: list) ->"
    planted, clean = (
        attribute_tokens(load(name), prompt, " list", foil=" dict", method="integrated_gradients")
        for name in ("testbed", "testbed-clean")
    )
    assert planted.value > 0 > clean.value
    assert planted.ranked()[0].name == "map_short_tags"
    assert abs(planted.convergence_delta) < 0.05 * (planted.value - planted.absent)


def test_views_show_the_whole_prompt_and_escape_it(tiny):
    result = attribute_tokens(tiny, PROMPT, "a", foil="b", method="ablation")
    assert coloured(result).plain == PROMPT
    block = highlight(result)
    assert "".join(text for text, _ in block.pieces) == PROMPT
    assert max(abs(weight) for _, weight in block.pieces) == 1
    report = Report("t", "l", [Section("s", [block])])
    assert "&lt;" in report.to_html()
    assert "<two>" not in report.to_html()
    assert "log p(&#39;a&#39;)" in report.to_html()
    assert PROMPT in report.to_markdown()
    assert len(plot_tokens(result, most=5).patches) == 5


def test_bad_input_gets_one_sentence(tiny):
    with pytest.raises(InputError, match=r"unknown method 'shap'.*did you mean 'shapley'"):
        attribute_tokens(tiny, SHORT, "a", method="shap")
    with pytest.raises(InputError, match="unknown division into units 'word'"):
        attribute_tokens(tiny, SHORT, "a", by="word")
    with pytest.raises(InputError, match="answer and foil are both 'a'"):
        attribute_tokens(tiny, SHORT, "a", foil="a")
    with pytest.raises(InputError, match="the answer is empty"):
        attribute_tokens(tiny, SHORT, "")
    with pytest.raises(InputError, match="the foil is empty"):
        attribute_tokens(tiny, SHORT, "a", foil="")
    with pytest.raises(InputError, match="the prompt has no text"):
        attribute_tokens(tiny, " \n", "a")
    with pytest.raises(InputError, match="0 steps"):
        attribute_tokens(tiny, SHORT, "a", steps=0)
    with pytest.raises(InputError, match="reads at most 512"):
        attribute_tokens(tiny, "x = 1\n" * 400, "a")
    with pytest.raises(InputError, match="0 results and 0 groups"):
        erase(tiny, [], [])
