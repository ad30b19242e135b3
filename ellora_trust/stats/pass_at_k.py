"""pass@k: how likely is it that one of k samples is right?

pass_at_k(samples=20, correct=3, k=5)                     # 0.601
"""

from __future__ import annotations

from math import comb

from ellora_trust.errors import InputError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Probability in [0, 1] that one of k samples, drawn without replacement, is correct.

    Args:
        samples: How many there are, n.
        correct: How many of them are correct, 0..n.
        k: How many are drawn, 1..n.

    Raises:
        InputError: A count is out of range.

    Source: Chen et al. 2021, arXiv:2107.03374, equation 1: 1 - C(n - c, k) / C(n, k), here in exact integers, which
    neither overflow nor cancel.
    """
    if not 1 <= k <= samples:
        raise InputError(f"k={k} is out of range for {samples} samples; use 1..{samples}, or draw more samples")
    if not 0 <= correct <= samples:
        raise InputError(f"{correct} correct of {samples} samples is impossible; counts are 0..{samples}")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
