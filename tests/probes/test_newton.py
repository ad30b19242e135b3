"""Exact fits equal scikit-learn's, say how they converged, and do not depend on what they are fitted beside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ellora_trust.errors import InputError
from probes.fitting.newton import TOLERANCE, fit_exact, standardised
from probes.fitting.newton_step import Curvature

STRENGTHS = (1e-3, 0.1, 10.0)


def rows(n: int = 200, d: int = 40, *, seed: int = 0, candidates: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features of unequal scale and offset, and two labelings that depend on them."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(candidates, n, d, generator=g) * torch.arange(1, d + 1) ** -1.0
    x = x @ torch.randn(d, d, generator=g)
    signal = x[0] @ torch.randn(d, 2, generator=g)
    labels = torch.rand(n, 2, generator=g) < torch.sigmoid(1.5 * signal / signal.std(0) - 0.5)
    scale, offset = torch.logspace(-2, 2, d), torch.randn(d, generator=g)
    return (x + offset) * scale, labels.T.int()


def reference(x: torch.Tensor, labels: torch.Tensor, strength: float, weights: torch.Tensor | None = None):
    z = StandardScaler().fit_transform(x.double().numpy())
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000)
    return model.fit(z, labels.numpy(), sample_weight=None if weights is None else weights.numpy()), z


@pytest.mark.parametrize(("n", "d"), [(200, 40), (60, 100), (50, 50)])
def test_probabilities_equal_scikit_learn_at_every_candidate_strength_and_labeling(n: int, d: int):
    x, labels = rows(n, d)
    found = fit_exact(x, labels, STRENGTHS).predict(x)
    assert found.shape == (2, 3, 2, n)
    for c in range(2):
        for s, strength in enumerate(STRENGTHS):
            for p in range(2):
                model, z = reference(x[c], labels[p], strength)
                assert np.abs(model.predict_proba(z)[:, 1] - found[c, s, p].numpy()).max() < 1e-5


def test_the_gradient_by_automatic_differentiation_vanishes_and_is_the_one_reported():
    x, labels = rows(candidates=1)
    fits = fit_exact(x, labels, STRENGTHS)
    z, _, scale = standardised(x[0])
    for s, strength in enumerate(STRENGTHS):
        weight = (fits.weight[0, s, 0] * scale).requires_grad_()
        intercept = fits.intercept[0, s, 0].clone().requires_grad_()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            z @ weight + intercept, labels[0].double(), reduction="sum"
        )
        (loss + weight.square().sum() / (2 * strength)).backward()
        assert weight.grad is not None
        assert intercept.grad is not None
        norm = float((weight.grad.square().sum() + intercept.grad.square()).sqrt())
        assert norm <= 1.01 * TOLERANCE / strength**0.5
        assert norm == pytest.approx(float(fits.gradient[0, s, 0]), abs=1e-11)


def test_a_coarse_tolerance_ends_earlier_and_farther_away():
    x, labels = rows()
    fine, coarse = fit_exact(x, labels, STRENGTHS), fit_exact(x, labels, STRENGTHS, tolerance=1.0)
    assert (coarse.steps < fine.steps).all()
    assert (coarse.gradient.max() > fine.gradient.max()).all()


@pytest.mark.parametrize("strength", [1e3, 1e6])
def test_separable_classes_at_a_weak_penalty_still_converge_to_the_reference(strength: float):
    x, _ = rows(120, 20, candidates=1)
    labels = (x[0, :, 0] > x[0, :, 0].median()).int()
    found = fit_exact(x, labels[None], (strength,)).predict(x)[0, 0, 0]
    z = StandardScaler().fit_transform(x[0].double().numpy())
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(z, labels.numpy())
    assert np.abs(model.predict_proba(z)[:, 1] - found.numpy()).max() < 1e-5


def test_row_weights_equal_scikit_learns_sample_weights():
    x, labels = rows(candidates=1)
    weights = torch.randint(1, 6, (200,), generator=torch.Generator().manual_seed(1))
    found = fit_exact(x, labels[:1], (0.1,), row_weights=weights).predict(x)[0, 0, 0]
    model, z = reference(x[0], labels[0], 0.1, weights)
    assert np.abs(model.predict_proba(z)[:, 1] - found.numpy()).max() < 1e-5


def test_a_share_of_wrong_answers_equals_that_many_wrong_and_right_rows():
    x, _ = rows(60, 10, candidates=1)
    wrong = torch.arange(60) % 5  # of four samples each
    shares = fit_exact(x, wrong[None] / 4, (0.1,), row_weights=torch.full((60,), 4))
    each = (torch.arange(4)[None] < wrong[:, None]).int().flatten()
    repeated = fit_exact(x.repeat_interleave(4, 1), each[None], (0.1,))
    assert shares.predict(x).numpy() == pytest.approx(repeated.predict(x).numpy(), abs=1e-6)


def test_fits_do_not_depend_on_their_neighbours_nor_on_the_order_of_rows():
    x, labels = rows()
    together = fit_exact(x, labels, STRENGTHS).predict(x)
    alone = fit_exact(x[1:], labels[1:], STRENGTHS[1:2]).predict(x[1:])
    assert together[1, 1, 1].numpy() == pytest.approx(alone[0, 0, 0].numpy(), abs=1e-6)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    shuffled = fit_exact(x[:, order], labels[:, order], STRENGTHS).predict(x)
    assert together.numpy() == pytest.approx(shuffled.numpy(), abs=1e-6)


def test_constant_features_get_no_say():
    x, labels = rows(candidates=1)
    x[..., 3] = 0.1
    found, without = fit_exact(x, labels, (0.1,)), fit_exact(x[..., torch.arange(40) != 3], labels, (0.1,))
    assert float(found.weight[..., 3].abs().max()) == 0
    assert found.decision(x).numpy() == pytest.approx(without.decision(x[..., torch.arange(40) != 3]).numpy(), abs=1e-5)


def test_decision_is_the_logit_without_the_intercept():
    x, labels = rows()
    fits = fit_exact(x, labels, (0.1,))
    logits = torch.logit(fits.predict(x))
    assert (fits.decision(x) + fits.intercept[..., None]).numpy() == pytest.approx(logits.numpy(), abs=1e-9)
    assert fits.decision(x).mean(-1).numpy() == pytest.approx(0, abs=1e-9)


def test_a_step_solves_newtons_equation_for_each_fit():
    x, _ = rows(candidates=1)
    z = standardised(x[0])[0]
    penalty, g = torch.tensor([[0.1], [100.0]], dtype=torch.float64), torch.Generator().manual_seed(0)
    bend, gradient = torch.rand(2, 200, generator=g).double() / 4, torch.randn(2, 41, generator=g).double()
    found = Curvature(z, penalty).solve(bend, gradient, torch.arange(2))
    extended = torch.cat([z, torch.ones(200, 1).double()], 1)
    for i in range(2):
        ridge = torch.diag(torch.cat([penalty[i].expand(40), torch.zeros(1).double()]))
        hessian = extended.T @ (bend[i][:, None] * extended) + ridge
        assert float((hessian @ found[i] + gradient[i]).norm() / gradient[i].norm()) < 2e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(1, 7)}, r"features \(2, 200, 40\) and labels \(1, 7\) do not fit"),
        ({"labels": torch.ones(1, 200)}, "a labeling has one class only"),
        ({"labels": torch.full((1, 200), 1.5)}, r"some labels are outside \[0, 1\]"),
        ({"strengths": (0.1, 0.0)}, r"strengths are \(0.1, 0.0\); give at least one finite number > 0"),
        ({"strengths": ()}, r"strengths are \(\); give at least one"),
        ({"row_weights": torch.zeros(200)}, r"row_weights have shape \(200,\) for 200 rows; give one number > 0"),
        ({"x": torch.full((2, 200, 40), float("nan"))}, "some features are not finite"),
        ({"max_steps": 1}, "fits did not converge in 1 Newton steps; give smaller strengths"),
    ],
)
def test_bad_input_is_one_clear_sentence(change: dict, message: str):
    x, labels = rows()
    given = {"x": x, "labels": labels, "strengths": STRENGTHS, **change}
    with pytest.raises(InputError, match=message):
        fit_exact(**given)


def test_a_failing_decomposition_in_float32_is_made_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.fitting import newton_step

    real = torch.linalg.eigh
    z = torch.randn(50, 2, dtype=torch.float64) @ torch.randn(2, 12, dtype=torch.float64)
    right = newton_step._eigen(z)[0]

    def gives_up(matrix: torch.Tensor):
        if matrix.dtype is torch.float32:
            raise torch.linalg.LinAlgError("failed to converge")
        return real(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    again = newton_step._eigen(z)[0]
    assert again.dtype is torch.float32
    assert torch.allclose(again, right, atol=1e-3 * float(right.max()))
