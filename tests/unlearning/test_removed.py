"""Removed APIs: truth by running every form, and two halves that share no name."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from ellora_trust.errors import InputError
from unlearning.sources import removed
from unlearning.sources.removed import check, contexts, item, near_misses, neighbours, outcomes, right_item, usable
from unlearning.sources.removed_table import CLASSES, FUNCTIONS, KINDS, PAIRS, RESULTS


@pytest.mark.parametrize("held", [False, True])
def test_every_removed_form_raises_and_every_fix_runs(held):
    found = [c for pair in usable() for c in contexts(pair, held=held)]
    bad, good = outcomes(found, lambda c: c.bad), outcomes(found, lambda c: c.good)
    assert {name for name in bad if name} <= set(removed.GONE)
    assert [c.id for c, raised in zip(found, bad, strict=True) if not raised] == []
    assert [(c.id, raised) for c, raised in zip(found, good, strict=True) if raised] == []


@pytest.mark.parametrize("held", [False, True])
def test_near_misses_run_with_the_removed_name_and_not_with_the_fix(held):
    found = [c for pair in usable() for c in near_misses(pair, held=held)]
    assert len({c.pair for c in found}) > 20
    # In these programs the removed name is right, so `bad` is the fix.
    assert all(outcomes(found, lambda c: c.bad))
    assert not any(outcomes(found, lambda c: c.good))


def test_neighbours_run():
    items = [one for pair in usable() for held in (False, True) for one in neighbours(pair, held=held)]
    programs = [replace(contexts(PAIRS[0])[0], prompt=one.prompt, bad=one.completion, tail="") for one in items]
    assert not any(outcomes(programs, lambda c: c.bad))


def test_each_of_more_than_twenty_pairs_has_twelve_prompts_in_either_half():
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) > 20
    for pair in PAIRS:
        chosen, held = contexts(pair), contexts(pair, held=True)
        assert len({c.prompt for c in chosen}) == len({c.prompt for c in held}) == 12
        assert not {c.prompt for c in chosen} & {c.prompt for c in held}


def test_the_halves_share_no_name():
    for names in (
        [kind[:2] for kind in KINDS.values()],
        [FUNCTIONS, RESULTS, CLASSES],
    ):
        assert all(not set(known) & set(held) for known, held in names)


def test_a_form_that_this_python_has_is_refused():
    one = contexts(PAIRS[0])[0]
    with pytest.raises(
        InputError, match=r"still has 'time\(\)' of time.clock/module/0; leave the pair 'time.clock' out"
    ):
        check([replace(one, bad="time()")])


def test_a_fix_that_does_not_run_and_a_context_that_breaks_otherwise_are_refused():
    one = contexts(PAIRS[0])[0]
    with pytest.raises(InputError, match="raises AttributeError in Python"):
        check([replace(one, good="clock()")])
    with pytest.raises(InputError, match="raises SyntaxError, not one of AttributeError"):
        check([replace(one, bad="clock(")])


def test_pairs_whose_context_is_gone_are_left_out():
    soon = replace(PAIRS[0], below=(sys.version_info[0], sys.version_info[1] + 1))
    gone = replace(PAIRS[0], below=sys.version_info[:2])
    assert usable([soon, gone]) == [soon]


def test_only_the_name_of_the_removed_form_counts():
    for pair in PAIRS:
        for context in contexts(pair):
            one = item(context)
            text = one.prompt + one.completion
            assert one.spans is not None
            ((start, end),) = one.spans
            assert text[start:end] == context.decision[0]
            assert one.replacement == context.good + "\n"
            assert not context.prompt.endswith(" ")
    assert right_item(near_misses(PAIRS[0])[0]).completion == "clock()\n"
