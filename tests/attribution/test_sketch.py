"""Projections and sketches: dot products right on average, near enough once, the same everywhere and in every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attribution.gradient.gradients import per_text_gradients
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import Layer, find_layers
from attribution.gradient.losses import whole
from attribution.gradient.projection import Projection, draws
from attribution.gradient.rows import Projector
from attribution.gradient.sketch import Sketch
from ellora_trust import InputError

LAYERS = [Layer("first", nn.Identity(), 12, 10, "body"), Layer("second", nn.Identity(), 5, 30, "head")]
# Of seed 7 and the first layer.
SHIFTS = [8, 38, 1]
DRAWN = [3323153044250508774, 10614408112263655110]
COLUMNS = [0.017342, 0.494813, -0.185475]
TEXTS = ["def f(x):\n    return x + 1\n", "y = [1, 2]\n", "for i in range(10):\n    print(i)\n", "a = b\n"]
OWNERS = torch.tensor([0, 1])


def sketched(vectors: dict[str, torch.Tensor], width: int, seed: int, kept: int) -> torch.Tensor:
    """Both rows of two gradients, (2, d_out, d_in) by layer, each given as one token with many entries."""
    making = {layer.name: Projection.of(layer, Curvature(), width=kept, seed=seed) for layer in LAYERS}
    sketch = Sketch({name: one.size for name, one in making.items()}, width, seed)
    rows = torch.zeros(2, sketch.width)
    for layer in LAYERS:
        both = making[layer.name]
        turned = both.inner(both.outer(vectors[layer.name].transpose(1, 2)).transpose(1, 2))
        sketch.add(rows, OWNERS, layer.name, turned.flatten(1))
    return rows


@pytest.mark.parametrize(("width", "kept"), [(64, 4), (512, 4), (64, 64)])
def test_dot_products_are_unbiased_over_seeds(width, kept):
    rng = torch.Generator().manual_seed(0)
    vectors = {layer.name: torch.randn(2, layer.d_out, layer.d_in, generator=rng) for layer in LAYERS}
    for one in vectors.values():
        one[1] += 0.5 * one[0]
    flat = torch.cat([vectors[layer.name].flatten(1) for layer in LAYERS], 1)
    true = float(flat[0] @ flat[1])
    found = []
    for seed in range(800):
        rows = sketched(vectors, width, seed, kept)
        found.append(float(rows[0] @ rows[1]))
    assert abs(np.mean(found) - true) < 4 * np.std(found) / np.sqrt(len(found))
    assert true > 8 * np.std(found) / np.sqrt(len(found))  # what a sketch of the wrong thing would not show


def test_a_wider_projection_is_closer():
    rng = torch.Generator().manual_seed(1)
    vectors = {layer.name: torch.randn(2, layer.d_out, layer.d_in, generator=rng) for layer in LAYERS}
    spread = [
        np.std([float(rows[0] @ rows[1]) for rows in (sketched(vectors, 4096, seed, kept) for seed in range(300))])
        for kept in (2, 4, 8)
    ]
    assert spread[0] > 1.2 * spread[1] > 1.44 * spread[2]


def test_a_projection_as_wide_as_a_side_loses_nothing():
    vectors = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    making = Projection.of(LAYERS[0], Curvature(), width=64, seed=0)
    turned = making.inner(vectors)
    assert making.shape == (10, 12)
    assert not torch.allclose(turned.abs(), vectors.abs(), atol=0.1)
    torch.testing.assert_close(turned @ turned.T, vectors @ vectors.T, rtol=1e-5, atol=1e-5)


def test_a_hashed_vocabulary_keeps_lengths_on_average():
    layer = Layer("head", nn.Identity(), 6, 40, "head")
    curvature = Curvature({"head": (torch.eye(6), torch.full((40,), 2.0))}, damping=1e-6)
    rows = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in range(600):
        making = Projection.of(layer, curvature, width=3, seed=seed)
        folded = making.outer(rows)
        assert folded.shape == (2, 12)
        found.append(float(folded[0] @ folded[1]))
    expected = float(rows[0] @ rows[1]) / (2.0 + 1e-3 * 2.0)
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(len(found))


def test_rows_do_not_depend_on_batch_or_order(tiny):
    layers, texts = find_layers(tiny), [whole(tiny, text) for text in TEXTS]
    one = Projector(tiny, layers, Curvature(), widths=[64, 300], token_budget=1).rows(texts)
    many = Projector(tiny, layers, Curvature(), widths=[64, 300]).rows(texts[::-1])
    for first, second in zip(one, many, strict=True):
        torch.testing.assert_close(first, second.flip(0), rtol=1e-4, atol=1e-5 * float(first.abs().max()))


def test_rows_are_the_sketch_of_projected_whitened_gradients(tiny):
    layers, texts = find_layers(tiny), [whole(tiny, text) for text in TEXTS]
    curvature = Curvature.fit(tiny, layers, texts)
    (rows,) = Projector(tiny, layers, curvature, widths=[128], projection=8, seed=3).rows(texts)
    gradients, expected = per_text_gradients(tiny, layers, texts), torch.zeros(len(texts), 128)
    making = {layer.name: Projection.of(layer, curvature, width=8, seed=3) for layer in layers}
    sketch = Sketch({name: one.size for name, one in making.items()}, 128, 3)
    for name, both in making.items():
        small = both.inner(both.outer(gradients[name].transpose(1, 2)).transpose(1, 2))
        sketch.add(expected, torch.arange(len(texts)), name, small.flatten(1))
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("width", [7, 16, 40, 1000])
def test_every_bucket_holds_as_many_numbers_as_any_other(width):
    sizes = {"a": 13, "b": 31, "c": 4}
    sketch, rows = Sketch(sizes, width, 5), torch.zeros(1, min(width, 48))
    for name, size in sizes.items():
        sketch.add(rows, torch.tensor([0]), name, torch.ones(1, size))
    assert sketch.width == rows.shape[1]
    assert rows.sum() == 48
    assert rows.max() - rows.min() <= 1


def test_what_is_drawn_is_this_on_every_machine():
    assert Sketch({"first": 120}, 50, 7).shifts == SHIFTS
    assert draws("a key", 2).tolist() == DRAWN
    making = Projection.of(LAYERS[0], Curvature(), width=3, seed=7)
    np.testing.assert_allclose(making.inner(torch.eye(12))[0], COLUMNS, atol=1e-5)


def test_a_sketch_without_buckets_is_refused():
    with pytest.raises(InputError, match="use at least 1"):
        Sketch({"first": 3}, 0)
