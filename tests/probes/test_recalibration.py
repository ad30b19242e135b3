"""Recalibration keeps the direction, mends the risk on a new model, says what was lost, and refuses another width."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_model

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome
from probes import ErrorProbe, Settings
from probes.guarantee.certification import group_hash, group_hashes
from probes.steps.given import Given
from probes.steps.recalibration import label_for, recalibrate, save_recalibrated
from probes.watching.shift import describe_scores

QUICK = Settings(strengths=(0.1,), n_components=8)


def answers(n: int = 400, *, seed: int = 0, signal: float = 1.0, shift: float = 0.0, name: str = "g") -> Labelled:
    """Rows in pairs whose activations at resid.1 know the verdict; `shift` moves all of them along the direction."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    x = torch.tensor(rng.normal(size=(n, 32)) + (signal * wrong + shift)[:, None] * 0.4, dtype=torch.float32)
    examples = [Example(f"e{i}", f"{name}{i // 2}", f"x{i}", "1") for i in range(n)]
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    generation = Generation("1", [1], 1, [-0.1], [0.1], "stop")
    return Labelled("made", examples, [generation] * n, outcomes, Activations({("resid.1", "answer"): x}))


@pytest.fixture
def saved(tiny, tmp_path: Path) -> ErrorProbe:
    """A predictor of the tiny model, as `probe fit` leaves it."""
    rows = answers()
    probe = ErrorProbe(QUICK).fit(dict(rows.activations), rows.wrong, rows.groups)
    recorded = probe.score(answers(seed=1).activations["resid.1", "answer"], answers(seed=1).wrong, rows.groups)
    data = {
        "task": "made",
        "groups": group_hashes(rows.groups),
        "sha256": rows.content_hash(),
        "prompt_format": "plain",
        "scores": describe_scores(probe.decision(rows.activations["resid.1", "answer"])),
    }
    metrics = {"AUROC, nested cross-validation": recorded.to_dict()}
    probe.save(tmp_path / "old", model=tiny, data=data, metrics=metrics)
    return ErrorProbe.load(tmp_path / "old")


def test_a_shifted_model_breaks_the_calibration_and_recalibration_mends_it(saved: ErrorProbe):
    found = recalibrate(saved, answers(seed=2, shift=2.0, name="new"))
    assert found.ece_before.low > 0.1
    assert found.ece_after.high < found.ece_before.low
    assert found.auroc.low > 0.7
    assert found.fresh
    same = recalibrate(saved, answers(seed=2, name="new"))
    assert same.ece_before.value < 0.1


def test_the_direction_stays_bit_for_bit_and_the_old_predictor_is_not_changed(saved: ErrorProbe):
    before = saved.calibration_
    found = recalibrate(saved, answers(seed=2, shift=2.0, name="new"))
    assert torch.equal(found.probe.weight_, saved.weight_)
    assert found.probe.bias_ == saved.bias_
    assert found.probe.calibration_ != before
    assert saved.calibration_ == before


def test_the_held_out_ece_is_larger_than_the_fitted_one_would_be_on_few_rows(saved: ErrorProbe):
    few = answers(40, seed=3, name="new")
    found = recalibrate(saved, few)
    risk = found.probe.predict(few.activations.vectors("resid.1", "answer"))
    assert found.ece_after.n == 40
    # In the mean the fitted map is exactly right on its own rows; a held-out one is not.
    assert risk.mean() == pytest.approx(few.wrong.mean(), abs=1e-3)


def test_groups_it_was_fitted_on_are_left_out_where_enough_are_new(saved: ErrorProbe):
    old, new = answers(100), answers(300, seed=4, name="new")
    mixed = Labelled(
        "made",
        old.examples + new.examples,
        old.generations + new.generations,
        old.outcomes + new.outcomes,
        Activations(
            {key: torch.cat([old.activations.vectors(*key), new.activations.vectors(*key)]) for key in old.activations}
        ),
    )
    found = recalibrate(saved, mixed)
    assert (found.n_left_out, found.auroc.n, found.fresh) == (100, 300, True)
    assert found.groups == group_hashes(new.groups)
    seen = recalibrate(saved, answers(seed=1))
    assert (seen.n_left_out, seen.auroc.n, seen.fresh) == (0, 400, False)
    assert "AUROC may be too good" in " ".join(seen.sentences())


def test_a_model_that_the_direction_does_not_fit_is_told(saved: ErrorProbe):
    found = recalibrate(saved, answers(seed=5, signal=0.0, name="new"))
    assert "not shown to predict this model's errors: fit a predictor on it instead" in " ".join(found.sentences())


def test_the_new_artifact_belongs_to_the_new_model_and_says_where_it_came_from(saved: ErrorProbe, tiny, tmp_path: Path):
    new = make_model("llama", seed=5)
    rows = answers(seed=2, shift=2.0, name="new")
    found = recalibrate(saved, rows)
    save_recalibrated(found, tmp_path / "new", model=new, labelled=rows)
    again = ErrorProbe.load(tmp_path / "new", model=new)
    x = rows.activations.vectors("resid.1", "answer")
    assert np.array_equal(again.predict(x), found.probe.predict(x))
    data = again.artifact_.data
    assert data["recalibrated_from"]["model"]["fingerprint"] == tiny.fingerprint
    assert data["sha256"] == rows.content_hash()
    # Text is measured against the new model's scores, which are shifted.
    assert data["scores"]["mean"] == pytest.approx(again.decision(x).mean())
    assert data["scores"]["mean"] > saved.artifact_.data["scores"]["mean"] + 1
    # A certificate on any group that fitting or recalibration saw has to be refused.
    assert {group_hash("g0"), group_hash("new0")} <= set(data["groups"])
    assert "certificate" not in again.artifact_.config
    assert again.artifact_.metrics["ECE of the old calibration"]["value"] == found.ece_before.value
    with pytest.raises(InputError, match="was fitted on"):
        ErrorProbe.load(tmp_path / "new", model=tiny)
    json.dumps(found.to_dict(), allow_nan=False)


def test_another_width_or_site_is_refused(saved: ErrorProbe, tiny):
    questions = Given("made", [Example("a", "a", "x = 1")], ["1"], [True])
    saved.weight_ = saved.weight_[:24]
    with pytest.raises(InputError, match=r"reads 24 values at resid.1, but tiny-llama has 32 there; give a fine-tuned"):
        label_for(saved, tiny, questions)
    saved.site_ = "resid.7"
    with pytest.raises(InputError, match="layer"):
        label_for(saved, tiny, questions)


def test_given_answers_are_read_where_the_predictor_reads(saved: ErrorProbe, tiny):
    questions = Given("made", [Example(f"e{i}", f"g{i}", f"x = {i}") for i in range(3)], ["1", "2", "3"], [True] * 3)
    labelled = label_for(saved, tiny, questions)
    assert list(labelled.activations) == [("resid.1", "answer")]
    assert [generation.finish for generation in labelled.generations] == ["given"] * 3


def test_one_class_only_is_refused(saved: ErrorProbe):
    rows = answers(40, seed=2, name="new")
    with pytest.raises(InputError, match="only 0 groups have wrong answers; 5 folds need at least 5"):
        recalibrate(saved, replace(rows, outcomes=[Outcome.CORRECT] * 40))
