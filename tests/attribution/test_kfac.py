"""Whitening: the dense formula on a toy, factors by hand, and that a damping that means nothing is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attribution.gradient.gradients import per_text_gradients, visit_gradients
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import whole
from attribution.gradient.rows import Projector
from ellora_trust import InputError

TEXTS = ["def f(x):\n    return x + 1\n", "y = [1, 2]\n", "for i in range(10):\n    print(i)\n", "a = b\n"]


@pytest.fixture(scope="module")
def texts(tiny):
    return [whole(tiny, text) for text in TEXTS]


def moments(model, layer, texts) -> tuple[torch.Tensor, torch.Tensor]:
    """E[a a^T] and E[g g^T] of one layer, one text at a time."""
    inputs, gradients = [], []
    for text in texts:
        visit_gradients(model, [layer], [text], lambda _, a, g: (inputs.append(a[0]), gradients.append(g[0])))
    a, g = torch.cat(inputs).double(), torch.cat(gradients).double()
    return a.T @ a / len(a), g.T @ g / len(g)


@pytest.mark.parametrize("widest", [4096, 40])
def test_whitened_dot_products_are_the_dense_formula(tiny, texts, widest):
    layers = [layer for layer in find_layers(tiny) if layer.name.endswith(("0.self_attn.k_proj", "lm_head"))]
    curvature = Curvature.fit(tiny, layers, texts, damping=0.3, widest=widest)
    plain = per_text_gradients(tiny, layers, texts)
    for layer in layers:
        inner, outer = moments(tiny, layer, texts)
        if layer.d_out > widest:
            outer = outer.diag().diag()
        damped = [side + 0.3**0.5 * side.diag().mean() * torch.eye(len(side)) for side in (inner, outer)]
        rows = Projector(tiny, [layer], curvature, projection=None).numbers(texts).double()
        flat = plain[layer.name].double()
        # (A (x) G) of a matrix M is G M A.
        solved = torch.linalg.solve(damped[1], flat) @ torch.linalg.inv(damped[0])
        expected = torch.einsum("noi,moi->nm", flat, solved)
        torch.testing.assert_close(rows @ rows.T, expected, rtol=2e-4, atol=1e-5 * float(expected.abs().max()))
        if layer.size <= 32 * 16:
            dense, vectors = torch.kron(damped[1], damped[0]), flat.flatten(1)
            torch.testing.assert_close(expected, vectors @ torch.linalg.solve(dense, vectors.T), rtol=1e-6, atol=1e-9)


def test_without_curvature_or_projection_rows_are_the_gradients(tiny, texts):
    layers = find_layers(tiny)
    rows = Projector(tiny, layers, Curvature(), projection=None).numbers(texts)
    plain = per_text_gradients(tiny, layers, texts)
    torch.testing.assert_close(rows, torch.cat([plain[layer.name].flatten(1) for layer in layers], 1))


def test_factors_do_not_depend_on_the_batch(tiny, texts):
    layers = find_layers(tiny)
    one = Curvature.fit(tiny, layers, texts, token_budget=1)
    many = Curvature.fit(tiny, layers, texts[::-1])
    for layer in layers:
        for first, second in zip(one.moments[layer.name], many.moments[layer.name], strict=True):
            torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5 * float(first.abs().max()))


def test_a_layer_that_never_got_a_gradient_adds_nothing(tiny, texts):
    layers = find_layers(tiny)
    fitted = Curvature.fit(tiny, layers, texts)
    dead = layers[0]
    silent = tuple(torch.zeros_like(moment) for moment in fitted.moments[dead.name])
    curvature = Curvature({**fitted.moments, dead.name: silent})
    rows = Projector(tiny, layers, curvature).numbers(texts)
    expected = Projector(tiny, layers[1:], fitted).numbers(texts)
    assert not rows[:, : -expected.shape[1]].any()
    torch.testing.assert_close(rows[:, -expected.shape[1] :], expected)


def test_sampled_labels_are_seeded_and_differ_from_the_texts(tiny, texts):
    layers = find_layers(tiny, ["head"])
    first, again, other = (Curvature.fit(tiny, layers, texts, labels="sampled", seed=seed) for seed in (0, 0, 1))
    true = Curvature.fit(tiny, layers, texts)
    values = [one.moments["lm_head"][1] for one in (first, again, other, true)]
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)
    assert not np.allclose(values[0], values[2], rtol=1e-3)
    assert not np.allclose(values[0], values[3], rtol=1e-3)


def test_factors_come_back_from_their_tensors(tiny, texts):
    layers = find_layers(tiny)
    curvature = Curvature.fit(tiny, layers, texts)
    again = Curvature.restored(curvature.tensors(), curvature.described())
    one, two = (Projector(tiny, layers, which, widths=[64]).rows(texts)[0] for which in (curvature, again))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"damping": 0.0}, "damping=0.0 is out of range"), ({"labels": "drawn"}, "unknown labels 'drawn'")],
)
def test_settings_that_mean_nothing_are_refused(tiny, texts, settings, message):
    with pytest.raises(InputError, match=message):
        Curvature.fit(tiny, find_layers(tiny), texts, **settings)
    with pytest.raises(InputError, match="no text to fit"):
        Curvature.fit(tiny, find_layers(tiny), [])
