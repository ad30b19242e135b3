"""Effects of components: exact where they must be, complete, restored, and right about the testbed."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from tiny_linear import make_linear
from tiny_models import hooks_of, make_model

from attribution.components import (
    METHODS,
    ComponentAttribution,
    ablation,
    attribute_components,
)
from attribution.inside.agreement import agreement
from attribution.inside.patching import Pair, Setting, difference, patch, patch_by_gradient, read
from attribution.inside.views import component_table, components_caption, grid, plot_components
from ellora_trust import InputError
from ellora_trust.hooks import capture, edit
from ellora_trust.loading import load
from ellora_trust.sites import resolve

matplotlib.use("Agg")
EQUAL = Pair("p = 5 + 7\nq = p", "p = 5 + 8\nq = p", "a", "b", "one")
LONGER = Pair("p = 5 + 7\nq = p", "p = 5 + 8 * 9\nq = p", "a", "b", "two")
PAIRS = [EQUAL, LONGER]
ADDED = ("embed", "attn.*", "mlp.*")


def total(model, setting):
    return read(model, setting.clean, setting, [])[1] - read(model, setting.corrupt, setting, [])[1]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "granite"])
@pytest.mark.parametrize("site", ["embed", "resid.0", "resid.1"])
def test_the_clean_stream_at_every_position_restores_the_clean_logits(family, site):
    model = make_model(family)
    setting = Setting.of(model, EQUAL)
    (rise,) = patch(model, setting, resolve(model, site))
    assert rise == pytest.approx(total(model, setting), abs=2e-4)


def test_all_parts_together_with_the_embedding_restore_the_clean_logits(tiny):
    setting = Setting.of(tiny, EQUAL)
    sites = resolve(tiny, ["embed", "head.*.*", "mlp.*"])
    assert patch(tiny, setting, sites, together=True)[0] == pytest.approx(total(tiny, setting), abs=2e-4)


def test_a_patch_is_what_an_edit_by_hand_gives(tiny):
    setting = Setting.of(tiny, LONGER)
    assert (len(setting.clean), len(setting.corrupt)) != (setting.n_patched, setting.n_patched)
    site = resolve(tiny, "head.1.2")
    donor = read(tiny, setting.clean, setting, site)[0][site[0]]

    def move(hidden, at):
        hidden = hidden.clone()
        hidden[0, -setting.n_patched :] = donor[-setting.n_patched :]
        return hidden

    with torch.no_grad(), edit(tiny, {"head.1.2": move}):
        patched = float(difference(tiny, torch.tensor([setting.corrupt]), setting))
    rise = patched - read(tiny, setting.corrupt, setting, [])[1]
    assert patch(tiny, setting, site)[0] == pytest.approx(rise, abs=1e-5)
    assert rise != 0


def test_prompts_of_other_lengths_are_patched_after_their_last_difference_and_no_earlier(tiny):
    setting = Setting.of(tiny, LONGER)
    n = setting.n_patched
    assert len(setting.clean) != len(setting.corrupt)
    assert n > 1
    assert setting.clean[-n:] == setting.corrupt[-n:]
    assert setting.clean[-n - 1] != setting.corrupt[-n - 1]
    # Where they differ to the end, the last token is moved all the same: the answer is read there.
    assert Setting.of(tiny, Pair("p = 5 + 7", "p = 5 + 8 * 9", "a", "b")).n_patched == 1


def test_attribution_patching_is_exact_on_a_linear_model():
    model = make_linear()
    sites = resolve(model, ["embed", "attn.*", "mlp.*", "head.*.*", "resid.*"])
    for pair in PAIRS:
        setting = Setting.of(model, pair)
        exact = patch(model, setting, sites)
        np.testing.assert_allclose(patch_by_gradient(model, setting, sites), exact, atol=1e-4)
        assert np.abs(exact).max() > 0.1


def test_attribution_patching_is_only_an_approximation_elsewhere(tiny):
    setting, sites = Setting.of(tiny, EQUAL), resolve(tiny, ["head.*.*", "mlp.*"])
    assert np.abs(np.subtract(patch(tiny, setting, sites), patch_by_gradient(tiny, setting, sites))).max() > 0.01


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "granite", "opt", "cohere", "qwen2_moe"])
def test_direct_terms_of_all_parts_add_up_to_the_whole_change(family):
    model = make_model(family)
    found = attribute_components(model, PAIRS, method="direct", sites=ADDED)
    # Scales and caps after the output projection are not terms.
    heads = []
    for pair in PAIRS:
        setting = Setting.of(model, pair)
        ends = capture(model, [pair.clean, pair.corrupt], "resid.1", "last")["resid.1", "last"]
        norm = model.arch.final_norm
        logits = model.arch.head(norm(ends) if norm is not None else ends)
        spread = (logits[:, setting.answer] - logits[:, setting.foil]).detach()
        heads.append(float(spread[0] - spread[1]))
    np.testing.assert_allclose(found.effects.sum(1), heads, atol=2e-3, rtol=1e-3)


def test_direct_terms_of_heads_add_up_to_their_attention(tiny):
    heads = attribute_components(tiny, PAIRS, method="direct", sites="head.1.*")
    attention = attribute_components(tiny, PAIRS, method="direct", sites="attn.1")
    np.testing.assert_allclose(heads.effects.sum(1), attention.effects[:, 0], atol=1e-4)
    by_gpt2 = make_model("gpt2")
    heads = attribute_components(by_gpt2, PAIRS, method="direct", sites="head.1.*")
    attention = attribute_components(by_gpt2, PAIRS, method="direct", sites="attn.1")
    np.testing.assert_allclose(heads.effects.sum(1), attention.effects[:, 0], atol=1e-3)


def test_on_a_linear_model_the_last_mlp_has_no_other_way_than_the_direct_one():
    model = make_linear()
    setting = Setting.of(model, EQUAL)
    found = attribute_components(model, [EQUAL], method="direct", sites="mlp.1")
    assert found.effects[0, 0] == pytest.approx(patch(model, setting, resolve(model, "mlp.1"))[0], abs=1e-4)


def test_rows_of_a_batch_change_nothing(monkeypatch, tiny):
    together = attribute_components(tiny, PAIRS, method="activation_patching")
    monkeypatch.setattr(tiny, "token_budget", 1)
    alone = attribute_components(tiny, PAIRS, method="activation_patching")
    np.testing.assert_allclose(together.effects, alone.effects, atol=2e-4)


def test_what_answer_and_foil_share_is_read_as_prompt(tiny):
    shared = Setting.of(tiny, Pair(EQUAL.clean, EQUAL.corrupt, "qa", "qb"))
    plain = Setting.of(tiny, EQUAL)
    assert shared.clean[: len(plain.clean)] == plain.clean
    assert (shared.answer, shared.foil) == (plain.answer, plain.foil)
    assert len(shared.clean) == len(plain.clean) + 1
    assert Setting.of(tiny, EQUAL).n_patched == len(plain.clean)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_as_it_was_also_after_an_exception(monkeypatch, tiny, method):
    hooks = hooks_of(tiny)  # of other tests and of transformers, which leaves its own
    before = {name: tensor.clone() for name, tensor in tiny.hf.state_dict().items()}
    attribute_components(tiny, PAIRS, method=method)

    def failing(*args):
        raise RuntimeError("in the head")

    with monkeypatch.context() as patched:
        patched.setattr(tiny.arch.head, "forward", failing)
        with pytest.raises(RuntimeError, match="in the head"):
            attribute_components(tiny, PAIRS, method=method)
    assert hooks_of(tiny) == hooks
    assert all(p.grad is None for p in tiny.hf.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.hf.state_dict().items())


def test_ablation_replaces_all_but_the_first_token_by_the_mean_and_takes_it_back(tiny):
    prompts = [EQUAL.clean, LONGER.corrupt]
    before = capture(tiny, prompts, "mlp.0", "all")["mlp.0", "all"]
    mean = torch.stack([rows[1:].mean(0) for rows in before]).mean(0)
    with ablation(tiny, "mlp.0", prompts).apply(tiny):
        during = capture(tiny, prompts, "mlp.0", "all")["mlp.0", "all"]
    for old, new in zip(before, during, strict=True):
        torch.testing.assert_close(new[0], old[0])
        torch.testing.assert_close(new[1:], mean.expand(len(new) - 1, -1), atol=1e-5, rtol=1e-4)
    after = capture(tiny, prompts, "mlp.0", "all")["mlp.0", "all"]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def by_hand(effects):
    sites = ("head.0.0", "head.1.1", "mlp.1")
    return ComponentAttribution("direct", sites, np.array(effects), np.array([3.0, 3.0]), ("a", "b"), (2, 2))


def test_the_table_ranks_by_the_mean_and_the_picture_has_a_cell_a_site():
    found = by_hand([[1.0, 3.0, -1.0], [2.0, 5.0, -1.0]])
    assert found.best(2) == ["head.1.1", "head.0.0"]
    top = found.ranked(1)[0]
    assert (top.site, top.effect.value, top.effect.low, top.effect.high) == ("head.1.1", 4.0, 3.0, 5.0)
    cells, columns = grid(found)
    assert columns == ["0", "1", "mlp"]
    np.testing.assert_array_equal(cells, [[1.5, np.nan, np.nan], [np.nan, 4.0, -1.0]])
    axes = plot_components(found)
    assert [label.get_text() for label in axes.get_xticklabels()] == columns
    assert component_table(found, 2).rows[0][:2] == ["1", "head.1.1"]
    assert found.to_dict()["components"][0]["site"] == "head.1.1"


def test_a_model_that_does_not_tell_the_prompts_apart_is_said_to_explain_nothing():
    effects, groups = np.ones((2, 1)), ("a", "b")
    made = [
        ComponentAttribution("direct", ("mlp.0",), effects, np.array(totals), groups, (1, 1))
        for totals in ([2.0, 1.0], [-2.0, 1.0])
    ]
    right, wrong = map(components_caption, made)
    assert "does not tell the prompts apart" in wrong
    assert "does not tell the prompts apart" not in right


def test_agreement_is_one_with_itself_and_minus_one_with_its_opposite():
    found = by_hand([[1.0, 3.0, -1.0], [2.0, 5.0, -1.0]])
    same = agreement(found, found)
    assert (same.pearson.value, same.spearman.value) == (pytest.approx(1), pytest.approx(1))
    assert agreement(found, by_hand(-found.effects)).pearson_each.value == pytest.approx(-1)


def test_in_the_testbed_the_best_heads_carry_the_answer_and_the_last_ones_do_not():
    model = load("testbed")
    pairs = [
        Pair(
            f"# Map each {word} to its upper case.\ndef map_{word}s(items: list) ->",
            f"# Tally each of the {word}s.\ndef tally_{word}s(items: list) ->",
            " list",
            " dict",
            word,
        )
        for word in ("tag", "page", "point")
    ]
    found = attribute_components(model, pairs, method="attribution_patching", sites="head.*.*")
    settings = [Setting.of(model, pair) for pair in pairs]

    def change(sites):
        with ablation(model, sites, [text for pair in pairs for text in (pair.clean, pair.corrupt)]).apply(model):
            return np.mean([total(model, setting) for setting in settings])

    whole = found.totals.mean()
    assert whole > 5
    assert change(found.best(3)) < 0.3 * whole
    assert change(found.best(16)[-3:]) > 0.7 * whole


def test_bad_input_gets_one_sentence(tiny):
    with pytest.raises(InputError, match="unknown method 'patching'"):
        attribute_components(tiny, PAIRS, method="patching")
    with pytest.raises(InputError, match="no pair was given"):
        attribute_components(tiny, [])
    with pytest.raises(InputError, match="pair 1: clean and corrupt prompt must be two texts that differ"):
        attribute_components(tiny, [EQUAL, Pair("x", "x", "a", "b")])
    with pytest.raises(InputError, match="no token in which they differ"):
        attribute_components(tiny, [Pair("x", "y", "a", "a")])
    with pytest.raises(InputError, match="reads at most 512"):
        attribute_components(tiny, [Pair("x = 1\n" * 400, "y", "a", "b")])
    with pytest.raises(InputError, match=r"resid\.L is the sum"):
        attribute_components(tiny, PAIRS, method="direct", sites="resid.0")
    with pytest.raises(InputError, match="out of range"):
        attribute_components(tiny, PAIRS, sites="head.9.0")
    with pytest.raises(InputError, match="no head has a term of its own"):
        attribute_components(make_model("gemma2"), PAIRS, method="direct", sites="head.0.0")
    found = attribute_components(tiny, PAIRS)
    with pytest.raises(InputError, match=r"use 1\.\.10"):
        found.best(11)
    with pytest.raises(InputError, match="different sites or pairs"):
        agreement(found, attribute_components(tiny, PAIRS, sites="head.*.*"))
