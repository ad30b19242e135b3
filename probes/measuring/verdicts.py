"""Verdicts and groups of the rows that something is fitted on, checked.

y, groups = checked_labels(candidates, wrong, groups)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ellora_trust.errors import InputError
from probes.fitting.selection import Candidates


def checked_labels(candidates: Candidates, wrong: ArrayLike, groups: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (n,) int and groups (n,), or refuse.

    Raises:
        InputError: No groups, other lengths, or one class only.
    """
    if groups is None:
        raise InputError(
            "fit needs groups=, one problem id a row (near-duplicates share one): without them near-duplicates leak "
            "between folds and every score is too good"
        )
    y, g = np.asarray(wrong).astype(int), np.asarray(groups)
    n = candidates.x.shape[1]
    if len(y) != n or len(g) != n:
        raise InputError(f"{n} feature rows, {len(y)} labels and {len(g)} groups were given; give one each")
    if not set(np.unique(y)) <= {0, 1}:
        raise InputError(f"labels are {sorted(set(y.tolist()))[:5]}; use 0 (right) and 1 (wrong)")
    if len(np.unique(y)) < 2:
        which = "wrong" if len(y) and y[0] else "right"
        raise InputError(f"all {n} answers are {which}; a predictor needs both: use another task or more examples")
    return y, g
