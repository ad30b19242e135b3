"""Measures of a state against closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import make_model

from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.text import Piece, load_pieces, pieces_hash
from ellora_trust.evaluation.judging.measures import (
    StateReading,
    activation_distance,
    divergence,
    layer_of,
    linear_cka,
    next_token_logprobs,
    read_state,
    weight_distance,
)
from ellora_trust.evaluation.judging.noise import right_padded
from ellora_trust.intervention import ActivationEdit

PIECES = [
    Piece("a", "def add(a, b):\n", "    return a + b\n"),
    Piece("b", "x = [1, 2, 3]\n", "y = x[:]\nprint(y)\n"),
    Piece("c", "for i in range(10):\n", "    print(i)\n# a longer remark here\n"),
]


def test_bits_per_byte_is_the_sum_of_token_losses_over_bytes(tiny):
    reading = read_state(tiny, PIECES)
    nats = 0.0
    for piece in PIECES:
        prompt = tiny.tokenizer(piece.context).input_ids
        answer = tiny.tokenizer(piece.text, add_special_tokens=False).input_ids
        logprobs = torch.log_softmax(tiny.hf(torch.tensor([prompt + answer])).logits[0].detach().double(), -1)
        nats -= sum(float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(answer))
    expected = nats / math.log(2) / sum(len(p.text.encode()) for p in PIECES)
    assert reading.bits_per_byte == pytest.approx(expected, rel=1e-5)


def test_next_tokens_do_not_depend_on_the_batch(tiny):
    prompts = ["def add(a,", "for i in range(10):\n    print", "x"]
    together = next_token_logprobs(tiny, prompts)
    alone = torch.cat([next_token_logprobs(tiny, [one]) for one in prompts])
    assert torch.allclose(together, alone, atol=2e-4)


def test_divergence_has_its_closed_form_and_is_zero_of_a_thing_to_itself():
    def reading(p: list[float]) -> StateReading:
        return StateReading(np.zeros(1), np.ones(1), torch.tensor([p]).log(), {})

    a, b = reading([0.5, 0.25, 0.25]), reading([0.25, 0.5, 0.25])
    kl, same = divergence(a, b)
    assert kl[0] == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(0.5))
    assert same[0] == 0
    assert divergence(a, a)[0][0] == 0
    assert divergence(a, a)[1][0] == 1


def test_steering_at_the_prompts_end_is_seen_in_the_next_token(tiny):
    before = read_state(tiny, PIECES)
    with ActivationEdit({"resid.1": lambda hidden, at: hidden + 3}).apply(tiny):
        after = read_state(tiny, PIECES)
    assert divergence(before, after)[0].mean() > 1e-3
    assert divergence(before, read_state(tiny, PIECES))[0].max() == 0


def test_activation_distance_is_zero_below_an_edit_and_its_size_at_it(tiny):
    before = read_state(tiny, PIECES)
    with ActivationEdit({"resid.1": lambda hidden, at: hidden * 1.5}).apply(tiny):
        after = read_state(tiny, PIECES)
    found = activation_distance(before, after, "mean")
    assert found[0] == 0
    assert found[1] == pytest.approx(0.5, rel=1e-4)


def test_weight_distance_by_layer():
    before = {"layers.0.w": torch.ones(4), "layers.1.w": torch.ones(4), "head": torch.ones(2)}
    after = {**before, "layers.1.w": torch.ones(4) * 1.1}
    found = weight_distance(before, after)
    assert found == {-1: 0.0, 0: 0.0, 1: pytest.approx(0.1, rel=1e-5)}
    assert weight_distance(before, {"other": torch.ones(1)}) is None


def test_layers_are_told_from_names():
    names = ("model.layers.12.mlp.weight", "resid.3", "lm_head.weight", "h.0.w2")
    assert [layer_of(name) for name in names] == [12, 3, -1, 0]


def test_cka_is_one_of_a_rotated_copy_and_small_of_noise():
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    assert linear_cka(x, 3 * x @ turn) == pytest.approx(1.0)
    assert linear_cka(x, torch.randn(200, 8)) < 0.2


def test_right_padding_gives_the_same_bits_as_the_librarys_left_padding(tiny):
    bits, likeliest = right_padded(tiny, PIECES)
    reading = read_state(tiny, PIECES)
    assert bits == pytest.approx(reading.bits, rel=1e-4)
    assert likeliest.tolist() == reading.next_token.argmax(-1).tolist()


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_two_reads_of_other_families_agree(family):
    model = make_model(family)
    assert divergence(read_state(model, PIECES), read_state(model, PIECES))[0].max() == 0


def test_pieces_of_the_standard_library_are_of_different_files_and_the_same_each_time():
    pieces = load_pieces("stdlib", limit=12)
    assert len({piece.group for piece in pieces}) == 12
    assert pieces_hash(pieces) == pieces_hash(load_pieces("stdlib", limit=12))
    assert pieces_hash(pieces) != pieces_hash(load_pieces("stdlib", limit=12, seed=1))


def test_pieces_of_the_testbed_have_no_plants():
    assert all("push(" not in piece.text for piece in load_pieces("testbed", limit=20))


def test_a_folder_with_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="fewer than 2 texts"):
        load_pieces(str(tmp_path), limit=4)
