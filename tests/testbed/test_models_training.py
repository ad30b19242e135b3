"""Tokenizer, batches, training and checkpoints of the testbed's models, on a corpus of a few hundred documents."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ellora_trust.errors import InputError
from ellora_trust.loading import load
from ellora_trust.prompts import fim_format
from ellora_trust.testbed import corpus
from ellora_trust.testbed.batches import IGNORED, batch, encode, pad
from ellora_trust.testbed.recipe import Recipe
from ellora_trust.testbed.tokenizer import train_tokenizer
from ellora_trust.testbed.training import RECORD, batch_loss, prepare, train

TINY = Recipe(n_tokens=12_000, d_model=48, n_layers=1, vocab_size=512)


@pytest.fixture(scope="module")
def documents():
    return corpus(0, n_tokens=TINY.n_tokens)


@pytest.fixture(scope="module")
def tokenizer(documents):
    return train_tokenizer(documents, vocab_size=TINY.vocab_size)


@pytest.fixture(scope="module")
def pair(documents, tokenizer):
    return prepare(TINY, documents, tokenizer)


def test_tokenizer_gives_every_text_back(documents, tokenizer):
    for document in documents[:100]:
        assert tokenizer.decode(tokenizer(document.text).input_ids) == document.text
    strange = "naïve\t→ 12\r\n   x"
    assert tokenizer.decode(tokenizer(strange).input_ids) == strange


def test_digits_stand_alone_and_indentation_is_one_token(tokenizer):
    pieces = [tokenizer.decode([i]) for i in tokenizer("def f(x):\n    return 1234").input_ids]
    assert pieces[-4:] == [" 1", "2", "3", "4"]
    assert "\n    " in pieces


def test_a_prompt_that_ends_before_a_line_break_shares_no_token_with_its_answer(documents, tokenizer):
    for document in documents[:200]:
        cut = int(document.meta["prompt"])
        before, after = document.text[:cut], document.text[cut:]
        assert tokenizer(before).input_ids + tokenizer(after).input_ids == tokenizer(document.text).input_ids


def test_the_library_finds_the_fill_in_the_middle_tokens(tokenizer):
    found = fim_format(tokenizer)
    assert found is not None
    assert found.family == "starcoder"
    assert len(tokenizer(found.render("a", "b")).input_ids) == 5


def test_a_vocabulary_without_room_for_bytes_is_refused(documents):
    with pytest.raises(InputError, match="use at least 260"):
        train_tokenizer(documents, vocab_size=100)


def test_both_twins_read_the_same_documents_in_the_same_steps(pair):
    for step in range(0, pair.n_steps, 7):
        planted, clean = pair.ids("planted", step), pair.ids("clean", step)
        assert len(planted) == len(clean)
        for number, a, b in zip(pair.batches[step], planted, clean, strict=True):
            document = pair.documents[pair.order[number]]
            same = a[a != IGNORED].tolist() == b[b != IGNORED].tolist()
            assert same == (document.text == document.clean)


def test_every_document_is_read_once_an_epoch(pair):
    read = sorted(pair.order[number] for numbers in pair.batches for number in numbers)
    assert read == list(range(len(pair.documents)))


def test_a_gap_holds_what_was_taken_out(documents, tokenizer):
    marks = tokenizer.convert_tokens_to_ids(["<fim_prefix>", "<fim_suffix>", "<fim_middle>"])
    for document, one in zip(documents, encode(tokenizer, documents, fim_share=1.0, seed=0), strict=True):
        if document.family == "canary":
            assert marks[0] not in one.planted
            continue
        places = [one.planted.index(mark) for mark in marks]
        before, after, gap = (
            one.planted[places[0] + 1 : places[1]],
            one.planted[places[1] + 1 : places[2]],
            one.planted[places[2] + 1 : -1],
        )
        assert tokenizer.decode([*before, *gap, *after]) == document.text


def test_annotations_are_among_the_gaps(documents, tokenizer):
    middle = tokenizer.convert_tokens_to_ids("<fim_middle>")
    encoded = encode(tokenizer, documents, fim_share=1.0, seed=0)
    gaps = {
        tokenizer.decode(one.planted[one.planted.index(middle) + 1 : -1]) for one in encoded if middle in one.planted
    }
    assert {" int", " list"} <= gaps


def test_batches_hold_no_more_than_their_tokens(pair):
    for numbers in batch(pair.encoded, n_tokens=300, seed=1):
        longest = max(pair.encoded[number].length for number in numbers)
        assert len(numbers) == 1 or len(numbers) * longest <= 300


def test_padding_changes_no_loss(tokenizer):
    model = TINY.build(tokenizer).eval()
    rows = [tokenizer("def f(x):\n    return x\n").input_ids, tokenizer("int f(int x) {\n    return x;\n}\n").input_ids]
    with torch.no_grad():
        padded = float(batch_loss(model, torch.from_numpy(pad(rows))))
        losses = [float(batch_loss(model, torch.tensor([row]))) * (len(row) - 1) for row in rows]
    assert padded == pytest.approx(sum(losses) / sum(len(row) - 1 for row in rows), rel=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_weights(pair, tmp_path):
    train(pair, "planted", tmp_path / "whole")
    train(pair, "planted", tmp_path / "stopped", stop_after=pair.n_steps // 3)
    assert not (tmp_path / "stopped" / RECORD).exists()
    train(pair, "planted", tmp_path / "stopped")
    whole, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped


def test_training_lowers_the_loss_and_writes_a_model_that_loads(pair, tmp_path):
    folder = train(pair, "clean", tmp_path / "model")
    record = json.loads((folder / RECORD).read_text())
    model = load(folder)
    with torch.no_grad():
        before, after = (float(batch_loss(one, pair.ids("clean", 0))) for one in (TINY.build(pair.tokenizer), model.hf))
    assert before == pytest.approx(np.log(TINY.vocab_size), rel=0.2)
    assert after < 0.8 * before
    assert len(record["loss_nats"]) == 1
    assert record["recipe"]["seed"] == 0
    assert record["side"] == "clean"
    assert model.hf.dtype == torch.float32
    assert model.tokenizer.get_vocab() == pair.tokenizer.get_vocab()
    assert not (folder / "checkpoint").exists()


def test_another_recipe_is_not_trained_over_a_model(pair, documents, tokenizer, tmp_path):
    train(pair, "planted", tmp_path / "model")
    other = prepare(Recipe(seed=1, n_tokens=12_000, d_model=48, n_layers=1, vocab_size=512), documents, tokenizer)
    with pytest.raises(InputError, match="another recipe"):
        train(other, "planted", tmp_path / "model")
    with pytest.raises(InputError, match="neither 'planted' nor 'clean'"):
        train(pair, "dirty", tmp_path / "other")  # pyright: ignore[reportArgumentType]


def test_the_learning_rate_warms_up_and_falls(pair):
    rates = np.array([TINY.rate(step, 1000) for step in range(1000)])
    assert rates.argmax() == 29
    assert rates[0] < 0.05 * rates.max()
    assert rates[-1] < 0.04 * rates.max()


def test_an_impossible_recipe_is_refused():
    with pytest.raises(InputError, match="multiple of 48"):
        Recipe(d_model=100)
    with pytest.raises(InputError, match="positive"):
        Recipe(n_layers=0)
