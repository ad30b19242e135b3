"""Inputs of the parallel problems and NumPy's answers to them; neither answers nor this code enter the sandbox.

recipe = RECIPES["dot"]
x, y = recipe.draw(Draw(numpy.random.default_rng(0), 1000))
recipe.answer(x, y)                                # [numpy.float64(...)]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = list[Any]

COO = np.dtype([("row", "<u8"), ("column", "<u8"), ("value", "<f8")])
_VECTOR = (7, 1_000, 100_000)
_MATRIX = (3, 20, 150)


@dataclass(frozen=True)
class Draw:
    """The random choices of one case.

    Attributes:
        rng: Of this case alone.
        n: Its size: length of a vector, side of a matrix.
        turn: Counts the cases of one size, so that a yes-or-no problem has both.
        plain: Whether people shall read it: small whole numbers.
    """

    rng: np.random.Generator
    n: int
    turn: int = 0
    plain: bool = False

    def reals(self, *shape: int, low: float = -1.0, high: float = 1.0) -> NDArray[np.float64]:
        """Return numbers in [low, high); whole ones in [10 low, 10 high) in a plain case."""
        if self.plain:
            return self.rng.integers(int(10 * low), int(10 * high), shape).astype(float)
        return self.rng.uniform(low, high, shape)

    def whole(self, *shape: int, low: int, high: int) -> NDArray[np.int32]:
        """Return whole numbers in [low, high)."""
        return self.rng.integers(low, min(high, low + 20) if self.plain else high, shape).astype(np.int32)

    def scalar(self) -> float:
        """Return a factor that is neither 0 nor 1."""
        return float(self.rng.integers(2, 5)) if self.plain else float(self.rng.uniform(1.5, 4.5))


@dataclass(frozen=True)
class Recipe:
    """How the cases of one problem are drawn and answered.

    Attributes:
        draw: Returns the arguments in order, with what outputs hold before the call.
        answer: Returns the outputs in order, from the arguments.
        sizes: Of the cases of a verdict, smallest first.
        tolerance: Relative, of the largest magnitude in the answer, where it is floating point; sums may be
            reordered, nothing else.
        shown: Size of an example in a comment.
    """

    draw: Callable[[Draw], Values]
    answer: Callable[..., Values]
    sizes: tuple[int, ...] = _VECTOR
    tolerance: float = 1e-9
    shown: int = 5


def _blank(*shape: int, kind: type = np.float64) -> NDArray[Any]:
    return np.zeros(shape, kind)  # what the prompts say: outputs have the right size and hold zeros


def _neighbours(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(grid, 1)
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]


def _sparse(draw: Draw) -> Values:
    n, count = draw.n, max(4, 3 * draw.n)
    entries = np.zeros(4 if draw.plain else count, COO)
    entries["row"] = draw.rng.integers(0, n, len(entries))
    entries["column"] = draw.rng.integers(0, n + 1, len(entries))
    entries["value"] = draw.reals(len(entries))
    return [draw.scalar(), entries, draw.reals(n + 1), draw.scalar(), draw.reals(n), n, n + 1]


def _spmv(*given: Any) -> Values:
    alpha, a, x, beta, y, rows, _ = given
    products = np.bincount(a["row"].astype(int), a["value"] * x[a["column"].astype(int)], minlength=rows)
    return [alpha * products + beta * y]


_ESCAPE_LIMIT = 60


def _escape(real: NDArray[np.float64], imaginary: NDArray[np.float64], limit: int) -> NDArray[np.int32]:
    point = real + 1j * imaginary
    z, counts = np.zeros_like(point), np.zeros(len(point), np.int32)
    inside = np.ones(len(point), bool)
    for _ in range(limit):
        z[inside] = z[inside] ** 2 + point[inside]
        inside &= z.real**2 + z.imag**2 <= 4
        counts[inside] += 1
    return counts


def _points(draw: Draw) -> Values:
    limit = 10 if draw.plain else _ESCAPE_LIMIT
    real, imaginary = draw.rng.uniform(-2, 0.6, 2 * draw.n + 20), draw.rng.uniform(-1.2, 1.2, 2 * draw.n + 20)
    if draw.plain:
        real, imaginary = np.round(real, 1), np.round(imaginary, 1)
    # Near the edge the last bit decides, and another order of operations may give another last bit.
    steady = np.ones(len(real), bool)
    for shift in (1e-7, -1e-7):
        steady &= _escape(real, imaginary, limit) == _escape(real + shift, imaginary - shift, limit)
    return [real[steady][: draw.n], imaginary[steady][: draw.n], _blank(draw.n, kind=np.int32), limit]


def _primes(numbers: NDArray[np.int32]) -> int:
    top = int(numbers.max()) + 1
    sieve = np.ones(max(top, 2), bool)
    sieve[:2] = False
    for factor in range(2, int(top**0.5) + 1):
        sieve[factor * factor :: factor] = False
    return int(sieve[numbers].sum())


def _needle(draw: Draw) -> Values:
    # Some ten times if at all, so that every thread finds it.
    numbers = draw.whole(draw.n, low=0, high=max(20, draw.n // 10))
    return [numbers, int(draw.rng.choice(numbers)) if draw.turn % 2 == 0 else draw.n + 20]


def _edges(draw: Draw) -> Values:
    upper = np.triu(draw.rng.random((draw.n, draw.n)) < 0.3, 1)
    return [(upper | upper.T).astype(np.int32).ravel(), draw.n]


def _extremes(draw: Draw) -> Values:
    # Few values, so that the largest occurs more than once and "the first" matters.
    return [draw.whole(draw.n, low=0, high=max(3, draw.n // 2)).astype(float)]


def _signed(draw: Draw) -> Values:
    numbers = draw.reals(draw.n)
    numbers[0] = -1 - abs(numbers[0])  # an example without a negative number would show nothing
    return [numbers]


def _product(draw: Draw) -> Values:
    m, k, n = draw.n - 1, draw.n, draw.n + 1
    return [draw.reals(m * k), draw.reals(k * n), _blank(m * n), m, k, n]


RECIPES = {
    "axpy": Recipe(
        lambda d: [d.scalar(), d.reals(d.n), d.reals(d.n), _blank(d.n)], lambda a, x, y, z: [a * x + y], tolerance=1e-12
    ),
    "dot": Recipe(lambda d: [d.reals(d.n), d.reals(d.n, low=0.0)], lambda x, y: [x @ y]),
    "gemv": Recipe(
        lambda d: [d.reals(d.n * (d.n + 1)), d.reals(d.n + 1), _blank(d.n), d.n, d.n + 1],
        lambda a, x, y, m, n: [a.reshape(m, n) @ x],
        sizes=_MATRIX,
        shown=2,
    ),
    "gemm": Recipe(
        _product,
        lambda a, b, c, m, k, n: [(a.reshape(m, k) @ b.reshape(k, n)).ravel()],
        sizes=(3, 20, 100),
        shown=3,
    ),
    "transpose": Recipe(
        lambda d: [d.reals(d.n * (d.n + 1)), _blank(d.n * (d.n + 1)), d.n, d.n + 1],
        lambda a, b, m, n: [a.reshape(m, n).T.ravel()],
        sizes=_MATRIX,
        tolerance=0.0,
        shown=2,
    ),
    "prefix_sum": Recipe(lambda d: [d.reals(d.n, low=0.0), _blank(d.n)], lambda x, out: [np.cumsum(x)]),
    "sum": Recipe(lambda d: [d.whole(d.n, low=-9, high=1000)], lambda x: [int(x.sum(dtype=np.int64))]),
    "average": Recipe(lambda d: [d.reals(d.n, low=0.0)], lambda x: [x.mean()]),
    "sum_of_min": Recipe(
        lambda d: [d.reals(d.n, low=0.0), d.reals(d.n, low=0.0)], lambda x, y: [np.minimum(x, y).sum()]
    ),
    "argmax": Recipe(_extremes, lambda x: [int(np.argmax(x))]),
    "histogram": Recipe(
        lambda d: [d.whole(d.n, low=0, high=100).astype(float) * (5 if d.plain else 1), _blank(10, kind=np.uint64)],
        lambda x, bins: [np.bincount((x // 10).astype(int), minlength=10).astype(np.uint64)],
        shown=6,
    ),
    "jacobi_1d": Recipe(
        lambda d: [3 * d.reals(d.n), _blank(d.n)],
        lambda x, out: [np.convolve(x, np.ones(3), "same") / 3],
        tolerance=1e-12,
    ),
    "jacobi_2d": Recipe(
        lambda d: [5 * d.reals(d.n * d.n), _blank(d.n * d.n), d.n],
        lambda x, out, n: [((_neighbours(x.reshape(n, n)) + x.reshape(n, n)) / 5).ravel()],
        sizes=_MATRIX,
        tolerance=1e-12,
        shown=2,
    ),
    "relu": Recipe(_signed, lambda x: [np.maximum(x, 0)], tolerance=0.0),
    "sort": Recipe(lambda d: [d.whole(d.n, low=0, high=5_000)], lambda x: [np.sort(x)], sizes=(7, 300, 4_000)),
    "escape": Recipe(_points, lambda re, im, out, limit: [_escape(re, im, limit)], sizes=(7, 500, 20_000), shown=3),
    "spmv": Recipe(_sparse, _spmv, sizes=(7, 1_000, 30_000), shown=2),
    "primes": Recipe(lambda d: [d.whole(d.n, low=1, high=2_000)], lambda x: [_primes(x)]),
    "contains": Recipe(_needle, lambda x, target: [bool((x == target).any())]),
    "edges": Recipe(_edges, lambda a, n: [int(a.sum()) // 2], sizes=(3, 30, 300), shown=3),
}
