"""Fused ranking: labels on made cases, sums by hand, signs, clusters, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import make_tokenizer

from attribution.documents.evidence import Evidence, Limits, z_sum
from attribution.documents.fuse import Origin, longest_match, rank, with_clusters
from attribution.ngrams import NgramIndex
from ellora_trust.errors import InputError

ANSWER = "total = 0\nfor value in values:\n    total += value * weight\nreturn total\n"
COPY = "def weigh(values, weight):\n" + ANSWER
RENAMED = "total = 0\nfor item in items:\n    total += item * factor\nreturn total\n"
OTHER = "print('hello')\n"


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def origins(texts):
    return [Origin(f"d{i}", text, f"src/{i}.py", "MIT", first_line=10) for i, text in enumerate(texts)]


def made(tokenizer, texts, gradient=None):
    index = NgramIndex(tokenizer).fit(texts)
    return Evidence(index.score([ANSWER]), index.coverage([ANSWER]), gradient)


def test_hits_say_on_what_they_rest(tokenizer):
    texts = [OTHER, RENAMED, COPY, "#\n", *[f"# {i}\n" for i in range(20)]]
    gradient = np.zeros((1, len(texts)))
    gradient[0, 0] = 5.0
    (hits,) = rank(made(tokenizer, texts, gradient), [ANSWER], origins(texts), tokenizer=tokenizer, k=len(texts))
    basis = {hit.document: hit.basis for hit in hits}
    assert [basis[f"d{i}"] for i in range(4)] == ["influential only", "adapted", "verbatim", "weak"]
    # Without the gradient, nothing is influential.
    (plain,) = rank(made(tokenizer, texts), [ANSWER], origins(texts), tokenizer=tokenizer, k=len(texts))
    assert {hit.document: hit.basis for hit in plain}["d0"] == "weak"
    assert [hit.document for hit in plain[:2]] == ["d2", "d1"]
    assert all(hit.gradient is None and hit.sign == "proponent" for hit in plain)


def test_a_hit_names_where_it_comes_from(tokenizer):
    texts = [OTHER, COPY]
    hit = rank(made(tokenizer, texts), [ANSWER], with_clusters(origins(texts)), tokenizer=tokenizer)[0][0]
    assert (hit.document, hit.path, hit.licence, hit.cluster) == ("d1", "src/1.py", "MIT", "d1")
    assert hit.match is not None
    assert hit.match.text.strip() == ANSWER.strip()
    # The copy's own lines 1 (its last character, the line break) to 5; the text begins in line 10 of the file.
    assert hit.lines == (11, 14)
    assert hit.coverage == pytest.approx(1, abs=0.1)


def test_the_limits_of_a_basis():
    limits = Limits()
    assert [limits.needed(n) for n in (1, 9, 16, 20, 21, 32, 100)] == [8, 8, 8, 10, 11, 16, 16]
    case = {"n_tokens": 100, "coverage": 0.0, "gradient": None}
    assert limits.basis(**{**case, "matched": 16}) == "verbatim"
    assert limits.basis(**{**case, "matched": 15}) == "weak"
    assert limits.basis(**{**case, "matched": 15, "coverage": 0.32}) == "adapted"
    assert limits.basis(**{**case, "matched": 0, "gradient": -2.0}) == "influential only"
    assert limits.basis(**{**case, "matched": 0, "gradient": 1.9}) == "weak"


def test_scores_are_summed_in_standard_deviations():
    a, b = np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 10.0, 40.0]])
    by_hand = (a - 2) / a.std() + (b - 20) / b.std()
    np.testing.assert_allclose(z_sum(a, b), by_hand)
    np.testing.assert_allclose(z_sum(a * 1e6 + 3, b), by_hand)
    np.testing.assert_array_equal(z_sum(np.full((2, 3), 0.1)), np.zeros((2, 3)))
    assert z_sum(np.zeros((0, 3))).shape == (0, 3)
    assert z_sum(np.zeros((3, 0))).shape == (3, 0)


def test_opponents_are_those_whose_gradient_is_below_zero(tokenizer):
    texts = [OTHER, RENAMED, COPY]
    evidence = made(tokenizer, texts, np.array([[-1.0, 3.0, -1.0]]))
    (hits,) = rank(evidence, [ANSWER], origins(texts), tokenizer=tokenizer, side="opponents")
    assert [(hit.document, hit.sign) for hit in hits] == [("d2", "opponent"), ("d0", "opponent")]
    (hits,) = rank(evidence, [ANSWER], origins(texts), tokenizer=tokenizer)
    assert {hit.document: hit.sign for hit in hits} == {"d0": "opponent", "d1": "proponent", "d2": "opponent"}


def test_hits_do_not_depend_on_the_order_of_documents_or_on_other_queries(tokenizer):
    texts = [OTHER, RENAMED, COPY]
    index = NgramIndex(tokenizer).fit(texts)
    answers = [ANSWER, OTHER]
    gradient = np.random.default_rng(0).normal(size=(2, 3))
    evidence = Evidence(index.score(answers), index.coverage(answers), gradient)
    both = rank(evidence, answers, origins(texts), tokenizer=tokenizer)
    assert both == rank(evidence, answers, origins(texts), tokenizer=tokenizer)
    for row, answer in enumerate(answers):
        part = Evidence(*(one[row : row + 1, ::-1] for one in (evidence.ngram, evidence.coverage, gradient)))
        (alone,) = rank(part, [answer], origins(texts)[::-1], tokenizer=tokenizer)
        assert [hit.document for hit in alone] == [hit.document for hit in both[row]]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in both[row]])


def test_equal_documents_come_in_their_order(tokenizer):
    texts = [COPY] * 4
    (hits,) = rank(made(tokenizer, texts), [ANSWER], with_clusters(origins(texts)), tokenizer=tokenizer, k=2)
    assert [hit.document for hit in hits] == ["d0", "d1"]
    assert {hit.cluster for hit in hits} == {"d0"}


def test_near_duplicates_share_a_cluster():
    texts = [COPY, OTHER, COPY.replace("weigh(", "weighed("), RENAMED]
    assert [one.cluster for one in with_clusters(origins(texts))] == ["d0", "d1", "d0", "d3"]
    assert with_clusters([]) == []


def test_empty_answers_and_empty_documents_are_weak(tokenizer):
    texts = ["", OTHER]
    index = NgramIndex(tokenizer).fit(texts)
    evidence = Evidence(index.score(["", OTHER]), index.coverage(["", OTHER]))
    empty, other = rank(evidence, ["", OTHER], origins(texts), tokenizer=tokenizer)
    assert [(hit.basis, hit.match, hit.score) for hit in empty] == [("weak", None, 0.0)] * 2
    assert [(hit.document, hit.basis) for hit in other] == [("d1", "verbatim"), ("d0", "weak")]
    assert rank(Evidence(np.zeros((0, 2)), np.zeros((0, 2))), [], origins(texts), tokenizer=tokenizer) == []
    assert rank(Evidence(np.zeros((1, 0)), np.zeros((1, 0))), [ANSWER], [], tokenizer=tokenizer) == [[]]
    assert longest_match(tokenizer, "a", "b") is None


def test_bad_input_is_named(tokenizer):
    with pytest.raises(InputError, match=r"gradient has shape \(1, 2\)"):
        Evidence(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 2)))
    with pytest.raises(InputError, match="nan"):
        Evidence(np.zeros((1, 1)), np.zeros((1, 1)), np.full((1, 1), np.nan))
    evidence = Evidence(np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(InputError, match="for 2 answers"):
        rank(evidence, ["a", "b"], origins(["a"]), tokenizer=tokenizer)
    with pytest.raises(InputError, match="no opponents"):
        rank(evidence, ["a"], origins(["a"]), tokenizer=tokenizer, side="opponents")
    with pytest.raises(InputError, match="unknown side"):
        rank(evidence, ["a"], origins(["a"]), tokenizer=tokenizer, side="both")  # pyright: ignore[reportArgumentType]
