"""Two ways of doing one thing, timed in turn in one run: ratios that a slowing machine does not bend.

taken = paired(first, second, rounds=15)         # (rounds, 2 ways, 2 clocks): wall and processor seconds
median, low, high = interval(taken[:, 0, 0] / taken[:, 1, 0])
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Work = Callable[[], Any]


def paired(first: Work, second: Work, rounds: int) -> np.ndarray:
    """Return seconds of each round, (rounds, 2, 2): of both ways, by wall clock and of the processor.

    Both change places within a round, and rounds change which comes first; one more round before warms up.
    """
    found = []
    for round_ in range(rounds + 1):
        order = [0, 1, 1, 0] if round_ % 2 else [1, 0, 0, 1]
        taken = np.zeros((2, 2))
        for which in order:
            taken[which] += seconds((first, second)[which])
        if round_:
            found.append(taken)
    return np.array(found)


def interval(ratios: np.ndarray, n_resamples: int = 2000) -> tuple[float, float, float]:
    """Median with a 95 % bootstrap interval over rounds."""
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(ratios, (n_resamples, len(ratios))), 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def seconds(work: Work) -> tuple[float, float]:
    """Wall-clock and processor seconds of one run."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def cell(values: tuple[float, float, float], digits: int = 3) -> str:
    """Return a ratio with its interval as text."""
    value, low, high = values
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
