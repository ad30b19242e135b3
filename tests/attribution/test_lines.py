"""Influence by line: the parts of a document's own score, zero where nothing predicts a line."""

from __future__ import annotations

import pytest
import torch

from attribution.kfac import Curvature
from attribution.layers import find_layers
from attribution.lines import line_scores
from attribution.losses import whole
from attribution.rows import Projector

TEXT = "def f(x):\n    return x + 1\n\ny = f(2)\n"


def test_lines_add_up_to_the_score_of_the_document(tiny):
    target = whole(tiny, "def g(x):\n    return x + 2\n")
    making = Projector(tiny, find_layers(tiny), Curvature.fit(tiny, find_layers(tiny), [target]))
    scores = line_scores(making, target, TEXT)
    rows = making.numbers([whole(tiny, TEXT, end=False), target])
    assert len(scores) == 4
    assert float(scores.sum()) == pytest.approx(float(rows[0] @ rows[1]), rel=1e-4)
    assert len({round(float(score), 4) for score in scores}) > 2


def test_a_line_that_nothing_predicts_has_no_influence(tiny):
    making = Projector(tiny, find_layers(tiny), Curvature())
    first = tiny.tokenizer.decode([5])
    assert line_scores(making, whole(tiny, TEXT), first).tolist() == [0.0]
    torch.testing.assert_close(torch.tensor(line_scores(making, whole(tiny, TEXT), "")), torch.zeros(0))
