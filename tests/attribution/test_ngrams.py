"""n-gram idf, BM25 and the other baselines: closed forms on toys, invariances, empty texts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from tiny_models import make_tokenizer

from attribution.documents.baselines import cosines, embedding_scores, random_scores
from attribution.documents.bm25 import bm25_scores, code_words
from attribution.ngrams import NgramIndex, ngram_scores
from ellora_trust.errors import InputError

TEXTS = ["def add(a, b):\n    return a + b\n", "x = [1, 2, 3]\ny = x[:]\n", "for i in range(10):\n    print(i)\n", "z"]


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def runs(tokenizer, text, n):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return [tuple(ids[i : i + n]) for i in range(max(len(ids) - n + 1, 1))] if ids else []


def by_definition(tokenizer, queries, documents, n):
    """Cosine of counts x idf, with dictionaries."""
    held = [runs(tokenizer, text, n) for text in documents]

    def vector(text):
        found = {}
        for run in runs(tokenizer, text, n):
            df = sum(run in one for one in held)
            if df:
                found[run] = found.get(run, 0) + math.log((1 + len(held)) / (1 + df)) + 1
        norm = math.sqrt(sum(value**2 for value in found.values())) or 1
        return {run: value / norm for run, value in found.items()}

    rows = [vector(text) for text in documents]
    return [[sum(vector(q).get(run, 0) * value for run, value in row.items()) for row in rows] for q in queries]


def test_scores_are_the_cosine_of_counts_times_idf(tokenizer):
    queries = ["x = [1, 2, 3]\nz = x[:]\n", "def add(b, a):\n    return a + a\n", "z", ""]
    for n in (1, 2, 3):
        expected = by_definition(tokenizer, queries, TEXTS, n)
        np.testing.assert_allclose(ngram_scores(tokenizer, queries, TEXTS, n=n), expected, atol=1e-12)


def test_idf_in_closed_form(tokenizer):
    # One token a text, so one run a text: "a" in two of three documents, "b" in one.
    index = NgramIndex(tokenizer).fit(["a", "a", "b"])
    assert sorted(index.idf_) == pytest.approx([math.log(4 / 3) + 1, math.log(4 / 2) + 1])
    np.testing.assert_allclose(index.score(["a", "b"]), [[1, 1, 0], [0, 0, 1]])


def test_coverage_is_the_weighted_share_of_a_query_that_a_document_holds(tokenizer):
    index = NgramIndex(tokenizer, n=1).fit(["a", "a b", "c"])
    a, b, spread = np.log(4 / 3) + 1, np.log(4 / 2) + 1, np.log(4) + 1
    ids = tokenizer("a b", add_special_tokens=False).input_ids
    assert len(ids) == 2
    # The query's " b" is in one document, "d" in none.
    np.testing.assert_allclose(index.coverage(["a b"])[0], [a / (a + b), 1, 0])
    np.testing.assert_allclose(index.coverage(["ad"])[0], [a / (a + spread)] * 2 + [0])


def test_a_document_covers_its_own_parts_fully(tokenizer):
    index = NgramIndex(tokenizer).fit(TEXTS)
    np.testing.assert_allclose(np.diag(index.coverage(TEXTS)), 1)
    assert index.coverage(TEXTS).max() <= 1 + 1e-12


def test_a_span_asks_about_its_own_tokens_only(tokenizer):
    text = TEXTS[0] + TEXTS[1]
    index = NgramIndex(tokenizer).fit(TEXTS)
    middle = (text.index("[1"), text.index("]"))
    whole, part = index.score([text])[0], index.score([text], [middle])[0]
    assert whole[0] > 0.3
    assert part[0] == 0
    assert part[1] > 0.3
    np.testing.assert_array_equal(index.score([text], [None]), index.score([text], [(0, len(text))]))
    np.testing.assert_allclose(index.score([text], [None]), index.score([text]), atol=1e-12)
    assert (index.score([text], [(3, 3)]) == 0).all()


def test_scores_of_a_pair_do_not_depend_on_order_or_company_of_the_queries(tokenizer):
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(TEXTS)), rng.permutation(len(TEXTS))
    for scores in (partial(ngram_scores, tokenizer), bm25_scores):
        whole = scores(TEXTS, TEXTS)
        again = scores([TEXTS[i] for i in rows], [TEXTS[i] for i in columns])
        np.testing.assert_allclose(again, whole[np.ix_(rows, columns)], atol=1e-12)
        np.testing.assert_allclose(np.concatenate([scores([text], TEXTS) for text in TEXTS]), whole, atol=1e-12)
        np.testing.assert_array_equal(scores(TEXTS, TEXTS), whole)


def test_no_queries_no_documents_and_empty_texts_score_zero(tokenizer, tiny):
    methods = (partial(ngram_scores, tokenizer), bm25_scores, partial(embedding_scores, tiny), random_scores)
    for scores in methods:
        assert scores([], TEXTS).shape == (0, len(TEXTS))
        assert scores(TEXTS, []).shape == (len(TEXTS), 0)
    for scores in methods[:3]:
        assert (scores([""], TEXTS) == 0).all()
        assert (scores(TEXTS, ["", ""]) == 0).all()
        assert np.isfinite(scores(["", "z"], ["z", ""])).all()
    assert (NgramIndex(tokenizer).fit([""]).coverage(["z"]) == 0).all()


def test_what_was_fitted_comes_back_from_its_file(tokenizer, tmp_path):
    index = NgramIndex(tokenizer).fit(TEXTS)
    index.save(tmp_path / "ngrams.safetensors")
    again = NgramIndex.load(tmp_path / "ngrams.safetensors", tokenizer)
    queries = [TEXTS[0] + TEXTS[1], "for i in x:\n"]
    np.testing.assert_array_equal(again.score(queries), index.score(queries))
    np.testing.assert_array_equal(again.coverage(queries), index.coverage(queries))
    (tmp_path / "ngrams.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match="damaged or missing"):
        NgramIndex.load(tmp_path / "ngrams.safetensors", tokenizer)


def test_bad_input_is_named(tokenizer):
    with pytest.raises(InputError, match="n=0"):
        NgramIndex(tokenizer, 0)
    with pytest.raises(InputError, match="no documents"):
        NgramIndex(tokenizer).fit([])
    index = NgramIndex(tokenizer).fit(TEXTS)
    with pytest.raises(InputError, match=r"span 0\.\.9 is outside"):
        index.score(["z"], [(0, 9)])
    with pytest.raises(InputError, match="2 spans for 1 texts"):
        index.score(["z"], [None, None])


def test_words_of_code_are_identifiers_with_their_parts():
    assert code_words("getHTTPUser2 = fetch_user(XS, 10) # größe") == (
        ["gethttpuser2", "get", "http", "user", "2", "fetch_user", "fetch", "user", "xs", "10", "größe"]
    )
    assert code_words("+ - ()") == []
    assert code_words("__init__") == ["__init__"]


def test_bm25_in_closed_form():
    documents = ["a b", "a a c", "d"]
    # Lucene: idf = ln(1 + (N - df + .5) / (df + .5)); tf part = tf / (tf + k1 (1 - b + b length / mean length)).
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    expected = [idf * tf / (tf + 1.5 * (0.25 + 0.75 * n / 2)) for tf, n in ((1, 2), (2, 3), (0, 1))]
    np.testing.assert_allclose(bm25_scores(["a"], documents), [expected])


def test_renaming_a_part_of_a_name_keeps_the_rest():
    scores = bm25_scores(["fetch_user(x)"], ["fetchAccount(y)", "store(y)"])[0]
    assert scores[0] > scores[1] == 0


def test_embedding_similarity_is_the_cosine_of_mean_activations(tiny):
    from ellora_trust.hooks import capture

    site = f"resid.{tiny.arch.n_layers - 1}"
    rows = capture(tiny, TEXTS[:3], site, "mean").vectors(site, "mean").double().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = embedding_scores(tiny, TEXTS[:1], TEXTS[1:3])
    np.testing.assert_allclose(found, unit[:1] @ unit[1:].T, atol=1e-4)
    assert abs(found).max() <= 1 + 1e-9


def test_centred_cosines_do_not_see_what_all_documents_share():
    rng = np.random.default_rng(0)
    queries, documents = rng.normal(size=(2, 4)), rng.normal(size=(5, 4))
    there, moved = (cosines(queries + shift, documents + shift, centred=True) for shift in (0, 100))
    np.testing.assert_allclose(there, moved, atol=1e-9)
    assert abs(cosines(queries, documents) - cosines(queries + 100, documents + 100)).max() > 0.1
    assert (cosines(np.zeros((1, 4)), documents, centred=True) == 0).all()


def test_chance_is_seeded():
    first, again, other = (random_scores(TEXTS, TEXTS, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).all()
