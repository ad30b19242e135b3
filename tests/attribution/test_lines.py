"""Influence by line: the parts of a document's own score, zero where nothing predicts a line."""

from __future__ import annotations

import pytest
import torch

from attribution.documents.lines import line_scores
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import Counted, whole
from attribution.gradient.rows import Projector
from ellora_trust.spans.token_map import token_map

TEXT = "def f(x):\n    return x + 1\n\ny = f(2)\n"


def test_lines_add_up_to_the_score_of_the_document(tiny):
    target = whole(tiny, "def g(x):\n    return x + 2\n")
    making = Projector(tiny, find_layers(tiny), Curvature.fit(tiny, find_layers(tiny), [target]))
    scores = line_scores(making, target, TEXT)
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
    assert line_scores(making, target, TEXT).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_line_that_nothing_predicts_has_no_influence(tiny):
    making = Projector(tiny, find_layers(tiny), Curvature())
    first = tiny.tokenizer.decode([5])
    assert line_scores(making, whole(tiny, TEXT), first).tolist() == [0.0]
    torch.testing.assert_close(torch.tensor(line_scores(making, whole(tiny, TEXT), "")), torch.zeros(0))
