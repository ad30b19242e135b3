"""Every loss by hand on a toy, and against a slow transcription of its paper in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unlearning import objectives as loss

torch.manual_seed(0)
N, V = 7, 5
LOGITS = torch.randn(N, V, dtype=torch.float64)
OTHER = torch.randn(N, V, dtype=torch.float64).log_softmax(-1)
LABELS = torch.tensor([0, 3, 1, 4, 2, 2, 0])
ROWS = torch.tensor([0, 0, 2, 2, 2, 5, 5])


def probabilities(logits: Tensor) -> list[list[float]]:
    found = []
    for row in logits.tolist():
        total = sum(math.exp(value) for value in row)
        found.append([math.exp(value) / total for value in row])
    return found


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_ascent_on_equal_logits_is_minus_the_log_of_the_vocabulary():
    assert loss.gradient_ascent(torch.zeros(2, 4), torch.tensor([1, 3])) == pytest.approx(-math.log(4))


def test_ascent_is_the_mean_log_likelihood():
    p = probabilities(LOGITS)
    expected = sum(math.log(p[i][LABELS[i]]) for i in range(N)) / N
    assert float(loss.gradient_ascent(LOGITS, LABELS)) == pytest.approx(expected)


def test_npo_of_an_unedited_model_is_two_over_beta_times_log_two():
    reference = loss.label_logprobs(LOGITS, LABELS)
    assert float(loss.npo(LOGITS, LABELS, ROWS, reference, beta=0.5)) == pytest.approx(2 / 0.5 * math.log(2))


def test_npo_is_equation_3_over_whole_texts():
    p, beta = probabilities(LOGITS), 0.3
    reference = OTHER.gather(1, LABELS[:, None])[:, 0]
    terms = []
    for text in (0, 2, 5):
        ours = sum(math.log(p[i][LABELS[i]]) for i in range(N) if ROWS[i] == text)
        theirs = sum(float(reference[i]) for i in range(N) if ROWS[i] == text)
        # Written as in the paper: (pi / pi_ref) ** beta.
        terms.append(2 / beta * math.log(1 + math.exp(ours - theirs) ** beta))
    assert float(loss.npo(LOGITS, LABELS, ROWS, reference, beta=beta)) == pytest.approx(sum(terms) / 3)


def test_npo_looks_at_the_label_and_not_at_the_rest_of_the_vocabulary():
    changed = LOGITS.clone()
    # Mass moves between two tokens that are no label of the first place; the label's probability stays.
    a, b = changed[0, 1].exp(), changed[0, 2].exp()
    changed[0, 1], changed[0, 2] = (0.3 * (a + b)).log(), (0.7 * (a + b)).log()
    reference = loss.label_logprobs(LOGITS, LABELS)
    one, other = (loss.npo(logits, LABELS, ROWS, reference) for logits in (LOGITS, changed))
    assert float(one) == pytest.approx(float(other))


def test_npo_approaches_ascent_for_a_small_beta():
    logits = LOGITS.clone().requires_grad_()
    reference = loss.label_logprobs(LOGITS, LABELS)
    (by_npo,) = torch.autograd.grad(loss.npo(logits, LABELS, ROWS, reference, beta=1e-6), logits)
    # Texts weigh the same in NPO, places in ascent: sums over texts, divided by their number.
    (by_ascent,) = torch.autograd.grad(loss.label_logprobs(logits, LABELS).sum() / 3, logits)
    assert torch.allclose(by_npo, by_ascent, atol=1e-5)


def test_simnpo_is_equation_4():
    p, beta, gamma = probabilities(LOGITS), 2.5, 0.4
    terms = []
    for text in (0, 2, 5):
        places = [i for i in range(N) if ROWS[i] == text]
        mean = sum(math.log(p[i][LABELS[i]]) for i in places) / len(places)
        terms.append(-2 / beta * math.log(sigmoid(-beta * mean - gamma)))
    assert float(loss.simnpo(LOGITS, LABELS, ROWS, beta=beta, gamma=gamma)) == pytest.approx(sum(terms) / 3)


def test_undial_is_cross_entropy_to_the_lowered_teacher():
    expected = 0.0
    ours = probabilities(LOGITS)
    for i in range(N):
        teacher = OTHER[i].tolist()
        teacher[LABELS[i]] -= 10
        target = probabilities(torch.tensor([teacher], dtype=torch.float64))[0]
        expected -= sum(target[j] * math.log(ours[i][j]) for j in range(V))
    assert float(loss.undial(LOGITS, LABELS, OTHER)) == pytest.approx(expected / N)


def test_prod_is_cross_entropy_to_the_cut_reference_without_the_label():
    expected = 0.0
    ours = probabilities(LOGITS)
    for i in range(N):
        p = OTHER[i].exp().tolist()
        p[LABELS[i]] = 0.0
        p = [value / sum(p) for value in p]
        kept, total = [], 0.0
        for j in sorted(range(V), key=lambda j: -p[j]):
            if kept and (total > 0.8 or len(kept) == 10):
                break
            kept.append(j)
            total += p[j]
        sharp = {j: p[j] ** (1 / 0.8) for j in kept}
        expected -= sum(sharp[j] / sum(sharp.values()) * math.log(ours[i][j]) for j in kept)
    assert float(loss.prod(LOGITS, LABELS, OTHER)) == pytest.approx(expected / N)


def test_prod_never_asks_for_the_label():
    logits = torch.zeros(1, 3).requires_grad_()
    reference = torch.tensor([[0.98, 0.01, 0.01]]).log()
    loss.prod(logits, torch.tensor([0]), reference).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] > 0  # descent lowers it
    assert logits.grad[0, 1] < 0


def test_the_novice_of_elm_by_hand():
    fair, expert, novice = (torch.tensor([p]).log() for p in ((0.5, 0.5), (0.8, 0.2), (0.2, 0.8)))
    # 0.5 x 0.2 / 0.8 and 0.5 x 0.8 / 0.2, normalised.
    assert torch.allclose(loss.elm_target(fair, expert, novice, strength=1).exp(), torch.tensor([[1 / 17, 16 / 17]]))
    assert torch.allclose(loss.elm_target(fair, expert, novice).exp(), torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(loss.elm_target(fair, expert, expert), fair)


def test_elm_is_cross_entropy_to_the_probability_of_the_text_times_the_odds_of_the_novice():
    p, q = probabilities(LOGITS), OTHER.exp().tolist()
    third = torch.randn(N, V, dtype=torch.float64).log_softmax(-1)
    r, ours, expected = third.exp().tolist(), probabilities(LOGITS.flip(0)), 0.0
    for i in range(N):
        raw = [p[i][j] * (r[i][j] / q[i][j]) ** 3 for j in range(V)]
        expected -= sum(raw[j] / sum(raw) * math.log(ours[i][j]) for j in range(V))
    target = loss.elm_target(LOGITS.log_softmax(-1), OTHER, third, strength=3)
    assert float(loss.imitation(LOGITS.flip(0), target)) == pytest.approx(expected / N)


def test_divergence_is_the_kullback_leibler_sum_and_0_for_equal_models():
    p, q = OTHER.exp().tolist(), probabilities(LOGITS)
    expected = sum(p[i][j] * math.log(p[i][j] / q[i][j]) for i in range(N) for j in range(V)) / N
    assert float(loss.divergence(LOGITS, OTHER)) == pytest.approx(expected)
    assert float(loss.divergence(LOGITS, LOGITS.log_softmax(-1))) == pytest.approx(0, abs=1e-12)


def test_suppression_is_minus_log_of_one_minus_p_and_stays_finite_where_p_is_1():
    p = probabilities(LOGITS)
    expected = -sum(math.log(1 - p[i][LABELS[i]]) for i in range(N)) / N
    assert float(loss.suppression(LOGITS, LABELS)) == pytest.approx(expected)
    sure = torch.tensor([[60.0, 0.0, 0.0]]).requires_grad_()
    found = loss.suppression(sure, torch.tensor([0]))
    found.backward()
    assert torch.isfinite(found)
    assert sure.grad is not None
    assert sure.grad[0, 0] == pytest.approx(1.0)


def test_row_sums_belong_to_their_texts():
    sums, sizes = loss.row_sums(torch.arange(7.0), ROWS)
    assert sums.tolist() == [1.0, 9.0, 11.0]
    assert sizes.tolist() == [2, 3, 2]
