"""pass@k against counting subsets, and sampling against a run that answers from a list."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ellora_trust.runs
from ellora_trust.decoding import Decoding, Generation
from ellora_trust.errors import InputError
from ellora_trust.positions import Passage
from ellora_trust.store import Activations
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.synthesis.pass_at_k import Samples, pass_at_k, pass_at_k_each, sample

RIGHT, WRONG, FLAKY = Outcome.CORRECT, Outcome.WRONG, Outcome.FLAKY


def by_subsets(c: int, n: int, k: int) -> float:
    """The share of subsets of k samples that hold a right one."""
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    return sum(any(subset) for subset in subsets) / len(subsets)


def samples(outcomes: Sequence[Sequence[Outcome]], groups: Sequence[str]) -> Samples:
    examples = [Example(f"e{i}", group, "") for i, group in enumerate(groups)]
    return Samples("toy", examples, [[] for _ in examples], [list(row) for row in outcomes], temperature=0.8)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_estimator_is_the_share_of_subsets_with_a_right_sample(n: int) -> None:
    for k in range(1, n + 1):
        found = pass_at_k_each(range(n + 1), n, k)
        assert found == pytest.approx([by_subsets(c, n, k) for c in range(n + 1)], abs=1e-12)


def test_the_estimator_is_unbiased_where_the_plain_one_is_not() -> None:
    rng = np.random.default_rng(0)
    p, n, k = 0.3, 5, 3
    counts = rng.binomial(n, p, size=20_000)
    truth = 1 - (1 - p) ** k
    plain = float(np.mean(1 - (1 - counts / n) ** k))
    assert abs(pass_at_k(counts.tolist(), n, k) - truth) < 0.01
    assert plain < truth - 0.03


def test_pass_at_one_is_the_share_of_right_samples() -> None:
    assert pass_at_k([3, 0, 10], 10, 1) == pytest.approx(13 / 30)


def test_large_numbers_neither_overflow_nor_leave_the_range() -> None:
    found = pass_at_k_each([0, 1, 50_000, 100_000], 100_000, 100)
    assert found[0] == 0.0
    assert found[1] == pytest.approx(100 / 100_000)
    assert found[2] == pytest.approx(1.0)
    assert found[3] == 1.0


def test_each_problem_may_have_its_own_number_of_samples() -> None:
    assert pass_at_k_each([1, 1], [2, 4], 2) == pytest.approx([1.0, by_subsets(1, 4, 2)])


@pytest.mark.parametrize(
    ("correct", "n", "k", "message"),
    [
        ([1], 5, 6, r"k=6 is out of range for 5 samples; use 1\.\.5"),
        ([1], 5, 0, "k=0 is out of range"),
        ([6], 5, 1, "6 correct of 5 samples is impossible"),
        ([-1], 5, 1, "-1 correct of 5 samples is impossible"),
        ([1, 2], [5], 1, "2 counts for 1 problems"),
        ([], 5, 1, "at least one"),
    ],
)
def test_impossible_counts_are_refused(correct: list[int], n: int | list[int], k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pass_at_k_each(correct, n, k)


def test_the_interval_holds_the_value_and_counts_problems_and_groups() -> None:
    rows = [[RIGHT, WRONG], [WRONG, WRONG], [RIGHT, RIGHT], [WRONG, RIGHT]]
    found = samples(rows, ["a", "a", "b", "c"]).pass_at_k(1)
    assert found.value == pytest.approx(0.5)
    assert found.low <= found.value <= found.high
    assert (found.n, found.n_groups) == (4, 3)
    assert samples(rows, ["a", "a", "b", "c"]).pass_at_k(2).value == pytest.approx(0.75)


def test_variants_in_one_group_widen_the_interval() -> None:
    rows = [[RIGHT]] * 20 + [[WRONG]] * 20
    apart = samples(rows, [str(i) for i in range(40)]).pass_at_k(1)
    together = samples(rows, [str(i // 10) for i in range(40)]).pass_at_k(1)
    assert together.high - together.low > apart.high - apart.low > 0


def test_undecided_samples_do_not_count() -> None:
    drawn = samples([[RIGHT, FLAKY, WRONG], [FLAKY, FLAKY, RIGHT], [WRONG, WRONG, WRONG]], ["a", "b", "c"])
    assert (drawn.correct, drawn.decided) == ([1, 1, 0], [2, 1, 3])
    assert drawn.pass_at_k(1).value == pytest.approx((0.5 + 1 + 0) / 3)
    assert drawn.pass_at_k(2).n == 2
    with pytest.raises(InputError, match="k=4 needs 4 decided samples of a problem, and there are at most 3"):
        drawn.pass_at_k(4)


class Toy(Task):
    """The answer "yes" is right; counts what it decides."""

    name, header, stop, max_new_tokens = "toy", "H:", ("!",), 3
    n_decided = 0

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        return [Example(f"e{i}", f"g{i}", f"q{i}") for i in range(2 if limit is None else limit)]

    def decide(self, example: Example, completion: str) -> Outcome:
        self.n_decided += 1
        return RIGHT if completion == "yes" else WRONG

    def datasheet(self) -> str:
        return ""


def test_sampling_asks_each_question_n_times_and_decides_equal_answers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(model: object, passages: Sequence[Passage], *, decoding: Decoding, **rest: object) -> ellora_trust.runs.Run:
        asked.update(prompts=[passage.prompt for passage in passages], decoding=decoding)
        texts = ["yes", "no", "yes", "no", "no", "no"]
        return ellora_trust.runs.Run([Generation(t, [1], 1, [0.0], [0.0], "stop") for t in texts], Activations({}))

    monkeypatch.setattr(ellora_trust.runs, "run", run)
    task = Toy()
    model: Any = SimpleNamespace(name="none")
    drawn = sample(model, task, n=3, temperature=0.5, seed=7)
    assert asked["prompts"] == ["H:q0"] * 3 + ["H:q1"] * 3
    assert asked["decoding"] == Decoding(3, ("!",), 0.5, 7)
    assert drawn.outcomes == [[RIGHT, WRONG, RIGHT], [WRONG, WRONG, WRONG]]
    assert [[one.text for one in row] for row in drawn.generations] == [["yes", "no", "yes"], ["no", "no", "no"]]
    assert task.n_decided == 3
    assert drawn.pass_at_k(1).value == pytest.approx(1 / 3)
    assert drawn.prompt_format == "plain"


@pytest.mark.parametrize(
    ("n", "temperature", "limit", "message"),
    [
        (0, 0.8, None, "n=0 samples are no sample"),
        (2, 0.0, None, "temperature 0.0 gives 2 equal answers"),
        (2, 0.8, 0, "task 'toy' has no examples here"),
    ],
)
def test_sampling_that_cannot_work_is_refused(n: int, temperature: float, limit: int | None, message: str) -> None:
    model: Any = SimpleNamespace(name="none")
    with pytest.raises(InputError, match=message):
        sample(model, Toy(), n=n, temperature=temperature, limit=limit)
