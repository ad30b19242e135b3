"""Transfer shows where a probe works beyond what it was fitted on, and lets no problem be on both sides."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import auroc, group_bootstrap
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome
from probes.error_probe import ErrorProbe
from probes.fitting.rows import Rows
from probes.fitting.selection import Settings
from probes.measuring.leave_one_out import COLUMNS, LeftOut, Value, leave_one_out
from probes.measuring.transfer import LOGPROB, Transfer, slices, transfer_matrix
from probes.reporting.transfer_plots import plot_left_out, plot_transfer, transfer_figure

QUICK = Settings(strengths=(0.01, 0.1), n_components=12)


def labelled(n: int = 200, d: int = 12, *, axis: int, seed: int, name: str = "a", sign: float = 1.0) -> Labelled:
    """Wrong answers lie further along one axis; groups of two; templates t0, t1, t2."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    x = rng.normal(size=(n, d))
    x[:, axis] += sign * 2.0 * wrong
    examples = [
        Example(f"{name}{i}", f"{name}/g{i // 2}", f"{name} {i}", meta={"template": f"t{i // 2 % 3}"}) for i in range(n)
    ]
    generations = [Generation("1", [1], 1, [-rng.exponential()], [0.1], "stop") for _ in range(n)]
    outcomes = [Outcome.WRONG if bad else Outcome.CORRECT for bad in wrong]
    activations = Activations({("resid.0", "answer"): torch.tensor(x, dtype=torch.float32)})
    return Labelled(name, examples, generations, outcomes, activations)


@pytest.fixture(scope="module")
def three() -> Transfer:
    sets = {
        "a": labelled(axis=0, seed=0, name="a"),
        "same": labelled(axis=0, seed=1, name="b"),
        "other": labelled(axis=5, seed=2, name="c"),
        "opposite": labelled(axis=0, seed=3, name="d", sign=-1.0),
    }
    return transfer_matrix(sets, settings=QUICK, n_resamples=200)


def test_a_shared_direction_transfers_another_does_not_and_an_opposite_one_is_below_chance(three: Transfer):
    for name in ("a", "same", "other", "opposite"):
        assert _low(three, name, name) > 0.75
    assert _low(three, "a", "same") > 0.75
    other = three.cell("a", "other").auroc
    assert other is not None
    assert other.low < 0.5 < other.high
    opposite = three.cell("a", "opposite").auroc
    assert opposite is not None
    assert opposite.high < 0.3


def _low(result: Transfer, train: str, test: str) -> float:
    estimate = result.cell(train, test).auroc
    assert estimate is not None
    return estimate.low


def test_the_log_probability_is_the_baseline_of_every_column(three: Transfer):
    assert three.trained[-1] == LOGPROB
    for name in three.tested:
        estimate = three.cell(LOGPROB, name).auroc
        assert estimate is not None
        assert estimate.low < 0.5 < estimate.high


def test_a_cell_is_a_probe_fitted_on_one_set_and_scored_on_the_other(three: Transfer):
    a, b = (Rows.of(labelled(axis=0, seed=seed, name=name)) for seed, name in ((0, "a"), (1, "b")))
    probe = ErrorProbe(QUICK).fit(a.features, a.wrong, a.groups)
    scores = probe.decision(b.features["resid.0", "answer"])
    cell = three.cell("a", "same")
    assert cell.auroc == group_bootstrap(auroc, (b.wrong, scores), b.groups, n_resamples=200)
    assert (cell.n_train, cell.n_dropped, cell.site) == (200, 0, "resid.0 answer")


def test_groups_on_both_sides_are_left_out_of_training_and_counted():
    rows = Rows.of(labelled(axis=0, seed=0))
    first, second = rows.take(np.arange(200) < 140), rows.take(np.arange(200) >= 100)
    cell = transfer_matrix({"x": first, "y": second}, settings=QUICK, n_resamples=50).cell("x", "y")
    assert (cell.n_train, cell.n_dropped) == (100, 40)
    alone = ErrorProbe(QUICK).fit(*_fit(rows.take(np.arange(200) < 100)))
    expected = auroc(second.wrong, alone.decision(second.features["resid.0", "answer"]))
    assert cell.auroc is not None
    assert cell.auroc.value == expected


def _fit(rows: Rows):
    return rows.features, rows.wrong, rows.groups


def test_prompts_on_both_sides_are_left_out_though_their_groups_differ():
    rows = Rows.of(labelled(axis=0, seed=0))
    renamed = Rows(rows.features, rows.wrong, np.array([f"new {g}" for g in rows.groups]), rows.prompts)
    some = renamed.take(np.arange(200) < 60)
    cell = transfer_matrix({"x": rows, "y": some}, settings=QUICK, n_resamples=50).cell("x", "y")
    assert (cell.n_train, cell.n_dropped) == (140, 60)


def test_a_cell_that_cannot_be_had_says_why():
    rows = Rows.of(labelled(axis=0, seed=0))
    right = labelled(axis=0, seed=1, name="b")
    all_right = Rows.of(
        Labelled("b", right.examples, right.generations, [Outcome.CORRECT] * 200, right.activations),
    )
    result = transfer_matrix({"x": rows, "right": all_right, "x again": rows}, settings=QUICK, n_resamples=50)
    assert "the statistic is nan on the whole data" in result.cell("x", "right").note
    assert "all 200 answers are right" in result.cell("right", "x").note
    assert result.cell("x", "x again").note == "all 200 training rows share a group or prompt with the test"
    assert result.cell("right", "right").auroc is None
    assert result.base_rate["right"] == 0.0


def value(result: LeftOut, name: str) -> Value:
    return next(one for one in result.values if one.name == name)


def test_leaving_one_value_out_trains_on_all_others():
    data = labelled(240, axis=0, seed=0)
    result = leave_one_out(data, "template", settings=QUICK, n_resamples=100)
    rows, template = Rows.of(data), np.array([e.meta["template"] for e in data.examples])
    probe = ErrorProbe(QUICK).fit(*_fit(rows.take(template != "t1")))
    test = rows.take(template == "t1")
    found = value(result, "t1")
    assert found.left_out is not None
    assert found.left_out.value == auroc(test.wrong, probe.decision(test.features["resid.0", "answer"]))
    assert (found.n, found.n_groups, found.n_train, found.cross_fitted) == (80, 40, 160, False)
    assert found.base_rate == pytest.approx(test.wrong.mean())


def test_a_value_with_a_direction_of_its_own_is_predicted_only_by_those_who_have_seen_it():
    data = labelled(480, axis=0, seed=0)
    template = np.array([e.meta["template"] for e in data.examples])
    x, wrong = data.activations.vectors("resid.0", "answer").clone(), data.wrong
    own = torch.tensor((template == "t2") & wrong)
    x[own, 0] -= 2.0
    x[own, 7] += 3.0
    moved = Labelled("m", data.examples, data.generations, data.outcomes, Activations({("resid.0", "answer"): x}))
    result = leave_one_out(moved, "template", settings=QUICK, n_resamples=100)
    found = value(result, "t2")
    assert found.left_out is not None
    assert found.left_out.low < 0.5 < found.left_out.high
    assert found.seen is not None
    assert found.seen.low > 0.7
    assert result.cost.high < 0
    assert "A template that was not seen costs -0." in result.sentence()


def test_where_values_are_alike_a_new_one_costs_nothing():
    result = leave_one_out(labelled(480, axis=0, seed=0), "template", settings=QUICK, n_resamples=200)
    assert result.left_out.low > 0.75
    assert abs(result.cost.value) < 0.03
    assert result.logprob is not None
    assert result.logprob.low < 0.5 < result.logprob.high
    assert result.left_out.n == result.seen.n == 480


def test_a_rare_value_is_counted_and_scored_with_the_others():
    data = labelled(240, axis=0, seed=0)
    first = data.groups[0]
    examples = [replace(e, meta={"template": "rare"}) if e.group == first else e for e in data.examples]
    rare = Labelled("r", examples, data.generations, [Outcome.WRONG] * 2 + data.outcomes[2:], data.activations)
    result = leave_one_out(rare, "template", settings=QUICK, n_resamples=50)
    assert value(result, "rare").left_out is None
    assert value(result, "rare").note
    assert result.left_out.n == 240
    assert "1 values alone have no AUROC" in result.sentence()


def test_the_table_and_the_figure_say_all_together_and_each_value():
    result = leave_one_out(labelled(240, axis=0, seed=0), "template", settings=QUICK, n_resamples=50)
    table = result.table()
    assert [row[0] for row in table] == ["all together", "t0", "t1", "t2"]
    assert all(len(row) == len(COLUMNS) for row in table)
    ax = plot_left_out(result, Figure().subplots())
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[-1] == "all together (240)"
    assert len(names) == 4
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["key"] == "template"


def test_slices_keep_every_row_once():
    data = labelled(axis=0, seed=0)
    parts = slices(data, "template")
    assert sorted(e.id for part in parts.values() for e in part.examples) == sorted(e.id for e in data.examples)
    assert {e.meta["template"] for e in parts["t1"].examples} == {"t1"}


def test_both_figures_say_the_intervals_and_show_what_is_missing(three: Transfer):
    ax = plot_transfer(three, Figure().subplots())
    texts = [text.get_text() for text in ax.texts]
    cell = three.cell("a", "same").auroc
    assert cell is not None
    assert texts[1] == f"{cell.value:.2f}\n[{cell.low:.2f}, {cell.high:.2f}]"
    assert [label.get_text() for label in ax.get_yticklabels()] == three.trained
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tested on", "trained on")
    figure = json.loads(transfer_figure(three).to_json())
    assert figure["data"][0]["text"][0][1] == texts[1].replace("\n", "<br>")
    assert "tested on 200 rows in 100 groups" in figure["data"][0]["customdata"][0][1]
    rows = Rows.of(labelled(axis=0, seed=0))
    gap = transfer_matrix({"x": rows, "y": rows}, settings=QUICK, n_resamples=20)
    assert json.loads(transfer_figure(gap).to_json())["data"][0]["z"][0][1] is None
    assert plot_transfer(gap, Figure().subplots()).texts[1].get_text() == "–"


def test_a_result_is_plain_json(three: Transfer):
    again = json.loads(json.dumps(three.to_dict(), allow_nan=False))
    assert len(again["cells"]) == 4 * 4 + 4


def test_bad_input_is_one_clear_sentence(three: Transfer):
    data = labelled(axis=0, seed=0)
    with pytest.raises(InputError, match="1 set was given; transfer needs at least two"):
        transfer_matrix({"a": data})
    with pytest.raises(InputError, match=r"example 'a0' has no meta 'language'; keys of these examples: template"):
        leave_one_out(data, "language")
    with pytest.raises(InputError, match="there is no cell 'a' -> 'b'"):
        three.cell("a", "b")
    rows = Rows.of(data)
    moved = Rows({("resid.9", "answer"): rows.features["resid.0", "answer"]}, rows.wrong, rows.groups)
    with pytest.raises(InputError, match=r"the sets x, y share no \(site, position\)"):
        transfer_matrix({"x": rows, "y": moved})
    bare = Labelled("bare", data.examples, data.generations, data.outcomes)
    with pytest.raises(InputError, match="bare has no activations; label it with sites="):
        leave_one_out(bare, "template")


def answered_at(temperatures: tuple[float, ...], *, n: int = 80) -> Labelled:
    """The same questions answered at each temperature: every group is on both sides."""
    parts = [labelled(n, axis=0, seed=7 + i) for i in range(len(temperatures))]
    examples = [
        Example(f"{e.id}@{t:g}", e.group, e.prompt, meta={"temperature": t})
        for t, part in zip(temperatures, parts, strict=True)
        for e in part.examples
    ]
    x = torch.cat([part.activations.vectors("resid.0", "answer") for part in parts])
    return Labelled(
        "a",
        examples,
        [g for part in parts for g in part.generations],
        [o for part in parts for o in part.outcomes],
        Activations({("resid.0", "answer"): x}),
    )


def test_a_value_that_shares_all_groups_is_left_out_with_its_groups_part_by_part():
    found = leave_one_out(answered_at((0.0, 0.5, 1.0)), "temperature", settings=QUICK, n_resamples=100)
    half = value(found, "0.5")
    # Four of five folds of the groups, at the two other temperatures.
    assert (half.n_train, half.cross_fitted) == (128, True)
    assert half.left_out is not None
    assert half.left_out.low > 0.75
    assert half.left_out.n == 80


def test_parts_never_see_their_own_groups(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[set[str], int]] = []
    fit = ErrorProbe.fit

    def spied(self, features, wrong, groups=None, **settings):
        assert groups is not None
        seen.append((set(np.asarray(groups).tolist()), len(wrong)))
        return fit(self, features, wrong, groups, **settings)

    monkeypatch.setattr(ErrorProbe, "fit", spied)
    data = answered_at((0.0, 1.0))
    leave_one_out(data, "temperature", settings=QUICK, n_resamples=20)
    everything = set(data.groups.tolist())
    left_out = [everything - groups for groups, _ in seen[:5]]
    assert set.union(*left_out) == everything
    assert sum(len(one) for one in left_out) == len(everything)
