"""An error predictor beside a comparison: its risks are those of the state it is read in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ellora_trust.evaluation.asking.answers import answer_all
from ellora_trust.evaluation.asking.cache import ItemCache
from ellora_trust.evaluation.asking.suite import Asked, Suite
from ellora_trust.evaluation.comparing import Comparer
from ellora_trust.evaluation.judging.predictor import risks_of
from ellora_trust.intervention import ActivationEdit
from ellora_trust.labeling import label
from probes import ErrorProbe


@pytest.fixture
def probe(tiny, echo) -> ErrorProbe:
    seen = label(tiny, echo, sites=["resid.0"], positions=["answer"])
    found = ErrorProbe().fit(dict(seen.activations.items()), seen.wrong, seen.groups)
    found.labelled = seen  # pyright: ignore[reportAttributeAccessIssue]
    return found


SUITE = Suite("probed", (Asked("echo"),), limit=40)


def test_risks_are_what_the_predictor_says_while_generating(tiny, echo, probe):
    question = Comparer(tiny, SUITE).questions[0]
    answers = answer_all(tiny, echo, question.examples, cache=ItemCache(None))
    expected = probe.predict(probe.labelled.activations.vectors("resid.0", "answer"))
    assert risks_of(probe, tiny, question, answers) == pytest.approx(expected, abs=1e-4)


def test_a_change_below_the_predictors_site_changes_its_risks(tiny, echo, probe):
    question = Comparer(tiny, SUITE).questions[0]
    answers = answer_all(tiny, echo, question.examples, cache=ItemCache(None))
    before = risks_of(probe, tiny, question, answers)
    with ActivationEdit({"resid.0": lambda hidden, at: hidden + torch.ones(32)}).apply(tiny):
        after = risks_of(probe, tiny, question, answers)
    assert np.abs(after - before).max() > 1e-3


def test_a_comparison_holds_the_predictors_calibration(tiny, echo, probe):
    from ellora_trust.evaluation.changes.candidates import as_candidate

    comparer = Comparer(tiny, SUITE, probe=probe)
    found = comparer.compare([as_candidate("A/A", "nothing", tiny)], noise=False)
    of = {one.of: one for one in found.candidates[0].tasks[0].calibration}
    assert set(of["error predictor"].change) == {"ece", "brier", "auroc"}
    assert of["error predictor"].change["auroc"].value == 0
