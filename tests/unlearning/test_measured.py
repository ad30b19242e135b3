"""Before, after, control and twin: numbers with intervals, drawn, told and kept; the job that makes them resumes."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
from tiny_items import SMALL, forgets, keeps
from tiny_models import make_model

from attribution.inside.job import locate
from attribution.inside.patching import Pair
from ellora_trust.errors import InputError
from ellora_trust.loading import load
from ellora_trust.report import write_json
from unlearning import Edit, Item, unlearn
from unlearning.checkpoint.delta import weights_sha256
from unlearning.checkpoint.gates import fault, loss
from unlearning.job import Sources, UnlearnJob, run_job
from unlearning.judging.figures import picture, plot_before_after, plot_history
from unlearning.judging.measured import fault_estimate, loss_estimate, measured, shown
from unlearning.judging.reporting import report, sentences, summary, table
from unlearning.training.loop import Loop

matplotlib.use("agg")


@pytest.fixture
def model():
    return make_model("llama", seed=1)


@pytest.fixture
def edits(model):
    how = {"forget": forgets(), "retain": keeps(), "budget": SMALL, "measure_cost": False}
    return {"after": unlearn(model, where="mlp.1", **how), "at random": unlearn(model, where="mlp.0", **how)}


def lines(path, items):
    rows = [{"prompt": i.prompt, "completion": i.completion, "replacement": i.replacement} for i in items]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_numbers_are_those_of_the_gates_with_an_interval_over_groups(model):
    for estimate, plain, items in ((fault_estimate, fault, forgets()), (loss_estimate, loss, keeps())):
        found = estimate(model, items)
        assert found.value == pytest.approx(plain(model, items), rel=1e-5)
        assert found.low <= found.value <= found.high
        assert found.n_groups == 8


def test_copies_of_one_group_narrow_nothing(model):
    wide = fault_estimate(model, forgets())
    again = [Item(f"{i.id}{n}", i.group, i.prompt, i.completion) for n in range(3) for i in forgets()]
    once = fault_estimate(model, [Item(i.id, i.group, i.prompt, i.completion) for i in forgets()])
    assert (fault_estimate(model, again).low, fault_estimate(model, again).n_groups) == (pytest.approx(once.low), 8)
    assert wide.n == 8


def test_one_group_has_no_interval_and_says_so(model):
    (row, *_) = measured(model, {}, forgets(1), [])
    assert shown(row, "before").endswith("(one group, no interval)")
    assert shown(row, "after") == ""


def test_each_state_is_measured_in_its_own_weights_and_the_model_restored(model, edits):
    sha = weights_sha256(model.hf)
    rows = measured(model, edits, forgets(), keeps())
    assert weights_sha256(model.hf) == sha
    assert [row["name"] for row in rows] == ["probability of the fault", "loss on what stays"]
    for state, edit in edits.items():
        with edit.apply(model):
            expected = fault(model, forgets())
        assert rows[0]["states"][state]["value"] == pytest.approx(expected, rel=1e-5)
    assert json.loads(json.dumps(rows)) == rows


@pytest.fixture
def run(model, tmp_path):
    """A job whose place attribution chose, and its folder."""
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    loaded = load(tmp_path / "model")
    located = locate(loaded, [Pair("x = [1]\ny = ", "x = {1}\ny = ", "list", "dict")], sites="mlp.*")
    write_json(located.to_dict(), tmp_path / "where" / "results.json")
    sources = Sources(lines(tmp_path / "f.jsonl", forgets()), lines(tmp_path / "r.jsonl", keeps()))
    where = f"components:{tmp_path / 'where'}"
    return UnlearnJob(str(tmp_path / "model"), sources, where=where, budget=SMALL), tmp_path / "edit"


def quiet(line):
    return None


def test_the_control_stands_beside_before_and_after_everywhere(run):
    job, out = run
    said = []
    edit = run_job(job, out, say=said.append)
    control = Edit.load(out / "control")
    assert any("the control: the same edit at random" in line for line in said)
    kept = edit.evaluation["control"]
    assert kept["where"] == control.config["where"] != edit.config["where"]
    assert kept["chosen_by"] == job.where == edit.config["chosen_by"]
    found = table(edit)
    assert found.columns == ("what", "before", "after", "at random")
    assert all(all(cells) for cells in found.rows)
    assert "the place was chosen by components:" in "\n".join(sentences(edit))
    written = json.loads((out / "results.json").read_text())
    assert written == json.loads(json.dumps(summary(edit)))
    assert written["evaluation"]["control"]["history"][-1]["step"] == SMALL.steps
    page = (out / "report.html").read_text()
    assert "at random" in page
    assert "Against a random place" in page
    assert not list(out.parent.glob("*.progress")) + list(out.glob("*.progress"))


def test_a_stopped_control_goes_on_to_the_same_bits_and_the_edit_is_not_made_again(run, tmp_path, monkeypatch):
    job, out = run
    whole = run_job(job, tmp_path / "whole", say=quiet)
    step, made = Loop._step, []

    def stops(self, parameters, optimizer, number, *more):
        made.append(number)
        if len(made) == SMALL.steps + 5:
            raise KeyboardInterrupt
        return step(self, parameters, optimizer, number, *more)

    monkeypatch.setattr(Loop, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        run_job(job, out, say=quiet)
    assert (out / "control.progress").exists()
    edit = run_job(job, out, say=quiet)
    # The control's last check was after step 3, and it was stopped in its step 5.
    assert made[SMALL.steps + 5 :] == [3, 4, 5]
    assert summary(edit)["evaluation"] == summary(whole)["evaluation"]
    again, other = Edit.load(out / "control"), Edit.load(tmp_path / "whole" / "control")
    assert all((again.delta[name] == other.delta[name]).all() for name in other.delta)
    n = len(made)
    assert summary(run_job(job, out, say=quiet)) == summary(edit)
    assert len(made) == n


def test_a_place_that_a_person_names_has_no_control(run):
    job, out = run
    edit = run_job(UnlearnJob(job.model, job.sources, where="mlp.1", budget=SMALL), out, say=quiet)
    assert "control" not in edit.evaluation
    assert not (out / "control").exists()
    assert table(edit).columns == ("what", "before", "after")


def test_pictures_show_every_check_and_every_interval(run, tmp_path):
    job, out = run
    edit = run_job(job, out, say=quiet)
    left = plot_history(edit)
    drawn = left.get_lines()
    assert [np.asarray(line.get_xdata()).tolist() for line in drawn] == [[0, 3, 6]] * 2
    assert [line.get_linestyle() for line in drawn] == ["-", "--"]
    assert np.asarray(drawn[0].get_ydata()).tolist() == [check["forget"] for check in edit.history]
    right = plot_before_after(edit)
    legend = right.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["before", "after", "at random"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["probability of the fault"]
    picture(edit, tmp_path / "edit.png")
    assert (tmp_path / "edit.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"has no picture.s suffix; use \.png, \.svg, \.pdf"):
        picture(edit, tmp_path / "edit.txt")
    assert "Held-out fault" in report(edit).to_markdown()


def test_an_edit_that_was_not_measured_cannot_be_drawn(edits):
    with pytest.raises(InputError, match="was not measured before and after; make it with"):
        plot_before_after(edits["after"])
    assert table(edits["after"]).rows == []
