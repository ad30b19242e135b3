"""Influence by line: the parts of a document's own score, zero where nothing predicts a line."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attribution.documents.lines import line_scores
from attribution.gradient.directional import token_products
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import Counted, whole
from attribution.gradient.rows import Projector
from ellora_trust.spans.token_map import token_map

TEXT = "def f(x):\n    return x + 1\n\ny = f(2)\n"


def test_lines_add_up_to_the_score_of_the_document(tiny):
    target = whole(tiny, "def g(x):\n    return x + 2\n")
    making = Projector(tiny, find_layers(tiny), Curvature.fit(tiny, find_layers(tiny), [target]))
    scores = line_scores(making, making.numbers([target])[0], TEXT)
    rows = making.numbers([whole(tiny, TEXT, end=False), target])
    assert len(scores) == 4
    assert float(scores.sum()) == pytest.approx(float(rows[0] @ rows[1]), rel=1e-4)
    assert len({round(float(score), 4) for score in scores}) > 2


def test_a_token_belongs_to_the_line_of_its_first_character(tiny):
    target = whole(tiny, "def g(x):\n    return x + 2\n")
    making = Projector(tiny, find_layers(tiny), Curvature())
    tokens = token_map(tiny.tokenizer, TEXT)
    lines = [TEXT[:start].count("\n") if end > start else -1 for start, end in tokens.offsets]
    assert any(TEXT[start - 1] == "\n" for start, end in tokens.offsets[1:] if end > start), "a token begins a line"
    parts = [Counted(tokens.ids, tuple(float(one == n) for one in lines)) for n in range(4)]
    expected = [float(making.numbers([p])[0] @ making.numbers([target])[0]) if p.n_counted else 0.0 for p in parts]
    assert line_scores(making, making.numbers([target])[0], TEXT).tolist() == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )


def test_a_line_that_nothing_predicts_has_no_influence(tiny):
    making = Projector(tiny, find_layers(tiny), Curvature())
    (row,) = making.numbers([whole(tiny, TEXT)])
    first = tiny.tokenizer.decode([5])
    assert line_scores(making, row, first).tolist() == [0.0]
    torch.testing.assert_close(torch.tensor(line_scores(making, row, "")), torch.zeros(0))


class _Backward(torch.autograd.Function):
    """The identity, of which only the backward is known, as of bitsandbytes' matrices of 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


def test_a_kernel_that_can_be_followed_backwards_only_gives_the_same(tiny):
    making = Projector(tiny, find_layers(tiny), Curvature())
    (row,) = making.numbers([whole(tiny, "def g(x):\n    return x + 2\n")])
    expected = line_scores(making, row, TEXT)
    hook = tiny.arch.blocks[0].mlp.module.register_forward_hook(lambda module, args, output: _Backward.apply(output))
    try:
        with pytest.raises(NotImplementedError):
            token_products(making, row, tiny.tokenizer(TEXT).input_ids)
        found = line_scores(making, row, TEXT)
    finally:
        hook.remove()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
