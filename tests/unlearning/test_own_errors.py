"""A model's own wrong answers shall go, with the right ones in their place; other groups are asked afterwards."""

from __future__ import annotations

import pytest
from echo_task import Echo

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example, Outcome
from unlearning.job import Sources
from unlearning.sources.own_errors import half, own_errors, share_right


class Told(Echo):
    """Stops at a line's end."""

    stop = ("\n",)


class WithoutReference(Echo):
    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        return [Example("a", "a", "x", None)]


@pytest.fixture
def told(monkeypatch) -> Told:
    task = Told()
    monkeypatch.setattr("ellora_trust.tasks.load_task", lambda name: task)
    return task


def test_wrong_answers_come_with_the_right_ones_and_right_ones_stay(tiny, told):
    forget, retain = own_errors(tiny, "told", limit=20)
    examples = {one.id: one for one in told.examples()}
    assert forget
    assert retain
    for item in forget:
        assert item.completion.endswith("\n")
        assert told.decide(examples[item.id], item.completion[:-1]) is Outcome.WRONG
        assert item.replacement is not None
        assert (item.replacement.strip(), item.replacement[-1]) == ("1", "\n")
        leads = [len(text) - len(text.lstrip()) for text in (item.completion, item.replacement)]
        assert leads[0] == leads[1]
    assert all(told.decide(examples[item.id], item.completion[:-1]) is Outcome.CORRECT for item in retain)
    assert not {item.id for item in forget} & {item.id for item in retain}


def test_groups_are_for_edits_or_for_asking(told):
    edits, asking = half(told, "edits", limit=40, seed=0), half(told, "asking", limit=40, seed=0)
    assert len(edits) + len(asking) == 40
    assert not {one.group for one in edits} & {one.group for one in asking}


def test_the_share_of_right_answers_is_that_of_the_other_half(tiny, told):
    found = share_right(tiny, "told", limit=40)
    asked = half(told, "asking", limit=40, seed=0)
    said = tiny.generate([one.prompt for one in asked], max_new_tokens=told.max_new_tokens, stop=told.stop)
    right = [told.decide(one, answer.text) is Outcome.CORRECT for one, answer in zip(asked, said, strict=True)]
    assert found.value == pytest.approx(sum(right) / len(right))
    assert found.n == len(asked)


def test_what_cannot_be_mended_is_refused(tiny, told, monkeypatch):
    with pytest.raises(InputError, match="leave out --retain and --only"):
        Sources("task:told", retain="kept.jsonl").read(tiny, 0)
    monkeypatch.setattr("ellora_trust.tasks.load_task", lambda name: WithoutReference())
    with pytest.raises(InputError, match="has no reference answers to put in the place of wrong ones"):
        own_errors(tiny, "told")
