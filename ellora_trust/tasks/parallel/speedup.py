"""speedup_n@k and efficiency_n@k: what k samples of a model may be expected to give.

    speedup_at_k([0.0, 1.2, 3.4], k=2)                        # expected best of two

Source: Nichols et al. 2024, arXiv:2401.12554, section 5.

Departures. Samples are ranked from the slowest to the fastest, which is what makes the sum the expected best of k;
ParEval's own script ranks them the other way round and so gives the expected worst. There, too, C(j-1, k-1) is 1
where j < k, which adds terms for k > 1 that belong to no subset; here it is 0. A sample that is wrong counts with
speed-up 0 among the N, where that script leaves it out, so that one right answer in a hundred is not rated like a
hundred. A speed-up is cut at the number of workers, beyond which it says more about the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from ellora_trust.errors import InputError


def speedup(serial: float, parallel: float | None, workers: int) -> float:
    """Ratio of two times, in [0, workers]; 0 for a sample without a time, which is one that is not correct.

    Args:
        serial: Seconds of the serial baseline, > 0.
        parallel: Seconds of the sample, measured in the same way.
        workers: Threads or processes the sample had.

    Raises:
        InputError: A time or the number of workers is not above 0.
    """
    if serial <= 0 or workers < 1 or (parallel is not None and parallel <= 0):
        raise InputError(f"times {serial} s and {parallel} s with {workers} workers; give numbers above 0")
    return 0.0 if parallel is None else min(serial / parallel, float(workers))


def speedup_at_k(speedups: Sequence[float], k: int) -> float:
    """Expected best speed-up of k samples, drawn without replacement.

    sum over j = 1..N of C(j-1, k-1) / C(N, k) * s_j, with s_1 the slowest.

    Args:
        speedups: Of all N samples, 0 for wrong ones.
        k: How many are drawn, 1..N.

    Raises:
        InputError: k is out of range.
    """
    _check(len(speedups), k)
    ranked = sorted(speedups)
    return sum(comb(index, k - 1) * value for index, value in enumerate(ranked)) / comb(len(ranked), k)


def efficiency_at_k(speedups: Sequence[float], k: int, workers: int) -> float:
    """Expected best efficiency of k samples, in [0, 1] for speed-ups that are cut at `workers`.

    Raises:
        InputError: k or `workers` is out of range.
    """
    if workers < 1:
        raise InputError(f"{workers} workers; give at least 1")
    return speedup_at_k(speedups, k) / workers


def _check(samples: int, k: int) -> None:
    if not 1 <= k <= samples:
        raise InputError(f"k is {k} with {samples} samples; use 1..{samples}, or draw more samples")
