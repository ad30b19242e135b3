"""Whether a generated kernel is right: built and run in the sandbox, compared outside it.

The program gets inputs and a nonce after its static constructors ran, and gives raw outputs back on a pipe of its own.
What it prints is ignored, and what is right it never sees, so nothing but right values passes.

    judge(workshop, Asked.of(prompt, "omp", PROBLEMS["dot"]), body)     # Verdict(outcome=Outcome.WRONG, detail="...")
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Built, Run, Status
from ellora_trust.sandbox.calls import Verdict
from ellora_trust.tasks.base import Outcome
from ellora_trust.tasks.parallel.cases import RECIPES, Draw, Values
from ellora_trust.tasks.parallel.construct import uses_model
from ellora_trust.tasks.parallel.drivers import Workshop
from ellora_trust.tasks.parallel.races import shows_race
from ellora_trust.tasks.parallel.signature import Signature, signature
from ellora_trust.tasks.parallel.wire import replies, request

WORKERS = 4  # more than most machines' idle cores, so that threads are cut off in the middle
_RANKS = 3  # divides none of the sizes
_TURNS = 2  # cases of each size


@dataclass(frozen=True)
class Asked:
    """What a body is for.

    Attributes:
        prompt: C++ up to the opening brace.
        model: Execution model.
        problem: Name of the recipe that decides.
        found: The signature with which the prompt ends.
    """

    prompt: str
    model: str
    problem: str
    found: Signature

    @classmethod
    def of(cls, prompt: str, model: str, problem: str) -> Asked:
        """Read the signature from the prompt.

        Raises:
            InputError: It ends with no signature that the drivers can call.
        """
        found = signature(prompt)
        if found is None:
            raise InputError(f"the prompt ends with {prompt[-80:]!r}; end it with a function's head and '{{'")
        return cls(prompt, model, problem, found)

    @property
    def everywhere(self) -> bool:
        """Whether every rank must have the result, or rank 0 alone."""
        return "on all ranks" in self.prompt


@dataclass(frozen=True)
class Runs:
    """One run of a program: how many threads or ranks it has, and how often it does each case."""

    workers: int
    rounds: int = 1


@dataclass(frozen=True)
class Cases:
    """Arguments and what NumPy says they should give."""

    arguments: list[Values]
    answers: list[Values]


@cache
def cases(problem: str) -> Cases:
    """Return the cases of a problem, from small to large; the same in every process."""
    recipe, made = RECIPES[problem], []
    for size in recipe.sizes:
        for turn in range(_TURNS):
            rng = np.random.default_rng([zlib.crc32(problem.encode()), size, turn])
            made.append(recipe.draw(Draw(rng, size, turn)))
    return Cases(made, [recipe.answer(*one) for one in made])


def judge(workshop: Workshop, asked: Asked, body: str) -> Verdict:
    """Decide a body, which includes its closing brace.

    A serial kernel runs twice, an OpenMP kernel with one thread and twice with four, an MPI kernel twice on three
    ranks, each time on six inputs of three sizes. Verdicts that differ make it flaky: what fails with several threads
    only is most often a race. So does a race that ThreadSanitizer reports of an OpenMP kernel with right values. A
    body without a parallel construct is wrong where one was asked for, however right its values.

    Raises:
        EnvironmentProblem: The toolchain is missing, or the machine cannot isolate.
    """
    with workshop.build(asked.prompt + body, asked.found, asked.model) as built:
        if not built.ok:
            return Verdict(Outcome.BUILD_ERROR, _first_error(built.compiler.stderr))
        if not uses_model(asked.prompt, body, asked.model):
            return Verdict(Outcome.WRONG, "no parallel construct")
        verdict = _repeated(workshop, built, asked)
    if verdict.outcome is Outcome.CORRECT and asked.model == "omp" and _races(workshop, asked, body):
        return Verdict(Outcome.FLAKY, "data race")
    return verdict


def _races(workshop: Workshop, asked: Asked, body: str) -> bool:
    small = cases(asked.problem).arguments[:-_TURNS]
    return shows_race(workshop, asked.prompt + body, asked.found, request(asked.found, small)) is True


def plan(model: str) -> tuple[Runs, ...]:
    """Return the runs of a verdict."""
    if "mpi" in model:
        return (Runs(_RANKS if model == "mpi" else WORKERS),) * 2
    # A race shows by chance, so each case runs several times; with one thread it cannot show.
    return (Runs(1), Runs(WORKERS, 5), Runs(WORKERS, 5)) if model == "omp" else (Runs(1), Runs(1))


def _repeated(workshop: Workshop, built: Built, asked: Asked) -> Verdict:
    first: Verdict | None = None
    for runs in plan(asked.model):
        verdict = _judged(workshop, built, asked, runs)
        if first is not None and verdict.outcome is not first.outcome:
            return Verdict(Outcome.FLAKY, f"{first.outcome} in one run, {verdict.outcome} in another")
        first = first or verdict
        if first.outcome is Outcome.TIMEOUT:  # once is long enough
            break
    assert first is not None
    return first


def _judged(workshop: Workshop, built: Built, asked: Asked, runs: Runs) -> Verdict:
    known, often = cases(asked.problem), runs.rounds
    given = request(asked.found, known.arguments)
    sent = given.encode(prepares=often, calls=often, collects=often)
    # Threads that wait actively would take the processors from those that work.
    run = workshop.run(built, asked.model, sent, workers=runs.workers, env={"OMP_WAIT_POLICY": "passive"})
    failed = failure(run)
    if failed is not None:
        return failed
    ranks = replies(asked.found, given, run.replies["reply"], often * len(known.arguments))
    repeated = Cases(known.arguments, [answer for answer in known.answers for _ in range(often)])
    return compare(asked, repeated, ranks, n_ranks=runs.workers if asked.model == "mpi" else 1)


def failure(run: Run) -> Verdict | None:
    """Return the verdict on a run that did not end by itself with success, else None."""
    if run.status is Status.TIMEOUT:
        return Verdict(Outcome.TIMEOUT, f"ran for {run.wall:.1f} s")
    if not run.ok:
        return Verdict(Outcome.CRASH, f"ended by {run.status}, exit code {run.exit_code}")
    return None


def compare(asked: Asked, known: Cases, ranks: dict[int, list[Values]] | None, *, n_ranks: int) -> Verdict:
    """Compare the outputs of every rank that must have them with the answers."""
    needed = range(n_ranks) if asked.everywhere else range(1)
    if ranks is None or not set(needed) <= set(ranks):
        return Verdict(Outcome.CRASH, "ended without a result")
    tolerance = RECIPES[asked.problem].tolerance
    for rank in needed:
        for index, (outputs, answers) in enumerate(zip(ranks[rank], known.answers, strict=True)):
            if not all(agrees(given, right, tolerance) for given, right in zip(outputs, answers, strict=True)):
                return Verdict(Outcome.WRONG, f"wrong values from call {index + 1} of {len(known.answers)}")
    return Verdict(Outcome.CORRECT)


def agrees(given: object, right: object, tolerance: float) -> bool:
    """Whether two outputs have one shape and equal values, up to rounding where they are floating point.

    Args:
        given: From the kernel.
        right: From NumPy.
        tolerance: Relative to the largest magnitude in `right`.
    """
    left, expected = np.atleast_1d(np.asarray(given)), np.atleast_1d(np.asarray(right))
    if left.shape != expected.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, expected))
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.all(np.abs(left - expected) <= tolerance * np.max(np.abs(expected))))


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line or "undefined" in line]
    return (lines or text.splitlines() or ["the compiler said nothing"])[0][:200]
