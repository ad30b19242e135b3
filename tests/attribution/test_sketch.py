"""Sketches: dot products right on average, near enough once, the same everywhere and for every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attribution.kfac import Curvature
from attribution.layers import Layer, find_layers
from attribution.losses import whole
from attribution.rows import Projector
from attribution.sketch import Sketch
from ellora_trust import InputError

LAYERS = [Layer("first", nn.Identity(), 12, 10, "body"), Layer("second", nn.Identity(), 5, 30, "head")]
# Of seed 7 and the first layer.
SIGNS, SHIFTS = "--++++-++++--++-+-++-+", [9, 11, 43]
TEXTS = ["def f(x):\n    return x + 1\n", "y = [1, 2]\n", "for i in range(10):\n    print(i)\n", "a = b\n"]


def sketched(vectors: dict[str, torch.Tensor], width: int, seed: int) -> torch.Tensor:
    sketch = Sketch(width, seed)
    rows = torch.zeros(len(vectors["first"]), width)
    for layer in LAYERS:
        inner, outer = sketch.signs(layer)
        signed = vectors[layer.name] * outer[:, None] * inner
        sketch.add(rows, layer, signed.flatten(1))
    return rows


@pytest.mark.parametrize("width", [7, 64, 512])
def test_dot_products_are_unbiased_over_seeds_with_the_variance_of_a_count_sketch(width):
    rng = torch.Generator().manual_seed(0)
    vectors = {layer.name: torch.randn(2, layer.d_out, layer.d_in, generator=rng) for layer in LAYERS}
    flat = torch.cat([vectors[layer.name].flatten(1) for layer in LAYERS], 1)
    true = float(flat[0] @ flat[1])
    found = []
    for seed in range(1500):
        rows = sketched(vectors, width, seed)
        found.append(float(rows[0] @ rows[1]))
    expected = float(np.sqrt((flat[0].square().sum() * flat[1].square().sum() + true**2) / width))
    assert abs(np.mean(found) - true) < 4 * np.std(found) / np.sqrt(len(found))
    assert np.std(found) < 1.3 * expected


def test_a_sketch_as_wide_as_it_can_be_loses_nothing():
    vectors = {layer.name: torch.zeros(1, layer.d_out, layer.d_in) for layer in LAYERS}
    vectors["first"][0, 3, 4] = 2.0
    rows = sketched(vectors, 1024, 0)
    assert rows.abs().sum() == 2.0


def test_rows_do_not_depend_on_batch_or_order(tiny):
    layers, texts = find_layers(tiny), [whole(tiny, text) for text in TEXTS]
    one = Projector(tiny, layers, Curvature(), widths=[64, 300], token_budget=1).rows(texts)
    many = Projector(tiny, layers, Curvature(), widths=[64, 300]).rows(texts[::-1])
    for first, second in zip(one, many, strict=True):
        torch.testing.assert_close(first, second.flip(0), rtol=1e-4, atol=1e-5 * float(first.abs().max()))


def test_sketched_rows_are_the_sketch_of_the_exact_ones(tiny):
    layers, texts = find_layers(tiny), [whole(tiny, text) for text in TEXTS]
    curvature = Curvature.fit(tiny, layers, texts)
    exact = Projector(tiny, layers, curvature, widths=()).exact(texts)
    (rows,) = Projector(tiny, layers, curvature, widths=[128], seed=3).rows(texts)
    sketch, start, expected = Sketch(128, 3), 0, torch.zeros(len(texts), 128)
    for layer in layers:
        inner, outer = sketch.signs(layer)
        part = exact[:, start : start + layer.size].view(-1, layer.d_out, layer.d_in)
        sketch.add(expected, layer, (part * outer[:, None] * inner).flatten(1))
        start += layer.size
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_signs_and_shifts_are_these_on_every_machine():
    inner, outer = Sketch(50, 7).signs(LAYERS[0])
    assert "".join("+" if s > 0 else "-" for s in [*inner, *outer]) == SIGNS
    assert Sketch(50, 7).shifts(LAYERS[0]) == SHIFTS


def test_a_sketch_without_buckets_is_refused():
    with pytest.raises(InputError, match="use at least 1"):
        Sketch(0)
