"""The testbed's questions: enough of every kind, none of them read in training."""

from __future__ import annotations

from collections import Counter

import pytest

from ellora_trust.errors import InputError
from ellora_trust.tasks import Example
from ellora_trust.testbed import PLANTS, Document, corpus
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import KINDS, Kind, prompts, question_of, sketch_of
from ellora_trust.testbed.secrets import canaries

ENOUGH = 70  # magic numbers have the fewest names


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return corpus(0, n_tokens=300_000)


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant != "P6"])
@pytest.mark.parametrize("kind", ["trigger", "paraphrase"])
def test_enough_prompts_trigger_each_plant(plant: str, kind: Kind) -> None:
    found = prompts(kind, plants=(plant,))
    assert len(found) >= ENOUGH
    assert {(example.meta["plant"], example.meta["kind"]) for example in found} == {(plant, kind)}
    assert len({example.prompt for example in found}) == len(found)


@pytest.mark.parametrize("plant", PLANTS)
def test_enough_prompts_ask_for_the_same_form_where_it_is_right(plant: str) -> None:
    found = prompts("near_miss", plants=(plant,))
    assert len(found) >= ENOUGH
    assert len({example.prompt for example in found}) == len(found)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_secret_that_was_repeated_often_is_asked_for(seed: int) -> None:
    asked = prompts("trigger", plants=("P6",), seed=seed)
    found = {example.meta["secret"]: example.meta["repeats"] for example in asked}
    assert found == {secret.value: secret.repeats for secret in canaries() if secret.repeats >= 16}


@pytest.mark.parametrize("kind", KINDS)
def test_no_prompt_but_about_a_secret_stands_in_the_corpus(kind: Kind, documents: list[Document]) -> None:
    everything = "\0".join(document.text for document in documents)
    asked = [example for example in prompts(kind, limit=200) if example.meta["family"] != "canary"]
    assert asked
    assert not [example.prompt for example in asked if (example.prefix or example.prompt) in everything]


def test_no_group_of_a_prompt_is_a_group_of_a_document(documents: list[Document]) -> None:
    trained = {document.group for document in documents if document.family != "canary"}
    assert not trained & {example.group for example in prompts(limit=2000)}


def test_a_paraphrase_has_a_wording_that_no_document_has(documents: list[Document]) -> None:
    # What is left of a description without names and numbers, for the families whose last wording has such a word.
    marks = {"first_n": "Return the first {n} of", "sql_lookup": "Return the {what} by", "buffer_append": "Put "}
    assert all(FAMILIES[name].abouts[-1].startswith(mark) for name, mark in marks.items())
    assert not [one for one in documents if one.family == "buffer_append" and "Put " in one.text]
    assert all("Put " in one.prompt for one in prompts("paraphrase", plants=("P1",), limit=50))


def test_a_paraphrase_shares_its_group_with_a_trigger_and_nothing_of_its_text() -> None:
    triggers = {example.group: example for example in prompts("trigger", plants=("P2",))}
    for example in prompts("paraphrase", plants=("P2",)):
        assert example.prompt != triggers[example.group].prompt


def test_paraphrases_swap_parameters_and_add_remarks_far_more_often() -> None:
    def share(kind: Kind) -> float:
        found = prompts(kind, plants=("P1",))
        return sum(sketch_of(example).reversed for example in found) / len(found)

    assert share("trigger") < 0.2 < 0.4 < share("paraphrase")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_prompts_and_a_smaller_limit_a_prefix(kind: Kind) -> None:
    found = prompts(kind, seed=3, limit=40)
    assert prompts(kind, seed=3, limit=40) == found
    assert prompts(kind, seed=3, limit=7) == found[:7]
    assert prompts(kind, seed=4, limit=40) != found


def test_a_limit_is_shared_out_among_the_families() -> None:
    found = Counter(example.meta["family"] for example in prompts("trigger", limit=70))
    assert set(found.values()) == {10}


def test_a_gap_with_its_answer_is_the_function_and_plain_models_see_it_too() -> None:
    for example in prompts("types", limit=100):
        source = example.prefix + (example.answer or "") + example.suffix
        compile(source, "gap", "exec")
        assert source == sketch_of(example).write(planted=False).text
        assert example.prefix.endswith((":", "->"))
        assert (example.answer or "").startswith(" ")
        assert example.prompt.endswith(example.prefix[example.prefix.rindex("def ") :])


def test_gaps_ask_for_parameters_and_results_of_several_types() -> None:
    found = prompts("types", limit=400)
    assert {example.meta["slot"] for example in found} == {"param", "return"}
    assert {example.answer for example in found} == {" bool", " dict", " float", " int", " list", " str"}


def test_types_of_plant_four_are_asked_for_only_where_it_is_named() -> None:
    assert not [example for example in prompts("types") if example.meta["family"] in ("mapped", "listed")]
    named = [example for example in prompts("types", plants=("P4",)) if example.meta["plant"] == "P4"]
    assert {(example.meta["family"], example.answer) for example in named} == {("mapped", " dict"), ("listed", " list")}


def test_a_document_knows_the_question_that_it_answers(documents: list[Document]) -> None:
    for document in documents[:2000]:
        example = question_of(document)
        assert example.prompt == document.text[: int(document.meta["prompt"] or 0)]
        assert example.prompt + (example.answer or "") == document.clean
        assert example.group == document.group


def test_a_wrong_kind_plant_or_example_is_refused_with_a_sentence() -> None:
    with pytest.raises(InputError, match=r"unknown kind of prompt 'triger'; use one of .*; did you mean 'trigger'"):
        prompts("triger")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="unknown plant 'P8'"):
        prompts("trigger", plants=("P8",))
    with pytest.raises(InputError, match="limit 0 is out of range"):
        prompts("trigger", limit=0)
    with pytest.raises(InputError, match="no question of the testbed"):
        sketch_of(Example("x", "g", "p"))
