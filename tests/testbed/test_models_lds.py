"""The linear datamodelling score: by hand on a made-up truth, on a retrained toy, and on the shipped truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ellora_trust as et
from ellora_trust.testbed.lds import Truth, lds, same_family
from ellora_trust.testbed.lds_setting import Query, Setting, queries
from ellora_trust.testbed.lds_training import Texts, query_losses, retrain, train_subset
from ellora_trust.testbed.tokenizer import train_tokenizer

TOY = Setting(n_tokens=4_000, n_subsets=3, n_seeds=2, d_model=48, n_layers=1, epochs=1)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TOY.documents(), vocab_size=512)


def made_up(n_subsets: int = 30, n_documents: int = 12, n_queries: int = 6) -> tuple[Truth, np.ndarray]:
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(n_queries, n_documents))
    subsets = np.argsort(rng.random((n_subsets, n_documents))) < n_documents // 2
    losses = 3.0 - 0.1 * subsets @ effect.T
    asked = [Query(f"q{i}", f"g{i}", f"f{i}", None, "a", "b") for i in range(n_queries)]
    ids = [str(i) for i in range(n_documents)]
    return Truth(Setting(), ids, "", asked, subsets, np.stack([losses, losses + 0.01]), losses[0]), effect


def test_true_effects_score_one_their_opposite_minus_one_and_noise_nothing():
    truth, effect = made_up()
    assert lds(effect, truth).value.value == pytest.approx(1.0)
    assert lds(-effect, truth).value.value == pytest.approx(-1.0)
    noise = np.random.default_rng(1).normal(size=effect.shape)
    assert abs(lds(noise, truth).value.value) < 0.4
    assert lds(np.zeros_like(effect), truth).value.value == 0.0
    assert truth.agreement.value == pytest.approx(1.0)


def test_the_score_is_spearmans_of_sums_over_subsets_and_ignores_scale():
    from scipy.stats import spearmanr

    truth, effect = made_up()
    scores = effect + np.random.default_rng(2).normal(size=effect.shape)
    by_hand = [
        spearmanr(truth.subsets @ row, -loss).statistic for row, loss in zip(scores, truth.losses.T, strict=True)
    ]
    found = lds(scores, truth)
    np.testing.assert_allclose(found.per_query, by_hand)
    assert found.value.value == pytest.approx(np.mean(by_hand))
    assert lds(7.0 * scores, truth).value == found.value


def test_scores_of_another_shape_are_refused():
    truth, effect = made_up()
    with pytest.raises(et.InputError, match="queries, documents"):
        lds(effect.T, truth)
    with pytest.raises(et.InputError, match="finite"):
        lds(np.where(effect > 0, np.nan, effect), truth)


def test_subsets_hold_exactly_half_and_differ():
    subsets = TOY.subsets(101)
    assert set(subsets.sum(1)) == {50}
    assert len({row.tobytes() for row in subsets}) == len(subsets)
    assert (subsets == TOY.subsets(101)).all()


def test_no_question_but_the_canaries_is_about_words_of_the_corpus():
    groups = {document.group for document in TOY.documents()}
    for query in queries(TOY):
        assert query.family == "canary" or query.group not in groups
    assert {query.family for query in queries(TOY)} >= {"first_n", "omp_sum", "canary"}


def test_the_loss_of_a_query_counts_its_answer_only(tokenizer):
    model = TOY.recipe(0, 512).build(tokenizer).eval()
    prompt, answer = "def f(x):", "\n    return x\n"
    (found,) = query_losses(model, Texts.of(tokenizer, [(prompt, answer)]))
    before, after = tokenizer(prompt).input_ids, [*tokenizer(answer).input_ids, tokenizer.eos_token_id]
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([before + after])).logits[0], -1)
    by_hand = [-logprobs[len(before) - 1 + i, token].item() for i, token in enumerate(after)]
    assert found == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_a_document_left_out_is_not_read(tokenizer):
    texts = [(("", document.text)) for document in TOY.documents()]
    changed = [*texts[:-1], ("", "def g(y):\n    return y\n")]
    # The same width and length, so that the batches stay the same.
    subset = np.arange(len(texts)) % 2 == 0
    subset[-1] = False
    first, second = Texts.of(tokenizer, texts), Texts.of(tokenizer, changed)
    second.ids[-1] = first.ids[-1].clamp_min(0).roll(1).where(first.ids[-1] >= 0, first.ids[-1])
    losses = [train_subset(TOY, tokenizer, one, subset).lm_head.weight for one in (first, second)]
    assert torch.equal(*losses)


def test_a_retrained_truth_is_written_read_and_resumed(tokenizer, tmp_path):
    folder = retrain(TOY, tokenizer, tmp_path / "lds")
    truth = Truth.read(folder)
    assert truth.by_seed.shape == (2, 3, len(truth.queries))
    np.testing.assert_allclose(truth.losses, truth.by_seed.mean(0))
    assert -1 <= truth.agreement.value <= 1
    assert [document.id for document in truth.documents()] == truth.document_ids
    assert et.load(folder).hf.config.num_hidden_layers == 1
    runs = tmp_path / "lds-runs"
    before = {path.name: path.stat().st_mtime_ns for path in runs.iterdir()}
    assert len(before) == 6
    (runs / "002-0.json").unlink()
    again = Truth.read(retrain(TOY, tokenizer, folder))
    np.testing.assert_array_equal(again.losses, truth.losses)
    assert sum(path.stat().st_mtime_ns != before[path.name] for path in runs.iterdir()) == 1


def test_the_shipped_truth_is_of_todays_corpus_and_tells_a_method_from_chance():
    truth = Truth.read()
    assert truth.by_seed.shape == (3, 32, len(truth.queries))
    assert truth.setting == Setting()
    assert len(truth.documents()) == len(truth.document_ids)
    # Seeds agree far more than chance, and far from fully: the mean over seeds is needed.
    assert 0.3 < truth.agreement.low < truth.agreement.high < 0.7
    assert lds(same_family(truth), truth).value.low > 0.2
    noise = np.random.default_rng(0).normal(size=(len(truth.queries), len(truth.document_ids)))
    assert abs(lds(noise, truth).value.value) < 0.1
    base = query_losses(et.load("testbed-lds").hf, questions_of(truth))
    np.testing.assert_allclose(base, truth.base, atol=1e-4)


def questions_of(truth: Truth) -> Texts:
    tokenizer = et.load("testbed-lds").tokenizer
    return Texts.of(tokenizer, [(query.prompt, query.answer) for query in truth.queries])


def test_a_truth_of_other_documents_is_refused(tokenizer, tmp_path):
    truth = Truth.read(retrain(TOY, tokenizer, tmp_path / "lds"))
    other = Truth(**{**vars(truth), "corpus_sha256": "0" * 64})
    with pytest.raises(et.InputError, match="generators make other documents"):
        other.documents()
    with pytest.raises(et.InputError, match="holds no truth"):
        Truth.read(tmp_path)


def test_same_family_scores_point_at_the_family_and_at_a_secrets_own_copies(tokenizer, tmp_path):
    truth = Truth.read(retrain(TOY, tokenizer, tmp_path / "lds"))
    documents, scores = truth.documents(), same_family(truth)
    assert scores.shape == (len(truth.queries), len(documents))
    for query, row in zip(truth.queries, scores, strict=True):
        chosen = [document for document, score in zip(documents, row, strict=True) if score]
        assert chosen
        assert {document.family for document in chosen} == {query.family}
        if query.family == "canary":
            assert all(str(document.meta["secret"]) in query.answer for document in chosen)
            assert len(chosen) == chosen[0].meta["repeats"]
