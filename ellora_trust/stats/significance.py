"""Is it more than chance: label permutation by group, McNemar's exact test, Holm's correction.

permutation_test(lambda y: auroc(y, risk), is_wrong, problem).p_value
mcnemar(before_correct, after_correct).p_value
holm([0.01, 0.04, 0.03])                       # adjusted p-values, same order
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from ellora_trust.errors import InputError
from ellora_trust.stats.discrimination import FloatArray, Groups, group_index


@dataclass(frozen=True)
class PermutationResult:
    """A statistic against its distribution under exchanged labels.

    Attributes:
        value: The statistic on the labels as given, in its own unit.
        p_value: (1 + permutations with a statistic >= value) / (1 + permutations), (0, 1]; one-sided.
        null_mean: Mean over the permutations: the baseline.
        null_sd: Standard deviation over the permutations.
        n_permutations: Permutations drawn.
        n: Rows.
        n_groups: Groups.
    """

    value: float
    p_value: float
    null_mean: float
    null_sd: float
    n_permutations: int
    n: int
    n_groups: int


@dataclass(frozen=True)
class McNemarResult:
    """Exact McNemar test of two systems on the same examples.

    Attributes:
        p_value: Two-sided, (0, 1].
        difference: Share of correct answers of a minus that of b, [-1, 1].
        only_a: Examples that only a got right.
        only_b: Examples that only b got right.
        n: Examples.
    """

    p_value: float
    difference: float
    only_a: int
    only_b: int
    n: int


def permute_by_group(labels: ArrayLike, groups: Groups, rng: np.random.Generator) -> NDArray:
    """Exchange labels between groups and keep each group's block of labels together.

    Every group gets the label vector (in row order) of a group of the same size, by a random permutation of
    the groups of that size. Groups whose size no other group has are
    laid end to end in random order, and their labels dealt out again to the same groups in another random order.
    So the null keeps the number of labels, and nearly how unevenly they are spread over groups.

    Args:
        labels: Any values, (n,).
        groups: Group of each row, (n,).
        rng: Source of randomness.

    Returns:
        The permuted labels, (n,); the input is left as it was.

    Raises:
        InputError: `groups` has another length than `labels`.

    Source: restricted permutation of whole exchangeable blocks; Winkler et al. 2015,
        doi:10.1016/j.neuroimage.2015.05.092. What is done with groups of unique size is ours.
    """
    y = np.asarray(labels)
    index = group_index(groups, len(y))
    sizes = np.bincount(index, minlength=1)
    order = np.argsort(index, kind="stable")
    start = np.cumsum(sizes) - sizes
    permuted = y.copy()
    alone: list[NDArray] = []
    for size in np.unique(sizes[sizes > 0]):
        members = np.flatnonzero(sizes == size)
        rows = order[start[members][:, None] + np.arange(size)]
        if len(members) > 1:
            permuted[rows] = y[rng.permutation(rows)]
        else:
            alone.append(rows[0])
    if alone:
        given, taken = (np.concatenate([alone[i] for i in rng.permutation(len(alone))]) for _ in range(2))
        permuted[taken] = y[given if len(alone) > 1 else rng.permutation(given)]
    return permuted


def permutation_test(
    statistic_of_labels: Callable[[NDArray], float],
    labels: ArrayLike,
    groups: Groups,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
) -> PermutationResult:
    """Compare a statistic with its distribution when labels are exchanged by `permute_by_group`.

    To test a probe as fitted, let `statistic_of_labels` score; to test the whole procedure, let it fit too.

    Args:
        statistic_of_labels: Labels, (n,), to a number; larger is more extreme.
        labels: Labels as observed, (n,).
        groups: Group of each row, (n,).
        n_permutations: Permutations, >= 1.
        seed: Seed of the permutations.

    Raises:
        InputError: The statistic is nan, no permutation moves a label, or sizes differ.

    Source: Phipson & Smyth 2010, arXiv:1603.05766 (the p-value is never 0).
    """
    if n_permutations < 1:
        raise InputError(f"n_permutations={n_permutations} must be at least 1; 1000 resolves p-values down to 0.001")
    y, rng = np.asarray(labels), np.random.default_rng(seed)
    value = float(statistic_of_labels(y))
    null, moved = np.empty(n_permutations), False
    for draw in range(n_permutations):
        permuted = permute_by_group(y, groups, rng)
        moved = moved or not np.array_equal(permuted, y)
        null[draw] = statistic_of_labels(permuted)
    if np.isnan(value) or np.isnan(null).any():
        raise InputError("the statistic is nan on these labels or on permuted ones; it needs both classes")
    if not moved:
        raise InputError(
            "no permutation moves a label: all labels are the same, or each group has its own; give both classes"
        )
    # Sums in another order differ in the last bits; a tie must count as a tie.
    reached = null >= value - 1e-12 * max(1.0, abs(value))
    p_value = (1 + int(reached.sum())) / (1 + n_permutations)
    n_groups = len(np.unique(group_index(groups, len(y))))
    return PermutationResult(value, p_value, float(null.mean()), float(null.std()), n_permutations, len(y), n_groups)


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> McNemarResult:
    """Exact two-sided McNemar test; examples are taken as independent (for groups use `paired_bootstrap`).

    Args:
        a_correct: Whether system a is right, booleans or 0/1, (n,).
        b_correct: The same for system b on the same examples, (n,).

    Raises:
        InputError: Shapes differ, are empty, or a value is not 0/1.

    Source: McNemar 1947, doi:10.1007/BF02295996, with the exact binomial distribution.
    """
    a, b = np.asarray(a_correct, dtype=np.float64), np.asarray(b_correct, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InputError(
            f"a_correct {a.shape} and b_correct {b.shape} must both be (n,) with n >= 1; pair the examples"
        )
    if not np.isin([a, b], (0, 1)).all():
        raise InputError("a_correct and b_correct hold values other than 0 and 1; pass booleans")
    only_a, only_b = int(np.sum(a > b)), int(np.sum(b > a))
    # Without a discordant pair there is nothing to test.
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemarResult(p_value, (only_a - only_b) / len(a), only_a, only_b, len(a))


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust p-values for a family of tests; rejecting those <= alpha keeps the family-wise error <= alpha.

    Args:
        p_values: Raw p-values, [0, 1], (n_tests,).

    Returns:
        Adjusted p-values, [0, 1], in the order given, (n_tests,).

    Raises:
        InputError: Not one-dimensional, or a value outside [0, 1].

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6:65.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise InputError(f"p_values {p.shape} must be (n_tests,) within [0, 1]; pass raw p-values")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
