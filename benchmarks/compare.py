"""Does a comparison keep its word: nothing found where nothing was done, and a known damage found as often as promised?

    python -m benchmarks.compare            # prints the tables of docs/compare.md

A/A: the testbed answers the same questions several times at temperature 0.8. In each repetition every item draws which
two of its answers count as before and after, so that nothing but chance differs. Damage: items that were right turn
wrong at random, 3 percentage points of all items in the mean, on top of no or of the A/A's own changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ellora_trust.evaluation.asking.answers import Asking, answer_all
from ellora_trust.evaluation.asking.cache import ItemCache, state_of
from ellora_trust.evaluation.asking.suite import Asked, Suite
from ellora_trust.evaluation.judging.judge import Question
from ellora_trust.evaluation.judging.paired import difference_interval, group_exchange_p, predicted_power
from ellora_trust.loading import load
from ellora_trust.stats import Estimate, holm, tost_paired, wilson

TASKS = ("testbed:near_miss", "testbed:unrelated", "testbed:types")
TEMPERATURE = 0.8
DAMAGE = 0.03
MARGIN, LEVEL = 0.02, 0.05
Draw = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tested:
    """What a comparison says of one task; see `ellora_trust.evaluation.judging.paired.Paired`."""

    fixed: float
    broken: float
    p_value: float
    difference: Estimate
    unharmed: bool


def tested(before: np.ndarray, after: np.ndarray) -> Tested:
    """Test single items as `pair` does, with fewer resamples and without what costs time here."""
    d, groups = after - before, np.arange(len(after))
    return Tested(
        float((d > 0).mean()),
        float((d < 0).mean()),
        group_exchange_p(d, groups),
        difference_interval(d, groups, n_resamples=600),
        tost_paired(d, MARGIN, groups, alpha=LEVEL).equivalent,
    )


def outcomes(n: int, draws: int) -> dict[str, np.ndarray]:
    """Return whether each drawn answer is right, task to (draws, n)."""
    model = load("testbed")
    cache = ItemCache(state_of(model))
    found = {}
    for name in TASKS:
        question = Question.ask("collateral", Asked.parse(name), Suite("", (Asked.parse(name),), limit=n))
        rows = [
            answer_all(model, question.task, question.examples, cache=cache, asking=Asking(TEMPERATURE, seed))
            for seed in range(draws)
        ]
        found[name] = np.array([[one.right for one in row] for row in rows], dtype=int)
        print(f"{name}: {len(question.examples)} items, right {found[name].mean(1).round(3).tolist()}", file=sys.stderr)
    return found


def same(right: np.ndarray, n: int, rng: np.random.Generator) -> Draw:
    """Draw n items, and for each which two of its answers count as before and after."""
    items = rng.choice(right.shape[1], n, replace=False)
    order = rng.permuted(np.tile(np.arange(len(right)), (n, 1)), axis=1)
    return right[order[:, 0], items], right[order[:, 1], items]


def a_a(found: dict[str, np.ndarray], repetitions: int, n: int) -> list[list[str]]:
    """Return how often something is found where nothing was done."""
    rng = np.random.default_rng(0)
    families = [[tested(*same(right, n, rng)) for right in found.values()] for _ in range(repetitions)]
    every = [one for family in families for one in family]
    changed = float(np.mean([one.fixed + one.broken for one in every]))
    rows = [
        ["a change in any of the tasks (Holm)", _share([_any_found(one) for one in families]), "at most 5 %"],
        ["a change in one task, unadjusted", _share([one.p_value < LEVEL for one in every]), "at most 5 %"],
        ["0 outside the interval of the change", _share([_misses(one.difference, 0.0) for one in every]), "5 %"],
    ]
    print(f"A/A: {repetitions} repetitions, {n} items of each of {len(found)} tasks, {changed:.1%} of them change")
    return rows


def _any_found(family: list[Tested]) -> bool:
    return bool((holm([one.p_value for one in family]) < LEVEL).any())


def power(right: np.ndarray, repetitions: int, *, noisy: bool) -> list[list[str]]:
    """Return how often a damage of 3 points is found, beside what was predicted."""
    rng = np.random.default_rng(1)
    background = _background(right) if noisy else 0.0
    rows = []
    for n in (150, 300, 500):
        results = [tested(*_damaged(right, n, rng, noisy=noisy)) for _ in range(repetitions)]
        # Damage also meets items that chance would have changed: the drawn shares, not the planned ones, are predicted.
        fixed, broken = (float(np.mean([getattr(one, way) for one in results])) for way in ("fixed", "broken"))
        rows.append(
            [
                str(n),
                f"{background:.1%}",
                _share([one.p_value < LEVEL for one in results]),
                f"{predicted_power(n, fixed, broken, LEVEL):.1%}",
                _share([not _misses(one.difference, -DAMAGE) for one in results]),
                _share([one.unharmed for one in results]),
            ]
        )
    return rows


def at_the_margin(right: np.ndarray, repetitions: int, *, noisy: bool) -> list[list[str]]:
    """Return how often a damage of exactly the margin, and none, is called unharmed, beside a plain t test."""
    rng = np.random.default_rng(2)
    rows = []
    for n in (150, 300, 500, 2000):
        damaged, whole = (
            [np.subtract(*_damaged(right, n, rng, noisy=noisy, damage=one)[::-1]) for _ in range(repetitions)]
            for one in (MARGIN, 0.0)
        )
        exact = [[tost_paired(d, MARGIN, np.arange(n), alpha=LEVEL).equivalent for d in ds] for ds in (damaged, whole)]
        plain = [by_t_tests(d) for d in damaged]
        churn = _background(right) if noisy else 0.0
        rows.append([str(n), f"{churn:.1%}", _share(plain), _share(exact[0]), _share(exact[1])])
    return rows


def by_t_tests(d: np.ndarray) -> bool:
    """What two one-sided t tests say, which the library used before."""
    error = d.std(ddof=1) / np.sqrt(len(d))
    if error == 0:  # then it used the chance of having drawn none of the items that turn
        return bool((1 - MARGIN + abs(d.mean())) ** len(d) < LEVEL)
    return bool(t.sf((MARGIN - abs(d.mean())) / error, len(d) - 1) < LEVEL)


def _damaged(right: np.ndarray, n: int, rng: np.random.Generator, *, noisy: bool, damage: float = DAMAGE) -> Draw:
    items = rng.choice(right.shape[1], n)
    first, second = rng.permuted(np.tile(np.arange(len(right)), (n, 1)), axis=1)[:, :2].T
    before = right[first, items]
    after = right[second, items] if noisy else before.copy()
    hit = (after == 1) & (rng.random(n) < damage / right.mean())
    return before, np.where(hit, 0, after)


def _background(right: np.ndarray) -> float:
    """Share of items that two draws answer differently."""
    pairs = [(a, b) for a in range(len(right)) for b in range(a)]
    return float(np.mean([right[a] != right[b] for a, b in pairs]))


def _misses(interval: Estimate, truth: float) -> bool:
    return not interval.low <= truth <= interval.high


def _share(hits: list[bool]) -> str:
    return f"{wilson(sum(hits), len(hits)):.1%}"


def print_rows(head: tuple[str, ...], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200, help="of each task")
    parser.add_argument("--draws", type=int, default=4, help="answers to each item")
    parser.add_argument("--repetitions", type=int, default=200)
    given = parser.parse_args()
    found = outcomes(given.items, given.draws)
    print_rows(("found", "share [95 %]", "promised"), a_a(found, given.repetitions, int(0.75 * given.items)))
    head = ("items", "change by chance", "damage found [95 %]", "predicted", "interval holds -3 pp", "called unharmed")
    mixed = np.concatenate(list(found.values()), 1)
    runs: list[Callable[[], list[list[str]]]] = [
        lambda: power(mixed, given.repetitions, noisy=False),
        lambda: power(mixed, given.repetitions, noisy=True),
    ]
    print(f"\nA damage of {DAMAGE:.0%}, margin {MARGIN:.0%}, {given.repetitions} repetitions each")
    print_rows(head, [row for one in runs for row in one()])
    head = ("items", "change by chance", "by t tests", "called unharmed [95 %]", "no damage: called unharmed")
    print(f"\nA damage of exactly the margin, {MARGIN:.0%}, must be called unharmed in at most 5 %")
    print_rows(head, [row for way in (False, True) for row in at_the_margin(mixed, 2 * given.repetitions, noisy=way)])


if __name__ == "__main__":
    main()
