"""Products of single tokens' gradients with a row: one dual forward gives what a backward for each token gives."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FAMILIES, hooks_of, make_model

from attribution.gradient.directional import token_products
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import Counted, whole
from attribution.gradient.rows import Projector

TEXT = "def f(x):\n    return x + 1\n"


def by_backward(making: Projector, row: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """The same with a backward for each token."""
    single = [Counted(tuple(ids), tuple(float(n == at) for n in range(len(ids)))) for at in range(1, len(ids))]
    return torch.cat([torch.zeros(1), making.numbers(single) @ row])


@pytest.mark.parametrize("family", FAMILIES)
def test_one_dual_forward_gives_what_a_backward_for_each_token_gives(family: str):
    model = make_model(family)
    target = whole(model, "def g(x):\n    return x + 2\n")
    layers = find_layers(model)
    # Narrow: sides are projected, and the vocabulary is hashed.
    making = Projector(model, layers, Curvature.fit(model, layers, [target]), projection=4)
    ids = list(model.tokenizer(TEXT).input_ids)
    (row,) = making.numbers([target])
    hooks = hooks_of(model)
    found = token_products(making, row, ids)
    assert hooks_of(model) == hooks
    expected = by_backward(making, row, ids)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_side_and_its_adjoint_are_adjoint(tiny):
    layers = find_layers(tiny)
    curvature = Curvature.fit(tiny, layers, [whole(tiny, TEXT)])
    for width in (None, 3):
        making = Projector(tiny, layers, curvature, projection=width)
        for layer in layers:
            projection = making.projections[layer.name]
            for side, d, p in (
                (projection.inner, layer.d_in, projection.shape[1]),
                (projection.outer, layer.d_out, projection.shape[0]),
            ):
                x, y = torch.randn(2, d), torch.randn(2, p)
                torch.testing.assert_close((side(x) * y).sum(), (x * side.adjoint(y)).sum(), rtol=1e-3, atol=1e-3)


def test_a_long_text_is_read_in_pieces_as_for_an_index(monkeypatch):
    model = make_model("llama")
    layers = find_layers(model)
    making = Projector(model, layers, Curvature())
    (row,) = making.numbers([whole(model, TEXT)])
    ids = list(model.tokenizer(TEXT * 2).input_ids)
    monkeypatch.setattr(type(model), "max_length", property(lambda self: 9))
    torch.testing.assert_close(
        token_products(making, row, ids), by_backward(making, row, ids), rtol=1e-3, atol=1e-3 * float(row.norm())
    )
