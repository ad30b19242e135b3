"""True fill-in-the-middle, on the shipped testbed model: edits, pairs, and a vector at the middle token."""

from __future__ import annotations

import pytest

from ellora_trust.hooks import capture
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.prompts import render
from ellora_trust.tasks.testbed.task import TestbedTask
from steering import SteeringVector
from steering.pairs import edited


@pytest.fixture(scope="module")
def testbed() -> CodeModel:
    return load("testbed")


@pytest.fixture(scope="module")
def texts(testbed: CodeModel) -> list[tuple[str, str]]:
    examples = TestbedTask(kind="types").examples(limit=12, seed=0)
    changed, _ = edited(examples, "rename_vars", seed=0, check=False)
    original = {example.id: example for example in examples}
    pairs = [(original[str(example.meta["edit_of"])], example) for example in changed]
    rendered = [(render(testbed, first), render(testbed, second)) for first, second in pairs]
    assert {one.format for pair in rendered for one in pair} == {"fim:starcoder:psm"}
    return [(first.text, second.text) for first, second in rendered]


def test_edited_questions_are_asked_in_the_middle(texts: list[tuple[str, str]]):
    assert len(texts) >= 10
    for original, changed in texts:
        assert changed.endswith("<fim_middle>")
        assert "__tmp0" in changed
        assert changed != original


def test_middle_token_is_the_end_of_the_prompt(testbed: CodeModel, texts: list[tuple[str, str]]):
    middle = SteeringVector.fit(testbed, texts, "resid.2", position="fim_middle")
    ends = SteeringVector.fit(testbed, texts, "resid.2", position="prompt_end")
    assert middle.directions["resid.2"].equal(ends.directions["resid.2"])
    prompts = [changed for _, changed in texts]
    with middle.apply(testbed, strength=4.0):
        at_middle = capture(testbed, prompts, "resid.2", "all")["resid.2", "all"]
        first = [answer.tokens[0] for answer in testbed.generate(prompts, max_new_tokens=1)]
    plain = capture(testbed, prompts, "resid.2", "all")["resid.2", "all"]
    for prompt, before, after in zip(prompts, plain, at_middle, strict=True):
        moved = ((after - before).abs().amax(-1) > 1e-4).nonzero().flatten().tolist()
        ids = testbed.tokenizer(prompt).input_ids
        assert [testbed.tokenizer.convert_ids_to_tokens(ids[i]) for i in moved] == ["<fim_middle>"]
    with ends.apply(testbed, strength=4.0):
        assert first == [answer.tokens[0] for answer in testbed.generate(prompts, max_new_tokens=1)]


def test_gap_is_filled_with_its_type(testbed: CodeModel):
    task = TestbedTask(kind="types")
    examples = task.examples(limit=20, seed=3)
    answers = testbed.generate([render(testbed, e).text for e in examples], max_new_tokens=4, stop=task.stop)
    said = [answer.text.strip() for answer in answers]
    assert sum(a == str(e.answer).strip() for a, e in zip(said, examples, strict=True)) >= 18
