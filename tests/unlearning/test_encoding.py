"""Masks: which tokens count, and that the head sees no others."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, make_model

from ellora_trust.errors import InputError
from unlearning.data import Item
from unlearning.training.encoding import IGNORED, completion_row, kept_row, look, replacement_row, scored

PROMPT = "def add(a, b):\n"
ITEM = Item("i", "g", PROMPT, "    return a + q\n", "    return a + z\n", ((len(PROMPT) + 15, len(PROMPT) + 16),))


def spell(model, ids):
    return [model.tokenizer.decode([i]) for i in ids]


def test_only_the_span_counts(tiny):
    row = completion_row(tiny, ITEM)
    assert [row.ids[place] for place in row.places] == row.bad
    assert [text.strip() for text in spell(tiny, row.bad)] == ["q"]
    assert row.targets == [IGNORED]


def test_with_context_the_other_tokens_of_the_completion_are_kept(tiny):
    row = completion_row(tiny, ITEM, context=True)
    n_prompt = len(tiny.tokenizer(PROMPT).input_ids)
    assert row.places == list(range(n_prompt, len(row.ids)))
    assert sum(bad != IGNORED for bad in row.bad) == 1
    assert all((bad == IGNORED) != (target == IGNORED) for bad, target in zip(row.bad, row.targets, strict=True))


def test_the_fix_is_learnt_and_the_fault_suppressed_where_they_part(tiny):
    row = replacement_row(tiny, ITEM)
    text = "".join(spell(tiny, row.targets))
    assert text == ITEM.replacement
    (place,) = [i for i, bad in enumerate(row.bad) if bad != IGNORED]
    assert spell(tiny, [row.bad[place], row.targets[place]]) == spell(
        tiny, [completion_row(tiny, ITEM).bad[0], row.targets[place]]
    )
    assert row.bad[place] != row.targets[place]


def test_rows_are_scored_alike_in_one_batch_and_in_many(tiny, monkeypatch):
    longer = Item("j", "g", PROMPT * 3, ITEM.completion)
    rows = [completion_row(tiny, item) for item in (longer, ITEM, longer)]
    logits, labels, owners = look(tiny, rows).of("bad")
    monkeypatch.setattr(tiny, "token_budget", 1)
    found, where = scored(tiny, rows, "bad")
    for number in range(3):
        expected = logits.log_softmax(-1).gather(1, labels[:, None])[owners == number, 0]
        assert torch.allclose(found[where == number], expected, atol=1e-4)


def test_what_the_fix_begins_with_as_well_does_not_count(tiny):
    whole = ((len(PROMPT), len(PROMPT) + len(ITEM.completion)),)
    row = completion_row(tiny, Item("i", "g", PROMPT, ITEM.completion, ITEM.replacement, whole))
    assert row.places[0] == completion_row(tiny, ITEM).places[0]


def test_a_fault_that_leaves_something_out_counts_where_it_is_missing(tiny):
    span = ((len(PROMPT), len(PROMPT) + 12),)
    item = Item("i", "g", PROMPT, "    return a\n", "    return a + b\n", span)
    row = completion_row(tiny, item)
    assert len(row.places) == 1
    assert row.bad[0] == row.ids[row.places[0]]


def test_a_fault_that_adds_something_is_suppressed_where_the_fix_ends(tiny):
    row = replacement_row(tiny, Item("i", "g", PROMPT, "    return a + q", "    return a"))
    fix = tiny.tokenizer("    return a", add_special_tokens=False).input_ids
    assert row.targets == [*fix, IGNORED]
    assert [(n, text) for n, text in enumerate(spell(tiny, [max(bad, 0) for bad in row.bad])) if row.bad[n] >= 0] == [
        (len(fix), " +")
    ]
    with torch.no_grad():
        expected = tiny.hf(input_ids=torch.tensor([row.ids])).logits[0, -1].float()
    assert torch.allclose(look(tiny, [row]).of("bad")[0][0], expected, atol=2e-4)


def test_without_spans_the_whole_completion_counts_and_never_the_prompt(tiny):
    row = completion_row(tiny, Item("i", "g", PROMPT, ITEM.completion))
    assert row.places[0] == len(tiny.tokenizer(PROMPT).input_ids)
    assert "".join(spell(tiny, row.bad)) == ITEM.completion


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "granite", "cohere", "opt", "gpt_neox"])
def test_logits_of_counted_places_are_those_of_a_plain_forward_whatever_the_padding(family):
    assert family in FAMILIES
    model = make_model(family)
    items = [ITEM, Item("j", "g", "x = [1, 2, 3]\n", "y = x[:]\nz = y + x\nprint(z)\n")]
    rows = [kept_row(model, item) for item in items]
    view = look(model, rows)
    with torch.no_grad():
        for number, row in enumerate(rows):
            logits = model.hf(input_ids=torch.tensor([row.ids])).logits[0].float()
            expected = logits[torch.tensor(row.places) - 1]
            found = view.logits[view.rows == number]
            assert torch.allclose(found, expected, atol=2e-4, rtol=1e-4)
    assert not model.arch.head._forward_pre_hooks


def test_the_head_is_free_again_after_an_error(tiny):
    row = kept_row(tiny, ITEM)
    broken = type(row)([10**9, *row.ids[1:]], row.places, row.targets, row.bad)
    with pytest.raises(IndexError):
        look(tiny, [broken])
    assert not tiny.arch.head._forward_pre_hooks


def test_a_text_longer_than_the_context_is_refused(tiny):
    with pytest.raises(InputError, match="reads at most 512; shorten it"):
        kept_row(tiny, Item("long", "g", "x", "y = 1\n" * 400))
