"""Scores of many samples of many problems, one row for each execution model.

score_samples(workshop, asked, bodies, k=1)        # [ParallelScore(model="omp", k=1, workers=2, ...)]
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.stats.intervals import Estimate, group_bootstrap
from ellora_trust.stats.pass_at_k import pass_at_k
from ellora_trust.tasks.base import Outcome
from ellora_trust.tasks.parallel.drivers import MODELS, Workshop
from ellora_trust.tasks.parallel.problems import PROBLEMS
from ellora_trust.tasks.parallel.signature import signature
from ellora_trust.tasks.parallel.speedup import efficiency_at_k, speedup, speedup_at_k
from ellora_trust.tasks.parallel.timing import kernel_seconds
from ellora_trust.tasks.parallel.verdict import Asked, judge


@dataclass(frozen=True)
class ParallelScore:
    """What k samples of one execution model may be expected to give, as means over problems.

    Attributes:
        model: Execution model.
        k: Samples that count as one attempt.
        workers: Threads or ranks of a timed run, n.
        build: build@k, [0, 1].
        passed: pass@k, [0, 1].
        speedup: speedup_n@k, [0, n], over our own serial kernel timed in the same way; 1 would equal it.
        efficiency: efficiency_n@k, [0, 1].
        flaky: Samples whose verdicts differed; they count as not correct.
    """

    model: str
    k: int
    workers: int
    build: Estimate
    passed: Estimate
    speedup: Estimate
    efficiency: Estimate
    flaky: int


def score_samples(
    workshop: Workshop,
    asked: Sequence[Asked],
    bodies: Sequence[Sequence[str]],
    *,
    k: int,
    groups: Sequence[str],
) -> list[ParallelScore]:
    """Judge all samples on all processors, then time the correct ones one after another.

    Args:
        workshop: Builds and runs.
        asked: The questions.
        bodies: Bodies for each of them, at least k.
        k: Samples of one attempt.
        groups: Group of each question, for the intervals.

    Raises:
        InputError: A question has fewer than k bodies.
    """
    short = [one.problem for one, texts in zip(asked, bodies, strict=True) if len(texts) < k or k < 1]
    if short:
        raise InputError(f"k is {k} and {short[0]} has fewer samples; draw more, or use a smaller k of at least 1")
    pairs = [(one, body) for one, texts in zip(asked, bodies, strict=True) for body in texts]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        flat = iter(pool.map(lambda pair: judge(workshop, *pair).outcome, pairs))
        outcomes = [[next(flat) for _ in texts] for texts in bodies]
    found = []
    for model in MODELS:
        rows = [index for index, one in enumerate(asked) if one.model == model]
        if rows:
            timed = {index: _speedups(workshop, asked[index], bodies[index], outcomes[index]) for index in rows}
            found.append(_score(model, k, outcomes, timed, [groups[index] for index in rows]))
    return found


def workers_of(model: str) -> int:
    """Return the threads or ranks of a timed run: all processors, in pairs for both, 1 for a serial kernel."""
    available = max(2, os.cpu_count() or 2)
    if model == "mpi+omp":
        return available // 2 * 2
    return 1 if model == "serial" else available


def _speedups(workshop: Workshop, asked: Asked, bodies: Sequence[str], outcomes: Sequence[Outcome]) -> list[float]:
    """Return the speed-up of each body over the serial kernel; both are timed within this call."""
    workers = workers_of(asked.model)
    if Outcome.CORRECT not in outcomes:
        return [0.0] * len(bodies)
    problem = PROBLEMS[asked.problem]
    declares = f"{problem.declares}\n" if problem.declares else ""
    found = signature(f"{problem.signature} {{")
    assert found is not None
    baseline = Asked(f"{declares}{problem.signature} {{", "serial", problem.name, found)
    serial = _seconds(workshop, baseline, f"\n{problem.serial}\n}}", 1)
    assert serial is not None  # our own kernel is right
    values = []
    for body, outcome in zip(bodies, outcomes, strict=True):
        taken = _seconds(workshop, asked, body, workers) if outcome is Outcome.CORRECT else None
        values.append(speedup(serial, taken, workers))
    return values


def _seconds(workshop: Workshop, asked: Asked, body: str, workers: int) -> float | None:
    with workshop.build(asked.prompt + body, asked.found, asked.model) as built:
        return kernel_seconds(workshop, built, asked, workers=workers)


def _score(
    model: str, k: int, outcomes: list[list[Outcome]], timed: dict[int, list[float]], groups: list[str]
) -> ParallelScore:
    workers = workers_of(model)
    mine = [outcomes[index] for index in timed]
    built = [pass_at_k(len(one), sum(o is not Outcome.BUILD_ERROR for o in one), k) for one in mine]
    passed = [pass_at_k(len(one), one.count(Outcome.CORRECT), k) for one in mine]
    return ParallelScore(
        model,
        k,
        workers,
        _mean(built, groups),
        _mean(passed, groups),
        _mean([speedup_at_k(values, k) for values in timed.values()], groups),
        _mean([efficiency_at_k(values, k, workers) for values in timed.values()], groups),
        sum(one.count(Outcome.FLAKY) for one in mine),
    )


def _mean(values: list[float], groups: list[str]) -> Estimate:
    if len(set(groups)) < 2:
        value = float(np.mean(values))
        return Estimate(value, float("nan"), float("nan"), len(values), len(set(groups)), method="one problem")
    return group_bootstrap(lambda rows: float(np.mean(rows)), (values,), groups)
