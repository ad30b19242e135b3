"""Task vectors: effects as by brute force, linear sums, held-out claims on the testbed, restored, saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from tiny_models import hooks_of, make_model

from attribution.function_vectors.adding import adding, answers_after
from attribution.function_vectors.checks import OURS, OWN, RANDOM, causal_check, identification
from attribution.function_vectors.demonstrations import TASKS, Demonstrations
from attribution.function_vectors.families import neutral
from attribution.function_vectors.heads import first_order_effects, head_outputs, head_sites, indirect_effects
from attribution.function_vectors.job import measure_tasks
from attribution.function_vectors.queries import Drawn, Query, Source, source_of
from attribution.function_vectors.readout import Readout, bag_of_words, nearest_mean
from attribution.function_vectors.vectors import TaskVectors
from attribution.function_vectors.views import plot_done, plot_heads
from attribution.tasks import task_vectors
from ellora_trust import InputError
from ellora_trust.hooks import capture, edit
from ellora_trust.loading import load
from ellora_trust.sites import resolve

matplotlib.use("Agg")
PROMPT, ANSWER = "x = [1, 2, 3]\ny = x", "[:]\nfor i in y"


class TwoTasks(Source):
    """Two tasks that a random model cannot do."""

    name, tasks = "two", ("add", "loop")

    def draw(self, n_fit: int, n_held: int, seed: int = 0) -> Drawn:
        made = [
            Query(task, f"{told}{n}\ny =", f" {n}", f"{task}/{n}", f"{n}\ny =", f"{n} = {n}\ny =")
            for task, told in (("add", "return a + "), ("loop", "for i in "))
            for n in range(n_fit + n_held)
        ]
        late = [query for query in made if int(query.group.split("/")[1]) >= n_fit]
        return Drawn(tuple(query for query in made if query not in late), {"others": tuple(late)})

    def limits(self, task: str) -> tuple[int, tuple[str, ...]]:
        return (3, ("\n",)) if task == "add" else (2, ())

    def done(self, queries: Sequence[Query], completions: Sequence[str]) -> list[bool]:
        return [text == query.answer for query, text in zip(queries, completions, strict=True)]


def log_p(model, prompt: str, answer: str) -> float:
    return model.score([prompt], [answer])[0].sum


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_an_indirect_effect_is_what_an_edit_by_hand_gives(family):
    model = make_model(family)
    sites = head_sites(model)
    means = torch.randn(len(sites), sites[0].width(model.arch), generator=torch.Generator().manual_seed(0))
    found = indirect_effects(model, Query("t", PROMPT, ANSWER, "g", uninformed=PROMPT), sites, means)
    end = len(model.tokenizer(PROMPT).input_ids) - 1
    for number in (0, len(sites) - 1):

        def put(hidden, at, mean=means[number]):
            return torch.where((at == end)[..., None], mean, hidden)

        with edit(model, {sites[number]: put}):
            by_hand = log_p(model, PROMPT, ANSWER)
        assert found[number] == pytest.approx(by_hand - log_p(model, PROMPT, ANSWER), abs=2e-4)


def test_first_order_effects_are_exact_where_the_step_is_small(tiny):
    sites = head_sites(tiny)
    query = Query("t", PROMPT, ANSWER, "g", uninformed=PROMPT)
    outputs = head_outputs(tiny, [PROMPT], sites)[0]
    means = outputs + 1e-3 * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    exact, rough = (effects(tiny, query, sites, means) for effects in (indirect_effects, first_order_effects))
    assert rough.abs().max() > 1e-5
    torch.testing.assert_close(rough, exact, atol=1e-5, rtol=0.05)


def test_heads_that_the_first_order_rules_out_have_no_exact_effect(tiny):
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1, n_heads=1)
    assert int(vectors.effects.isnan().sum()) == len(head_sites(tiny)) - 4
    layer, head = (int(part) for part in vectors.heads[0].split(".")[1:])
    assert vectors.effects[layer, head] == vectors.effects[~vectors.effects.isnan()].max()


def test_effects_do_not_depend_on_how_many_heads_share_a_forward(tiny, monkeypatch):
    sites = head_sites(tiny)
    query = Query("t", PROMPT, ANSWER, "g", uninformed=PROMPT)
    means = head_outputs(tiny, ["for i in range(10):"], sites)[0]
    at_once = indirect_effects(tiny, query, sites, means)
    monkeypatch.setattr(tiny, "token_budget", 1)
    torch.testing.assert_close(indirect_effects(tiny, query, sites, means), at_once, atol=2e-4, rtol=0)


def test_all_heads_of_a_layer_together_write_what_its_attention_does(tiny):
    sites = [str(site) for site in resolve(tiny, "head.0.*")]
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1, n_heads=8)
    whole = [number for number, head in enumerate(vectors.heads) if head in sites]
    assert len(whole) == len(sites)
    fit = TwoTasks().draw(4, 0).fit
    prompts = [query.prompt for query in fit if query.task == "add"]
    seen = capture(tiny, prompts, ["attn.0", "attn.1"], "last")
    written = seen.vectors("attn.0", "last").mean(0) + seen.vectors("attn.1", "last").mean(0)
    torch.testing.assert_close(vectors.vector("add"), written, atol=1e-5, rtol=0)


def test_a_vector_is_added_from_the_end_of_each_prompt_on_whatever_the_batch(tiny):
    prompts = ["x = 1", "for i in range(10):\n    y", "x"]
    step = torch.randn(3, tiny.arch.d_model, generator=torch.Generator().manual_seed(0))
    plain = capture(tiny, prompts, "resid.0", ["last", 0])
    with adding(tiny, "resid.0", step):
        moved = capture(tiny, prompts, "resid.0", ["last", 0])
        together = [one.tokens for one in tiny.generate(prompts, max_new_tokens=4)]
    torch.testing.assert_close(
        moved.vectors("resid.0", "last") - plain.vectors("resid.0", "last"), step, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(moved.vectors("resid.0", "0")[:2], plain.vectors("resid.0", "0")[:2])
    for number, prompt in enumerate(prompts):
        with adding(tiny, "resid.0", step[number : number + 1]):
            assert tiny.generate([prompt], max_new_tokens=4)[0].tokens == together[number]


def test_each_answer_has_its_own_tasks_limits_and_its_own_vector(tiny):
    queries = [Query(task, "", "", str(n)) for n, task in enumerate(["loop", "add", "loop", "add"])]
    prompts = ["x = 1", "for i in range(10):\n    y", "x", "y = 2"]
    step = 20 * torch.randn(4, tiny.arch.d_model, generator=torch.Generator().manual_seed(0))
    together = answers_after(tiny, TwoTasks(), queries, prompts, ("resid.0", step))
    for number, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        length, stop = TwoTasks().limits(query.task)
        with adding(tiny, "resid.0", step[number : number + 1]):
            (alone,) = tiny.generate([prompt], max_new_tokens=length, stop=stop)
        assert together[number] == alone.text
    assert together != answers_after(tiny, TwoTasks(), queries, prompts)


def test_the_model_is_what_it_was_also_after_an_exception(tiny):
    hooks = hooks_of(tiny)  # of other tests and of transformers, which leaves its own
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1)
    before = {name: tensor.clone() for name, tensor in tiny.hf.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), vectors.apply(tiny, "add"):
        raise RuntimeError("stop")
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.hf.state_dict().items())
    assert hooks_of(tiny) == hooks


def test_a_readout_separates_what_is_separable_and_folds_its_scale_in():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 5, generator=generator) + torch.eye(3, 5).repeat(20, 1) * 30 + 100
    names, groups = ["a", "b", "c"] * 20, [str(n) for n in range(60)]
    readout = Readout.fit(rows, names, groups)
    assert readout.predict(rows) == names
    torch.testing.assert_close(readout.probabilities(rows).sum(-1), torch.ones(60))
    two = [n for n, name in enumerate(names) if name != "c"]
    halved = Readout.fit(rows[two], [names[n] for n in two], [groups[n] for n in two])
    assert halved.predict(rows[two]) == [names[n] for n in two]
    means = torch.stack([rows[n::3].mean(0) for n in range(3)])
    assert nearest_mean(means, ["a", "b", "c"], rows) == names
    words = bag_of_words([f"{name} {n}" for n, name in enumerate(names)], names, groups)
    assert list(words.predict(["b 99"])) == ["b"]


def test_neutral_prompts_keep_nothing_that_tells_the_task():
    asked = '# Sum.\ndef total_red_rows(rows):\n    """Return the sum of the red rows."""'
    assert neutral(asked, ("red", "rows")) == "def handle_red_rows(rows):"
    assert neutral("/* Sum. */\nint sum_red_rows(int n) {", ("red", "rows")) == "int handle_red_rows(int n) {"


def test_demonstrations_differ_from_their_uninformed_form_by_the_order_of_outputs_alone():
    drawn = Demonstrations().draw(3, 2)
    assert {query.task for query in drawn.fit} == set(TASKS)
    for query in drawn.fit:
        assert query.prompt.endswith("\n" + query.neutral)
        told, shuffled = (text.splitlines() for text in (query.prompt, query.uninformed))
        assert [line.split("#")[0] for line in told] == [line.split("#")[0] for line in shuffled]
        assert sorted(line.split("#")[1] for line in told) == sorted(line.split("#")[1] for line in shuffled)
    assert Demonstrations().done(drawn.fit, [query.answer for query in drawn.fit]) == [True] * len(drawn.fit)


@pytest.mark.parametrize("source", ["testbed", "demonstrations", "aliasing,pointers"])
def test_no_group_is_both_fitted_on_and_held_out_and_none_is_held_out_twice(source):
    drawn = source_of(source.split(",")).draw(3, 2)
    fitted = {query.group for query in drawn.fit}
    for queries in drawn.held.values():
        groups = [query.group for query in queries]
        assert len(groups) == len(set(groups)) > 0
        assert not fitted & set(groups)


def test_on_the_testbed_heads_tell_the_family_in_a_wording_that_no_document_has():
    model = load("testbed")
    source = source_of("testbed")
    source.tasks = ("total", "mean", "occurrences", "position_of", "last_n")
    drawn = source.draw(8, 6)
    kept = Drawn(
        tuple(query for query in drawn.fit if query.task in source.tasks),
        {kind: tuple(q for q in queries if q.task in source.tasks) for kind, queries in drawn.held.items()},
    )
    source.draw = lambda n_fit, n_held, seed=0: kept  # pyright: ignore[reportAttributeAccessIssue]
    vectors = task_vectors(model, source, n_fit=8, n_trials=2)
    told = {(one.held, one.method): one.accuracy for one in identification(model, vectors, kept)}
    assert told["other words and wording", OURS].low > 2 / len(source.tasks)
    done = {one.condition: one.rate.value for one in causal_check(model, vectors, source, kept.held["other words"])}
    assert done[OWN] > done[RANDOM]
    # The neutral prompts do not tell it: the accuracy above is not their parameters' alone.
    asked = [query for query in kept.held["other words"] if query.task in ("total", "mean", "occurrences")]
    named = vectors.readout.predict(vectors.read(model, [query.neutral for query in asked]))
    n_right = sum(name == query.task for name, query in zip(named, asked, strict=True))
    assert n_right / len(asked) < told["other words", OURS].value - 0.2


def test_saved_and_read_again_they_say_the_same_and_refuse_another_model(tiny, tmp_path):
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1)
    replace(vectors, metrics={"n": 1}).save(tmp_path / "v", model=tiny)
    again = TaskVectors.load(tmp_path / "v", model=tiny)
    assert again.tasks == vectors.tasks
    assert again.metrics == {"n": 1}
    assert torch.equal(again.vectors, vectors.vectors)
    (first,), (second,) = (one.identify(tiny, [PROMPT]) for one in (vectors, again))
    assert first == second
    assert sum(first.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="was fitted on"):
        TaskVectors.load(tmp_path / "v", model=make_model("gpt2"))
    assert TaskVectors.load(tmp_path / "v", model=make_model("gpt2"), force=True).tasks == vectors.tasks


def test_pictures_show_heads_and_rates(tiny):
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1)
    drawn = TwoTasks().draw(4, 2)
    done = causal_check(tiny, vectors, TwoTasks(), drawn.held["others"])
    axes = plot_heads(vectors)
    assert axes.get_ylabel() == "layer"
    plt.close("all")
    assert [label.get_text() for label in plot_done(done).get_yticklabels()] == [one.condition for one in done]
    plt.close("all")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("poems", "unknown source of tasks 'poems'"),
        ("aliasing", "nothing to tell apart"),
        (["aliasing", "poems"], "unknown task 'poems'"),
        (["aliasing", "aliasing"], "named twice"),
    ],
)
def test_a_wrong_choice_of_tasks_is_one_sentence(given, message):
    with pytest.raises(InputError, match=message):
        source_of(given)


@pytest.mark.parametrize(
    ("how", "message"), [({"n_fit": 1}, "n_fit is 1"), ({"n_trials": 9}, "use 1 to 4"), ({"n_heads": 99}, "n_heads is")]
)
def test_a_number_out_of_range_is_one_sentence(tiny, how, message):
    with pytest.raises(InputError, match=message):
        task_vectors(tiny, TwoTasks(), **{"n_fit": 4, "n_trials": 1, **how})
    with pytest.raises(InputError, match="unknown task 'sing'"):
        task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1).vector("sing")


def test_heads_that_leave_no_others_to_compare_with_are_refused_before_the_fit(tiny, monkeypatch):
    half = len(head_sites(tiny)) // 2
    vectors = task_vectors(tiny, TwoTasks(), n_fit=4, n_trials=1, n_heads=half + 1)
    with pytest.raises(InputError, match=f"use n_heads of {half} or less"):
        identification(tiny, vectors, TwoTasks().draw(4, 2))
    monkeypatch.setattr("attribution.function_vectors.job.task_vectors", None)  # not reached
    with pytest.raises(InputError, match=f"n_heads is {half + 1}; use {half} or less"):
        measure_tasks(tiny, TwoTasks(), n_fit=4, n_trials=1, n_heads=half + 1)
