"""The steps of `probe` alone do what the whole does, say what is missing, and do nothing twice unless asked."""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ellora_trust.artifacts import read_description
from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.store import Activations
from ellora_trust.tasks.aliasing.task import AliasingTask
from ellora_trust.tasks.base import Example, Outcome
from probes import ErrorProbe
from probes.guarantee.certificate import Certificate
from probes.guarantee.certification import certificate_config, certify_held_out, group_hash, hold_out_groups
from probes.guarantee.certify import certify_probe
from probes.steps import eval_step, extract_step, fit_step, label_step, report_step, run_job, stored_job
from probes.steps.job import Fitting, ProbeJob
from probes.steps.run_folder import RunFolder
from probes.watching.attach import attach


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def job(home: Path, tiny) -> ProbeJob:
    """Two of five answers wrong, in pairs of one problem, by a tiny random model."""
    tiny.hf.save_pretrained(home / "model")
    tiny.tokenizer.save_pretrained(home / "model")
    rng = random.Random(0)
    rows = [
        {
            "prompt": f"x = {i} + {i % 5} # ",
            "answer": f"{i}"[: 1 + i % 2],
            "wrong": rng.random() < 0.4,
            "group": f"g{i // 2}",
        }
        for i in range(120)
    ]
    (home / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return ProbeJob(model=str(home / "model"), labels=str(home / "answers.jsonl"), permutations=2)


@pytest.fixture(scope="module")
def whole(home: Path, job: ProbeJob) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELLORA_TRUST_CACHE", str(home / "cache"))
        run_job(job, home / "whole")
    return RunFolder(home / "whole")


@pytest.fixture
def folder(whole: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of a finished run, to change."""
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def forbidden(*args, **kwargs):
    raise AssertionError("this was done already")


def test_the_steps_alone_give_what_the_whole_gives(whole: RunFolder, job: ProbeJob, tmp_path: Path):
    alone = RunFolder(tmp_path / "alone")
    label_step(job, alone)
    # Evaluation before fitting: the order of the two does not matter.
    eval_step(alone, job)
    fit_step(alone, job)
    report_step(alone)
    assert alone.results()["tasks"] == whole.results()["tasks"]
    first, second = (ErrorProbe.load(one.probe("answers")).weight_ for one in (alone, whole))
    assert torch.equal(first, second)
    assert {path.name for path in alone.path.iterdir()} == {path.name for path in whole.path.iterdir()}


def test_a_predictor_carries_the_evaluation_whichever_came_first(folder: RunFolder, job: ProbeJob):
    before = read_description(folder.probe("answers")).metrics
    assert before["AUROC, nested cross-validation"]["n"] == 120
    fit_step(folder, job, again=True)
    assert read_description(folder.probe("answers")).metrics == before


def test_a_predictor_knows_the_scores_of_the_answers_it_was_fitted_on(whole: RunFolder):
    artifact = whole.artifact("answers")
    assert artifact is not None
    assert artifact.data["scores"]["n"] == artifact.data["n"]
    assert artifact.data["scores"]["sd"] > 0


def test_labels_come_back_as_they_were(whole: RunFolder, job: ProbeJob):
    labelled = whole.read_labels("answers", activations=True)
    assert labelled.content_hash() == whole.run().tasks["answers"].sha256
    assert labelled.activations.vectors("resid.1", "answer").shape == (120, 32)
    assert stored_job(whole) == job


def test_each_step_names_what_is_missing_and_the_command_that_makes_it(
    folder: RunFolder, job: ProbeJob, tmp_path: Path
):
    empty = RunFolder(tmp_path / "empty")
    for step in (lambda: fit_step(empty, job), lambda: eval_step(empty, job), lambda: extract_step(empty)):
        with pytest.raises(InputError, match=r"empty has no labels; make them with: ellora-trust probe label --out"):
            step()
    with pytest.raises(InputError, match=r"has no results.json; make it with: ellora-trust probe eval --out"):
        report_step(empty)
    shutil.rmtree(folder.path / "activations")
    with pytest.raises(InputError, match=r"no activations of answers; take them with: ellora-trust probe extract"):
        fit_step(folder, job, again=True)
    (folder.path / "labels-answers.jsonl").unlink()
    with pytest.raises(InputError, match=r"labels-answers.jsonl is missing; make it with: ellora-trust probe label"):
        eval_step(folder, job, again=True)
    with pytest.raises(InputError, match="task 'types' was not labelled in this folder; use one of answers"):
        fit_step(folder, job, tasks=["types"])


def test_damaged_files_are_named_with_the_command_that_makes_them(whole: RunFolder, folder: RunFolder, job: ProbeJob):
    (folder.path / "labels-answers.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(InputError, match=r"labels-answers.jsonl is damaged .* probe label --again"):
        fit_step(folder, job, again=True)
    shutil.copy(whole.path / "labels-answers.jsonl", folder.path)
    lines = (folder.path / "labels-answers.jsonl").read_text().splitlines()
    (folder.path / "labels-answers.jsonl").write_text("\n".join(lines[::-1]))
    with pytest.raises(InputError, match=r"labels-answers.jsonl is not what run.json describes"):
        eval_step(folder, job, again=True)
    (folder.path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run.json is damaged"):
        eval_step(folder, job)


def test_nothing_is_done_twice_unless_asked(folder: RunFolder, job: ProbeJob, monkeypatch: pytest.MonkeyPatch):
    names = ("labelling.load", "fitting._fit", "evaluating.evaluate")
    for name in names:
        monkeypatch.setattr(f"probes.steps.{name}", forbidden)
    said: list[str] = []
    before = folder.results()["tasks"]
    label_step(job, folder, say=said.append)
    assert not fit_step(folder, job, say=said.append)["answers"].new
    assert [one.to_dict()["probe"] for one in eval_step(folder, job, say=said.append)] == [before[0]["probe"]]
    assert all("--again" in line for line in said)
    assert len(said) == 3
    for step in (
        lambda: label_step(job, folder, again=True),
        lambda: fit_step(folder, job, again=True),
        lambda: fit_step(folder, replace(job, fitting=Fitting(certify=0.3))),
        lambda: eval_step(folder, job, again=True),
        lambda: eval_step(folder, replace(job, permutations=3)),
    ):
        with pytest.raises(AssertionError, match="done already"):
            step()


def test_answers_of_another_job_are_not_overwritten_unasked(folder: RunFolder, job: ProbeJob, home: Path):
    with pytest.raises(InputError, match=r"holds answers of another run \(only_prompt differ\); give another --out"):
        label_step(replace(job, only_prompt=True), folder)
    other = home / "other.jsonl"
    lines = Path(str(job.labels)).read_text().splitlines()
    other.write_text("\n".join(lines[:100]))
    with pytest.raises(InputError, match=r"\(file, labels differ\)"):
        label_step(replace(job, labels=str(other)), folder)


def test_results_about_other_answers_are_refused(folder: RunFolder, job: ProbeJob):
    raw = json.loads((folder.path / "results.json").read_text())
    (folder.path / "results.json").write_text(json.dumps({**raw, "stores": {"answers": "0"}}))
    with pytest.raises(
        InputError, match=r"is about other answers or activations than the folder's; make it with: .* probe eval"
    ):
        report_step(folder)


def test_a_report_needs_no_model_and_no_labels(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ellora_trust.loading.load", forbidden)
    with_labels = report_step(folder).read_text()
    assert "surprising errors" in with_labels
    for path in folder.path.iterdir():
        if path.name != "results.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report_step(folder).read_text()
    assert "The answers are not in this folder" in page
    assert 'type="range"' in page


def test_a_predictor_of_the_prompt_says_that_it_needs_no_answer(job: ProbeJob, tmp_path: Path):
    folder = RunFolder(tmp_path)
    only = replace(job, only_prompt=True)
    label_step(only, folder)
    fitted = fit_step(folder, only)["answers"]
    artifact = read_description(folder.probe("answers"))
    assert artifact.config["position"] == "prompt_end"
    assert artifact.data["reads"] == "the end of the prompt only; no token of the answer"
    assert "no token of the answer is needed" in fitted.sentence()
    assert folder.run().tasks["answers"].positions == ["prompt_end"]


def test_activations_taken_afterwards_equal_those_taken_while_answering(job: ProbeJob, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        AliasingTask, "decide", lambda self, e, text: Outcome.WRONG if len(e.prompt) % 3 else Outcome.CORRECT
    )
    folder = RunFolder(tmp_path)
    asked = replace(job, labels=None, tasks=("aliasing",), limit=24)
    label_step(asked, folder)
    first = folder.read_labels("aliasing", activations=True).activations
    before = {key: first.vectors(*key) for key in first}
    extract_step(folder, again=True)
    after = folder.read_labels("aliasing", activations=True).activations
    assert set(before) == set(after)
    for key, value in before.items():
        size = value.norm(dim=1).clamp_min(1)
        assert ((value - after.vectors(*key)).norm(dim=1) <= 1e-4 * size).all(), key


def test_other_sites_and_positions_take_the_place_of_the_old_ones_and_are_fitted(folder: RunFolder, job: ProbeJob):
    said: list[str] = []
    extract_step(folder, sites=["mlp.*"], positions=["answer.max"])
    assert len(list((folder.path / "activations" / "answers").iterdir())) == 1
    extract_step(folder, sites=["mlp.*"], positions=["answer.max"], say=said.append)
    assert said == ["answers: these activations are there already; --again takes them anew"]
    fitted = fit_step(folder, job)["answers"]
    assert fitted.new
    assert (fitted.probe.site_[:3], fitted.probe.position_) == ("mlp", "answer.max")
    assert set(eval_step(folder, job)[0].by_site) == {"answer.max"}


def test_a_predictor_of_earlier_activations_is_not_told_what_an_evaluation_of_new_ones_found(
    folder: RunFolder, job: ProbeJob
):
    fit_step(folder, replace(job, fitting=Fitting(certify=0.3)))
    before = read_description(folder.probe("answers"))
    assert "No threshold is certified" in report_step(folder).read_text()
    extract_step(folder, sites=["mlp.*"], positions=["answer.max"])
    eval_step(folder, job)
    assert read_description(folder.probe("answers")) == before
    assert folder.artifact("answers") is None
    assert "No threshold is certified" not in report_step(folder).read_text()


def test_the_seed_of_a_job_draws_its_folds_and_permutations(folder: RunFolder, job: ProbeJob):
    (zero,), (one,) = (eval_step(folder, replace(job, seed=seed), again=True) for seed in (0, 1))
    assert zero.permutation != one.permutation
    assert zero.scores.probe != one.scores.probe
    assert fit_step(folder, replace(job, seed=1))["answers"].probe.settings.seed == 1


def test_extraction_refuses_another_model_than_the_one_that_answered(folder: RunFolder):
    run = folder.run()
    folder.write_run(replace(run, model={**run.model, "fingerprint": "0" * 64}))
    with pytest.raises(InputError, match=r"are by .*fingerprint 000000000000.*label again with"):
        extract_step(folder, sites=["mlp.*"])


def test_certification_keeps_a_third_of_the_groups_from_fitting(folder: RunFolder, job: ProbeJob):
    certifying = replace(job, fitting=Fitting(certify=0.3))
    fitted = fit_step(folder, certifying)["answers"]
    labelled = folder.read_labels("answers", activations=True)
    held = hold_out_groups(labelled.groups, seed=job.seed)
    artifact = read_description(folder.probe("answers"))
    assert artifact.data["n_groups_held_out"] == len(np.unique(labelled.groups[held])) == 20
    assert artifact.data["groups"] == sorted({group_hash(group) for group in labelled.groups[~held]})
    assert fitted.certificate is not None
    assert fitted.certificate.n_groups == 20
    # A random model's activations know nothing: no threshold, and the sentence says so.
    assert "No threshold is certified for at most 30.0% wrong with 95% confidence" in fitted.sentence()
    assert "threshold" not in artifact.config
    assert artifact.config["certificate"]["risk"] == 0.3
    again = fit_step(folder, certifying)["answers"]
    assert (again.new, again.certificate) == (False, fitted.certificate)
    assert "No threshold is certified" in report_step(folder).read_text()


def test_a_recorded_group_is_refused_for_another_certificate(folder: RunFolder, job: ProbeJob):
    fit_step(folder, replace(job, fitting=Fitting(certify=0.3)))
    probe = ErrorProbe.load(folder.probe("answers"))
    labelled = folder.read_labels("answers", activations=True)
    x, hashes = labelled.activations.vectors(probe.site_, probe.position_), [group_hash(g) for g in labelled.groups]
    with pytest.raises(InputError, match=r"40 groups, .* were also used to fit the probe"):
        certify_probe(
            probe, x.numpy(), labelled.wrong.astype(int), hashes, fitted_groups=probe.artifact_.data["groups"]
        )


def test_held_out_groups_stay_whole_and_do_not_depend_on_the_order_of_rows():
    groups = np.array([f"g{i // 3}" for i in range(90)])
    held = hold_out_groups(groups, seed=0)
    assert len(set(groups[held])) == 10
    assert not set(groups[held]) & set(groups[~held])
    order = np.random.default_rng(0).permutation(90)
    assert (hold_out_groups(groups[order], seed=0) == held[order]).all()
    assert (hold_out_groups(groups, seed=1) != held).any()
    with pytest.raises(InputError, match="2 groups are too few to keep a third from fitting"):
        hold_out_groups(np.array(["a", "b"]), seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calibration": "isotone"}, "unknown calibration 'isotone'; use one of isotonic, platt"),
        ({"risk": 0}, "risk=0 is out of range"),
        ({"certify": 1.5}, "certify=1.5 is out of range"),
    ],
)
def test_bad_settings_are_one_clear_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        Fitting(**settings)


def test_a_certified_threshold_is_recorded_and_keeps_what_the_certificate_keeps(tiny, tmp_path: Path):
    rng = np.random.default_rng(0)
    wrong = rng.random(600) < 0.3
    x = torch.tensor(rng.normal(size=(600, 32)) + 2.0 * wrong[:, None], dtype=torch.float32)
    examples = [Example(f"e{i}", f"g{i}", f"x{i}") for i in range(600)]
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    generations = [Generation("1", [1], 1, [-0.1], [0.1], "stop")] * 600
    kept = Labelled("made", examples, generations, outcomes, Activations({("resid.1", "answer"): x}))
    held = hold_out_groups(kept.groups, seed=0)
    probe = ErrorProbe().fit({("resid.1", "answer"): x[~held]}, wrong[~held], kept.groups[~held])
    certificate = certify_held_out(probe, kept, held, risk=0.1)
    assert certificate.n_groups == 200
    assert certificate.threshold is not None
    probe.save(tmp_path / "probe", model=tiny, config=certificate_config(certificate))
    config = ErrorProbe.load(tmp_path / "probe").artifact_.config
    assert config["threshold"] == certificate.threshold
    assert Certificate.from_dict(config["certificate"]) == certificate
    again = ErrorProbe.load(tmp_path / "probe")
    again.running_max_ = again.calibration_
    used = []
    for readout in ("position", "running_max"):
        with attach(again, tiny, readout=readout) as watch:
            used.append(watch.readout.threshold)
    assert used == [certificate.threshold, 0.5], "what is certified is the risk at the position"
    everything = certificate_config(replace(certificate, threshold=math.inf))
    assert everything["threshold"] == 1.0
    assert "threshold" not in certificate_config(replace(certificate, threshold=None))
