"""Longest exact matches: against brute force, on hand-made cases, and on texts that have none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import make_tokenizer

from attribution.documents import matches
from attribution.documents.matches import SuffixIndex
from ellora_trust.errors import EnvironmentProblem, InputError

# Few letters, so that matches are long; é and 😀 have two and four bytes, é and è share their first.
TEXT = st.text(alphabet="ab\né\xe8😀", max_size=30)


def brute_force(documents, answer, shortest):
    """Every span that occurs in a document and lies in no longer one that does."""
    spans = [(i, j) for i in range(len(answer)) for j in range(i + 1, len(answer) + 1)]
    held = [(i, j) for i, j in spans if any(answer[i:j] in document for document in documents)]
    longest = [(i, j) for i, j in held if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in held)]
    return [(i, j) for i, j in longest if j - i >= shortest]


def occurrences(documents, span):
    return [(d, s) for d, text in enumerate(documents) for s in range(len(text)) if text.startswith(span, s)]


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXT, min_size=1, max_size=5), TEXT, st.integers(1, 4))
def test_matches_are_those_of_brute_force(documents, answer, shortest):
    found = SuffixIndex(documents).matches(answer, min_characters=shortest, max_places=1000)
    assert [(one.start, one.end) for one in found] == brute_force(documents, answer, shortest)
    for one in found:
        assert one.text == answer[one.start : one.end]
        assert [(place.document, place.start) for place in one.places] == occurrences(documents, one.text)
        assert one.count == len(one.places)


def test_a_match_names_document_characters_lines_and_tokens():
    tokenizer = make_tokenizer()
    documents = ["x = 1\n", "# é\ndef add(a, b):\n    return a + b\nprint(1)\n"]
    answer = "y = 2\ndef add(a, b):\n    return a + b\n!"
    (match,) = SuffixIndex(documents).matches(answer, tokenizer=tokenizer)
    assert match.text == "\ndef add(a, b):\n    return a + b\n"
    (place,) = match.places
    assert documents[1][place.start : place.end] == match.text
    # It begins with the end of line 1, and the line break at its end still is line 3's.
    assert (place.document, place.lines, match.count) == (1, (1, 3), 1)
    assert match.tokens is not None
    ids = tokenizer(answer, add_special_tokens=False).input_ids[slice(*match.tokens)]
    assert tokenizer.decode(ids).strip() == "def add(a, b):\n    return a + b"


def test_no_match_crosses_documents_and_their_order_changes_only_numbers():
    documents = ["alpha beta", "gamma delta", "", "beta"]
    answer = "alpha beta" + "gamma delta"
    there = SuffixIndex(documents).matches(answer, min_characters=3)
    back = SuffixIndex(documents[::-1]).matches(answer, min_characters=3)
    assert [one.text for one in there] == [one.text for one in back] == documents[:2]
    assert [3 - place.document for one in back for place in one.places] == [0, 1]


def test_the_same_input_gives_the_same_matches():
    documents = ["def f(x):\n    return x\n"] * 3
    first, second = (SuffixIndex(documents).matches("def f(x):\n    return y", max_places=2) for _ in range(2))
    assert first == second
    assert (first[0].count, len(first[0].places)) == (3, 2)


def test_empty_answers_and_empty_documents_have_no_match():
    assert SuffixIndex(["some text"]).matches("") == []
    assert SuffixIndex(["", ""]).matches("some text", min_characters=1) == []
    assert SuffixIndex(["some text"]).matches("other", min_characters=6) == []


def test_bad_input_is_named():
    with pytest.raises(InputError, match="no documents"):
        SuffixIndex([])
    with pytest.raises(InputError, match="document 1 holds a lone surrogate"):
        SuffixIndex(["a", "\ud800"])
    with pytest.raises(InputError, match="min_characters=0"):
        SuffixIndex(["a"]).matches("a", min_characters=0)


def test_too_little_memory_is_said_before_sorting(monkeypatch):
    class Small:
        available = 10

    monkeypatch.setattr(matches.psutil, "virtual_memory", Small)
    with pytest.raises(EnvironmentProblem, match="give fewer documents"):
        SuffixIndex(["a text"])
