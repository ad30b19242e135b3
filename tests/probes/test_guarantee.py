"""The certified threshold keeps its promise on fresh samples, a plug-in threshold does not, and limits are stated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, norm

from ellora_trust.errors import InputError
from probes import ErrorProbe, Settings
from probes.guarantee.certificate import Certificate
from probes.guarantee.certify import certify, certify_probe, data_hash

RISK, DELTA, N_SAMPLES = 0.1, 0.05, 1000
# One-sided 95 % limit of the violation rate that so many samples can show if the true one is DELTA.
LIMIT = DELTA + 1.64 * math.sqrt(DELTA * (1 - DELTA) / N_SAMPLES)

_FINE = (np.arange(100_000) + 0.5) / 100_000
# P(wrong | score) for scores uniform in [0, 1].
POPULATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "never safe": lambda s: np.full_like(s, RISK + 1e-6),
    "rising": lambda s: np.clip(1.05 * s**2.2, 0, 1),
    "confidently wrong": lambda s: np.where(s < 0.08, 0.25, np.where(s < 0.55, 0.03, 0.7)),
}
_TRUE_RISK = {name: np.cumsum(wrong(_FINE)) / np.arange(1, len(_FINE) + 1) for name, wrong in POPULATIONS.items()}


def true_risk(name: str, threshold: float) -> float:
    """P(wrong | score < threshold), from the population."""
    n = int(np.searchsorted(_FINE, threshold))
    return float(_TRUE_RISK[name][n - 1])


def sample(name: str, n_groups: int, rng: np.random.Generator, *, size: int = 3, shared: float = 0.5):
    """Rows in groups: scores are uniform and depend on each other within a group, and so do the errors given them."""

    def uniform() -> np.ndarray:
        own, common = rng.normal(size=(n_groups, size)), rng.normal(size=(n_groups, 1))
        return norm.cdf(math.sqrt(shared) * common + math.sqrt(1 - shared) * own).ravel()

    scores = uniform()
    wrong = (uniform() < POPULATIONS[name](scores)).astype(int)
    return scores, wrong, np.repeat(np.arange(n_groups), size)


def violation_rate(name: str, find: Callable[..., float | None], n_groups: int = 150, **drawn) -> float:
    rng = np.random.default_rng(0)
    violations = 0
    for _ in range(N_SAMPLES):
        threshold = find(*sample(name, n_groups, rng, **drawn))
        violations += threshold is not None and true_risk(name, threshold) > RISK
    return violations / N_SAMPLES


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_bonferroni_breaks_its_promise_no_more_often_than_stated_whatever_the_population(name):
    assert violation_rate(name, lambda *rows: certify(*rows).threshold) <= LIMIT


@pytest.mark.parametrize("name", ["never safe", "rising"])
def test_a_fixed_sequence_keeps_its_promise_where_risk_crosses_once(name):
    assert violation_rate(name, lambda *rows: certify(*rows, method="fixed-sequence").threshold) <= LIMIT


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_a_fixed_sequence_over_given_thresholds_keeps_its_promise_everywhere(name):
    grid = np.append(np.linspace(0.4, 0.95, 12), math.inf)
    rate = violation_rate(name, lambda *rows: certify(*rows, method="fixed-sequence", thresholds=grid).threshold)
    assert rate <= LIMIT


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_a_plug_in_threshold_breaks_the_same_promise_far_more_often(name):
    def plug_in(scores, wrong, groups):
        order = np.argsort(scores)
        share = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
        passing = np.flatnonzero(share <= RISK)
        return float(np.append(scores[order], math.inf)[passing[-1] + 1]) if len(passing) else None

    assert violation_rate(name, plug_in, size=1) > 3 * LIMIT


def test_rows_of_one_problem_taken_for_independent_break_the_promise():
    def every_row(scores, wrong, groups):
        return certify(scores, wrong, np.arange(len(wrong)), method="fixed-sequence").threshold

    drawn = {"n_groups": 40, "size": 8, "shared": 0.99}
    assert violation_rate("never safe", every_row, **drawn) > 2 * LIMIT
    assert violation_rate("never safe", lambda *rows: certify(*rows).threshold, **drawn) <= LIMIT


@pytest.mark.parametrize("method", ["bonferroni", "fixed-sequence"])
def test_with_many_groups_most_of_what_can_be_kept_is_kept(method):
    certificate = certify(*sample("rising", 2000, np.random.default_rng(0)), method=method)
    possible = max(t for t in np.linspace(0.01, 1, 100) if true_risk("rising", t) <= RISK)
    assert certificate.threshold is not None
    assert certificate.coverage is not None
    assert 0.75 * possible < certificate.threshold < possible
    assert certificate.coverage.value <= 1 - certificate.least_abstention


def test_the_interval_of_coverage_holds_the_true_coverage():
    rng = np.random.default_rng(0)
    found = [certify(*sample("rising", 400, rng, size=1)) for _ in range(200)]
    held = [one.coverage.low <= one.threshold <= one.coverage.high for one in found if one.threshold and one.coverage]
    assert len(held) > 150
    assert np.mean(held) > 0.9  # scores are uniform: a threshold is its own true coverage


def test_a_fixed_sequence_keeps_more_at_moderate_n_and_nothing_where_the_lowest_scores_are_wrong():
    def coverage(name, n_groups, method):
        rng = np.random.default_rng(0)
        found = [certify(*sample(name, n_groups, rng, size=1), method=method).coverage for _ in range(60)]
        return np.mean([one.value if one else 0 for one in found])

    assert coverage("rising", 200, "fixed-sequence") > 1.3 * coverage("rising", 200, "bonferroni") > 0
    assert coverage("confidently wrong", 800, "bonferroni") > 0.1 > coverage("confidently wrong", 800, "fixed-sequence")


def test_29_right_answers_certify_ten_percent_and_28_do_not():
    rows = [np.arange(29) / 29, np.zeros(29, dtype=int), np.arange(29)]
    enough = certify(*rows)
    assert enough.threshold == math.inf
    assert enough.keeps([1e9]).tolist() == [True]
    few = certify(*(column[:28] for column in rows))
    assert few.threshold is None
    assert few.keeps([-1e9]).tolist() == [False]
    assert "with 28 groups; at least 29 groups are needed even if no kept answer were wrong" in few.sentence()


def test_a_single_given_threshold_is_the_exact_binomial_test():
    scores, groups = np.linspace(0, 1, 80), np.arange(80)
    for n_wrong in range(12):
        wrong = np.isin(np.arange(80), np.arange(n_wrong) * 5)
        certificate = certify(scores, wrong, groups, thresholds=[scores[60]])
        assert (certificate.threshold is not None) == (binom.cdf(n_wrong, 60, RISK) <= DELTA)
        if certificate.threshold is not None:
            assert certificate.kept_risk is not None
            assert (certificate.kept_risk.value, certificate.kept_risk.n) == (n_wrong / 60, 60)


def test_an_answer_that_scores_the_threshold_itself_is_not_kept():
    certificate = certify(np.linspace(0, 1, 80), np.zeros(80), np.arange(80), thresholds=[0.5])
    assert certificate.threshold == 0.5
    assert certificate.keeps([0.49, 0.5, 0.51]).tolist() == [True, False, False]


def test_nothing_is_certified_where_most_answers_are_wrong():
    rng = np.random.default_rng(0)
    certificate = certify(rng.random(300), rng.random(300) < 0.6, np.arange(300))
    assert (certificate.threshold, certificate.coverage, certificate.kept_risk) == (None, None, None)
    assert "none of 12 thresholds passed on 300 groups" in certificate.sentence()


def test_each_group_gives_one_row_and_row_order_changes_nothing():
    scores, wrong, groups = sample("rising", 300, np.random.default_rng(1))
    first = certify(scores, wrong, groups)
    order = np.random.default_rng(2).permutation(len(wrong))
    assert certify(scores[order], wrong[order], groups[order]) == first
    assert certify(scores, wrong, [f"g{g}" for g in groups]).n_groups == first.n_groups == 300
    assert first.base_risk.n == 300
    assert certify(scores, wrong, groups, seed=1).base_risk != first.base_risk


def test_every_row_of_a_group_is_equally_likely_to_stand_for_it():
    picked = [certify([0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], ["a"] * 4, seed=s).base_risk.value for s in range(400)]
    assert np.mean(picked) == pytest.approx(0.25, abs=0.06)


def test_a_certificate_survives_strict_json():
    for certificate in (
        certify(*sample("rising", 20, np.random.default_rng(0))),
        certify(*sample("rising", 400, np.random.default_rng(0))),
        certify(np.arange(40.0), np.zeros(40), np.arange(40)),
    ):
        raw = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
        assert Certificate.from_dict(raw) == certificate


def test_the_hash_names_the_rows_and_not_their_order():
    scores, wrong, groups = sample("rising", 5, np.random.default_rng(0))
    assert data_hash(scores, wrong, groups) == data_hash(scores[::-1], wrong[::-1], groups[::-1])
    assert data_hash(scores, wrong, groups) != data_hash(scores, 1 - wrong, groups)


def test_the_sentence_says_threshold_risk_coverage_bound_and_assumption():
    rows = sample("rising", 400, np.random.default_rng(0))
    said = certify(*rows).sentence()
    for part in (
        "Answers with a score below 0.",
        "at most 10.0% wrong with 95% confidence",
        "the 400 used",
        "withhold",
    ):
        assert part in said
    assert "assumes" not in said
    assert "This assumes that the share wrong, once above" in certify(*rows, method="fixed-sequence").sentence()


def fitted() -> tuple[ErrorProbe, np.ndarray, np.ndarray, np.ndarray]:
    """A probe with what it was fitted on."""
    rng = np.random.default_rng(0)
    wrong = (rng.random(300) < 0.3).astype(int)
    x = rng.normal(size=(300, 6)) + 2.5 * wrong[:, None]
    groups = np.array([f"train{i // 2}" for i in range(300)])
    return ErrorProbe(Settings(strengths=(0.1,), n_components=4)).fit(x, wrong, groups), x, wrong, groups


def test_a_probe_is_certified_on_held_out_groups_in_units_of_risk():
    (probe, _, _, groups), rng = fitted(), np.random.default_rng(1)
    wrong = (rng.random(400) < 0.3).astype(int)
    x = rng.normal(size=(400, 6)) + 2.5 * wrong[:, None]
    certificate = certify_probe(probe, x, wrong, np.arange(400), fitted_groups=groups)
    assert certificate.threshold is not None
    assert 0 < certificate.threshold < 1
    assert certificate == certify(probe.predict(x), wrong, np.arange(400))


def test_a_probe_is_not_certified_on_groups_it_was_fitted_on():
    probe, x, wrong, groups = fitted()
    with pytest.raises(InputError, match="150 groups, such as 'train0', were also used to fit the probe"):
        certify_probe(probe, x, wrong, groups, fitted_groups=groups)
    with pytest.raises(InputError, match="fitted_groups is empty"):
        certify_probe(probe, x, wrong, groups, fitted_groups=[])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: certify([], [], []), "no rows were given; certify on held-out answers"),
        (lambda: certify([0.1], [0, 1], [1, 2]), "must both be"),
        (lambda: certify([0.1, math.nan], [0, 1], [1, 2]), "scores hold 1 nan"),
        (lambda: certify([0.1, 0.2], [0, 1], [1]), "groups has shape"),
        (lambda: certify([0.1], [0], [1], risk=1.0), r"risk=1.0 is out of range; use a number in \(0, 1\)"),
        (lambda: certify([0.1], [0], [1], confidence=0), "confidence=0 is out of range"),
        (lambda: certify([0.1], [0], [1], method="fixed"), "unknown method 'fixed'; use one of bonferroni, fixed-seq"),  # pyright: ignore[reportArgumentType]
        (lambda: certify([0.1], [0], [1], thresholds=[]), "thresholds hold 0 values"),
        (
            lambda: Certificate.from_dict({"threshold": 1}),
            "this is not a certificate .*; give what Certificate.to_dict",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
