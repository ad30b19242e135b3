"""How long a kernel takes, by this process's clock: the program's own word counts for nothing.

Two runs prepare the same input equally often and differ in how often they call the kernel, so that their difference
is kernel time alone: start-up, input and output cancel. A kernel that keeps its result for the next call, or that
answers and leaves early, would look faster than it is; it would still have to be right.

    with workshop.build(asked.prompt + body, asked.found, asked.model) as built:
        kernel_seconds(workshop, built, asked, workers=2)
"""

from __future__ import annotations

from ellora_trust.sandbox import Built
from ellora_trust.tasks.base import Outcome
from ellora_trust.tasks.parallel.drivers import Workshop
from ellora_trust.tasks.parallel.verdict import Asked, Cases, cases, compare, failure
from ellora_trust.tasks.parallel.wire import replies, request

# A run's wall time varies by some milliseconds here, so a difference of this many seconds is known to a few percent.
_ENOUGH = 0.2
_MOST_CALLS = 4096
_TRIES = 3


def kernel_seconds(workshop: Workshop, built: Built, asked: Asked, *, workers: int) -> float | None:
    """Return the seconds of one call on the problem's largest input, or None where a run failed or was wrong.

    The shortest of three runs counts on either side, for what else a machine does only ever adds.

    Args:
        workshop: Runs the kernel.
        built: The kernel.
        asked: What it is for.
        workers: Threads, ranks or, with both, ranks of two threads each.
    """
    calls = 16
    while True:
        difference = _difference(workshop, built, asked, workers=workers, calls=calls, tries=1)
        if difference is None:
            return None
        if difference >= _ENOUGH or calls >= _MOST_CALLS:
            break
        # Twice what seems to be needed, for the first look is rough.
        calls = min(_MOST_CALLS, max(2 * calls, round(2 * calls * _ENOUGH / max(difference, _ENOUGH / 16))))
    difference = _difference(workshop, built, asked, workers=workers, calls=calls, tries=_TRIES)
    # Faster than the clock can tell: the resolution stands for the time.
    return None if difference is None else max(difference, 1e-3) / (calls - 1)


def _difference(
    workshop: Workshop, built: Built, asked: Asked, *, workers: int, calls: int, tries: int
) -> float | None:
    short, long = [], []
    for _ in range(tries):
        for times, count in ((short, 1), (long, calls)):
            taken = _wall(workshop, built, asked, workers=workers, prepares=calls, calls=count)
            if taken is None:
                return None
            times.append(taken)
    return min(long) - min(short)


def _wall(workshop: Workshop, built: Built, asked: Asked, *, workers: int, prepares: int, calls: int) -> float | None:
    known = cases(asked.problem)
    largest = Cases(known.arguments[-1:], known.answers[-1:])
    given = request(asked.found, largest.arguments)
    run = workshop.run(built, asked.model, given.encode(prepares=prepares, calls=calls), workers=workers)
    if failure(run) is not None:
        return None
    ranks = replies(asked.found, given, run.replies["reply"], 1)
    verdict = compare(asked, largest, ranks, n_ranks=workers if asked.model == "mpi" else 1)
    return run.wall if verdict.outcome is Outcome.CORRECT else None
