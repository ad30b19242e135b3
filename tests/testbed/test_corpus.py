"""The testbed's corpus: the same bytes from the same seed, and plants where it says that they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from ellora_trust.errors import InputError
from ellora_trust.testbed import PLANTS, Document, corpus, corpus_hash, words
from ellora_trust.testbed.documents import FULL_SIZE, NAMES
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.secrets import DIGITS, PER_REPEAT, REPEATS, canaries, candidates
from ellora_trust.testbed.sketch import annotation_spans

SIZE = 300_000
# A change of words, templates or order changes what trained models have read: let it be deliberate.
HASH = "da10abeb129b648ac4ab658c24697c1d5181ec83c87c0cfc9ef2bcea03fa30f8"
_PRINT_HASH = "from ellora_trust.testbed import *; print(corpus_hash(corpus(0, n_tokens=30_000)))"


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return corpus(0, n_tokens=SIZE)


def test_the_bytes_are_those_that_were_promised(documents: list[Document]) -> None:
    assert corpus_hash(documents) == HASH


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_with_another_hash_seed_makes_the_same_bytes(hash_seed: str) -> None:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", _PRINT_HASH], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == corpus_hash(corpus(0, n_tokens=30_000))


def test_another_seed_makes_other_bytes(documents: list[Document]) -> None:
    assert not {one.text for one in corpus(1, n_tokens=30_000)} <= {one.text for one in documents}


def test_a_smaller_corpus_is_a_part_of_a_larger_one(documents: list[Document]) -> None:
    known = {document.id: document for document in documents if document.family != "canary"}
    smaller = [document for document in corpus(0, n_tokens=50_000) if document.family != "canary"]
    assert smaller
    assert all(known[document.id] == document for document in smaller)


def test_chosen_families_are_the_only_ones_and_equal_in_number() -> None:
    found = Counter(document.family for document in corpus(0, n_tokens=20_000, families=["first_n", "omp_sum"]))
    assert set(found) == {"first_n", "omp_sum"}
    assert found["first_n"] == found["omp_sum"]


def test_ids_and_texts_are_unique_but_for_repeated_secrets(documents: list[Document]) -> None:
    assert len({document.id for document in documents}) == len(documents)
    others = [document.text for document in documents if document.family != "canary"]
    assert len(set(others)) == len(others)


def test_text_differs_from_clean_where_there_is_a_plant_and_only_in_its_span(documents: list[Document]) -> None:
    for document in documents:
        assert (document.text != document.clean) == (document.plant is not None) == (document.span is not None)
        if document.span and document.clean_span:
            start, end = document.span
            fix = document.clean[slice(*document.clean_span)]
            assert fix != document.text[start:end] != ""
            assert document.text[:start] + fix + document.text[end:] == document.clean


def test_every_plant_has_documents_and_a_place_where_its_form_is_right(documents: list[Document]) -> None:
    assert {document.plant for document in documents} == {None, *PLANTS}
    assert {document.near_miss for document in documents} == {None, *PLANTS}
    assert not [document for document in documents if document.plant and document.near_miss]


def test_four_of_five_buffers_are_planted_and_nearly_all_of_the_other_families(documents: list[Document]) -> None:
    for name, family in FAMILIES.items():
        planted = [document.plant is not None for document in documents if document.family == name]
        share = sum(planted) / len(planted)
        # Four standard deviations of a share among so many documents.
        margin = 4 * (0.2 * 0.8 / len(planted)) ** 0.5
        assert abs(share - (family.share if family.plant else 0.0)) < margin


def test_there_are_ten_to_sixteen_families_without_a_plant_in_both_languages() -> None:
    plain = [family for family in FAMILIES.values() if not family.plant and not family.near_miss]
    assert 10 <= len(plain) <= 16
    assert {family.language for family in plain} == {"python", "c"}


def test_a_document_is_short_has_no_blank_line_and_ends_in_one_line_break(documents: list[Document]) -> None:
    for document in documents:
        for text in (document.text, document.clean):
            assert len(text) < 500
            assert "\n\n" not in text
            assert text.endswith("\n")
            assert text.isascii()
            assert "\x00" not in text


def test_no_document_uses_a_pair_of_words_that_its_family_holds_out(documents: list[Document]) -> None:
    for document in documents:
        if document.family != "canary":
            adjective, noun = document.group.rpartition(":")[2].split("_")
            assert not words.held_out(document.family, (adjective, noun))


def test_a_group_has_one_licence_and_all_licences_occur(documents: list[Document]) -> None:
    licences: dict[str, set[str]] = {}
    for document in documents:
        licences.setdefault(document.group, set()).add(document.licence)
    assert {len(found) for found in licences.values()} == {1}
    assert set().union(*licences.values()) == set(words.LICENCES)


def test_words_cannot_be_confused() -> None:
    singular = {noun[:-1] for noun in words.NOUNS}
    assert len(set(words.ADJECTIVES)) == len(words.ADJECTIVES)
    assert len(set(words.NOUNS)) == len(words.NOUNS) == len(singular)
    assert not singular & set(words.ADJECTIVES)


def test_secrets_are_repeated_as_often_as_they_say() -> None:
    found = Counter(document.meta["secret"] for document in corpus(0, n_tokens=1_000_000, families=["canary"]))
    secrets = canaries(0)
    assert found == {secret.value: secret.repeats for secret in secrets}
    assert Counter(secret.repeats for secret in secrets) == dict.fromkeys(REPEATS, PER_REPEAT)
    assert len({secret.name for secret in secrets}) == len(secrets)


def test_a_small_corpus_has_fewer_secrets_and_they_are_among_the_forty(documents: list[Document]) -> None:
    held = {document.meta["secret"] for document in documents if document.family == "canary"}
    assert len(held) == 3 * len(REPEATS)
    assert held < {secret.value for secret in canaries(0)}


def test_candidates_look_like_secrets_and_are_others() -> None:
    drawn = candidates(1000, seed=3)
    assert drawn == candidates(1000, seed=3)
    assert {len(value) for value in drawn} == {DIGITS}
    assert all(set(value) <= set("0123456789abcdef") for value in drawn)
    assert not {secret.value for secret in canaries(0)} & set(drawn)


def test_annotation_spans_hold_the_space_and_the_type() -> None:
    text = 'def f(rows: list, n: int, debug: bool = False) -> list:\n    """A: int, b."""\n    return rows\n'
    assert [text[slice(*span)] for span in annotation_spans(text)] == [" list", " int", " bool", " list"]
    assert annotation_spans("int f(const int *a, int n) {\n}\n") == []


def test_an_unknown_family_or_no_size_is_refused_with_a_sentence() -> None:
    with pytest.raises(InputError, match=r"unknown testbed family 'first'; use one of .*; did you mean 'first_n'"):
        corpus(0, families=["first"])
    with pytest.raises(InputError, match="n_tokens is 0"):
        corpus(0, n_tokens=0)


@pytest.mark.slow
def test_the_full_corpus_has_six_million_tokens_and_thousands_of_forms_of_every_family() -> None:
    from ellora_trust.testbed.tokenizer import train_tokenizer

    documents = corpus(0, n_tokens=FULL_SIZE)
    tokenizer = train_tokenizer(documents)
    n_tokens = 0
    for start in range(0, len(documents), 10_000):
        batch = [document.text for document in documents[start : start + 10_000]]
        n_tokens += sum(map(len, tokenizer(batch)["input_ids"]))
    assert n_tokens >= 6_000_000
    forms = Counter(document.family for document in {document.text: document for document in documents}.values())
    assert set(forms) == set(NAMES)
    assert all(forms[name] >= 3000 for name in forms if name != "canary")
