"""Directions: each method against a closed form, and what tells them from chance."""

from __future__ import annotations

import pytest
import torch

from ellora_trust.errors import InputError
from steering.directions import direction, mean_difference, pca, random_like, shuffled, whitened


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    planted = torch.tensor([3.0, 0, 0, 0, 0, 0, 0, 4.0], dtype=torch.float64)
    negative = torch.randn(400, 8, generator=generator, dtype=torch.float64)
    positive = negative + planted + 0.1 * torch.randn(400, 8, generator=generator, dtype=torch.float64)
    return positive, negative, planted


@pytest.mark.parametrize("method", ["mean_difference", "pca", "logistic", "whitened"])
def test_planted_shift_is_found_with_its_sign_and_length(method, rows):
    positive, negative, planted = rows
    found = direction(positive, negative, method).double()
    assert torch.cosine_similarity(found, planted, dim=0) > 0.95
    assert float(found.norm()) == pytest.approx(5.0, rel=0.02)


def test_mean_difference_is_the_mean_of_differences():
    positive, negative = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert mean_difference(positive, negative).tolist() == [1.5, 2.0]


def test_pca_is_the_direction_of_largest_spread_of_differences(rows):
    positive, negative, _ = rows
    differences = positive - negative
    leading = torch.linalg.eigh(differences.T @ differences).eigenvectors[:, -1]
    assert abs(float(torch.cosine_similarity(pca(positive, negative), leading, dim=0))) == pytest.approx(1, abs=1e-9)


def test_whitening_turns_away_from_a_noisy_axis():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, 2000, 2, generator=generator, dtype=torch.float64) * torch.tensor([10.0, 1.0])
    positive, negative = noise[0] + torch.tensor([1.0, 1.0]), noise[1]
    found = whitened(positive, negative)
    # Fisher: inverse variances 1/100 and 1.
    assert abs(float(found[0] / found[1])) < 0.05


def test_random_control_has_the_length_only():
    given = torch.arange(1.0, 65.0)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_like(given, generator) for _ in range(200)])
    torch.testing.assert_close(drawn.norm(dim=1), given.norm().expand(200))
    assert abs(float(torch.cosine_similarity(drawn, given[None]).mean())) < 0.03


def test_shuffled_labels_leave_nothing_of_the_shift(rows):
    positive, negative, planted = rows
    found = shuffled(positive, negative, torch.Generator().manual_seed(0)).double()
    assert float(found.norm()) < 0.05 * float(planted.norm())


def test_unmatched_rows_and_unknown_methods_are_refused(rows):
    positive, negative, _ = rows
    with pytest.raises(InputError, match="one row a pair"):
        direction(positive[:3], negative)
    with pytest.raises(InputError, match="unknown steering method"):
        direction(positive, negative, "median")  # pyright: ignore[reportArgumentType]
