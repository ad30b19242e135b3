"""What every task keeps, whoever adds one: its examples, its oracle, its datasheet."""

from __future__ import annotations

import json
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.tasks import Example, Outcome, Task, load_task, task_names

LIMIT, SMALLER = 12, 5
N_ABSURD = 2  # examples given an absurd answer: a task that compiles needs a second for each
ABSURD = ("\u2603 }{ \u2603", "")
SCALARS = (str, int, float, bool, type(None))
# Tasks that ask what a file holds.
FILES = {
    "jsonl": [
        *({"prompt": f"{n} + {n} =", "answer": str(2 * n), "group": f"g{n % 7}"} for n in range(12)),
        *({"prompt": f"Which is {n}?", "choices": ["no", str(n)], "answer": 1} for n in range(100, 104)),
    ],
}
# Their datasheets count the full set, which takes half a minute to compile.
SLOW_SHEETS = ("pointers", "races")
NAMES = sorted({*task_names(), *FILES})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for name, rows in FILES.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module", params=NAMES)
def task(request: pytest.FixtureRequest, folder: Path, monkeypatch_module: pytest.MonkeyPatch) -> Task:
    name = request.param
    return load_task(name, source=folder / f"{name}.jsonl" if name in FILES else None)


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory: pytest.TempPathFactory):
    # One cache for the module, so that what a task compiles is compiled once.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELLORA_TRUST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(autouse=True)
def own_cache(monkeypatch_module: pytest.MonkeyPatch) -> None:
    """Instead of one cache a test."""


@pytest.fixture(scope="module")
def examples(task: Task) -> list[Example]:
    return asked(task, LIMIT, 0)


def asked(task: Task, limit: int, seed: int) -> list[Example]:
    """Return examples, or skip where this machine lacks what the task needs."""
    try:
        return task.examples(limit=limit, seed=seed)
    except EnvironmentProblem as problem:
        pytest.skip(f"{task.name}: {problem}")


@cache
def again(name: str, source: Path | None) -> Task:
    return load_task(name, source=source)


def test_there_are_examples_and_each_has_its_own_id(task: Task, examples: list[Example]) -> None:
    assert 1 <= len(examples) <= LIMIT
    assert len({example.id for example in examples}) == len(examples)
    assert all(example.id.strip() == example.id != "" for example in examples)


def test_a_smaller_limit_gives_a_prefix(task: Task, examples: list[Example]) -> None:
    assert task.examples(limit=SMALLER, seed=0) == examples[:SMALLER]
    assert task.examples(limit=1, seed=0) == examples[:1]


def test_the_same_seed_gives_the_same_examples_to_another_object(
    request: pytest.FixtureRequest, task: Task, examples: list[Example], folder: Path
) -> None:
    name = request.node.callspec.params["task"]
    other = again(name, folder / f"{name}.jsonl" if name in FILES else None)
    assert other is not task
    assert other.examples(limit=LIMIT, seed=0) == examples


def test_every_example_has_a_group_and_a_prompt(examples: list[Example]) -> None:
    for example in examples:
        assert example.group.strip()
        assert example.prompt.strip()


def test_examples_of_a_group_are_neighbours_as_far_as_a_prefix_can_show(task: Task, examples: list[Example]) -> None:
    # Aliasing deals its templates in turn, so that every prefix is balanced; a group comes back there.
    if task.name == "aliasing":
        pairs = [example.meta["pair"] for example in examples]
        assert len(list(groupby(pairs))) == len(set(pairs))
    else:
        groups = [example.group for example in examples]
        assert len(list(groupby(groups))) == len(set(groups))


def test_meta_is_json_scalars(examples: list[Example]) -> None:
    for example in examples:
        assert json.loads(json.dumps(dict(example.meta), allow_nan=False)) == dict(example.meta)
        assert all(isinstance(name, str) and isinstance(value, SCALARS) for name, value in example.meta.items())


def test_the_reference_answer_is_correct(task: Task, examples: list[Example]) -> None:
    answered = [example for example in examples if example.answer is not None]
    if not answered:
        pytest.skip(f"{task.name}: only running decides")
    outcomes = task.decide_all(answered, [example.answer or "" for example in answered])
    assert set(outcomes) == {Outcome.CORRECT}


@pytest.mark.parametrize("text", ABSURD)
def test_an_absurd_answer_is_never_correct(task: Task, examples: list[Example], text: str) -> None:
    chosen = examples[:N_ABSURD]
    outcomes = task.decide_all(chosen, [text] * len(chosen))
    assert len(outcomes) == len(chosen)
    assert Outcome.CORRECT not in outcomes


def test_the_answer_is_not_in_the_stop_strings(task: Task, examples: list[Example]) -> None:
    assert all(stop for stop in task.stop)
    for example in examples:
        assert not [stop for stop in task.stop if stop in (example.answer or "").strip()]


def test_an_answer_has_a_length_limit(task: Task) -> None:
    assert 1 <= task.max_new_tokens <= 2048


def test_the_oracle_is_named_in_strings(task: Task, examples: list[Example]) -> None:
    assert all(isinstance(name, str) and value.strip() for name, value in task.oracle().items())


@pytest.mark.parametrize(
    "task",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_SHEETS else []) for name in NAMES],
    indirect=True,
)
def test_the_datasheet_says_what_matters(task: Task, examples: list[Example]) -> None:
    sheet = task.datasheet().lower()
    assert [word for word in ("asks", "size", "licence", "oracle", "limits") if word not in sheet] == []
