"""Exact logistic regression at every layer, position and strength, against a loop over scikit-learn.

Ours fits all strengths of a (layer, position) at once; scikit-learn fits one after the other, on the same standardised
features in float64, to `tol=1e-10`. Its default solver, L-BFGS, is the reference; its `newton-cholesky`, which suits
n > d, is timed too. The reference runs on a seeded draw of the (layer, position) pairs, at all strengths; ratios are
pair by pair, from one run. Both have `--threads` threads: with more than there are free processors, scikit-learn's many
small products wait for each other, and the ratio would say how busy the machine is.

The activations are made: their singular values fall as a power of their rank. The default, -1, is near what SmolLM2's
standardised residual stream has (between -1.0 and -1.2 at four sites, ranks 4 to 300). A flatter spectrum is easier for
L-BFGS: see `--decay 0.5`.

    python benchmarks/probe_fit.py [--layers 30] [--pairs 12] [--decay 1.0] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from probes.fitting.newton import fit_exact, standardised

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
POSITIONS = 4
SOLVERS = ("lbfgs", "newton-cholesky")


def activations(args: argparse.Namespace) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """Made activations, (n, d) float32, and labels, one pair at a time."""
    rotation = np.linalg.qr(np.random.default_rng(args.seed).normal(size=(args.d, args.d)))[0]
    for pair in range(args.layers * POSITIONS):
        rng = np.random.default_rng((args.seed, pair))
        x = (rng.normal(size=(args.n, args.d)) * np.arange(1, args.d + 1) ** -args.decay) @ rotation
        signal = x @ rng.normal(size=args.d)
        wrong = rng.random(args.n) < 1 / (1 + np.exp(-1.5 * signal / signal.std() + 0.5))
        yield torch.tensor(x, dtype=torch.float32), wrong.astype(int)


def ours(x: torch.Tensor, wrong: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds, and probabilities (n_strengths, n)."""
    began = time.perf_counter()
    fits = fit_exact(x[None], torch.as_tensor(wrong)[None], STRENGTHS)
    seconds = time.perf_counter() - began
    return seconds, fits.predict(x[None])[0, :, 0].numpy()


def reference(x: torch.Tensor, wrong: np.ndarray, solver: str) -> tuple[float, np.ndarray]:
    """Seconds, and probabilities (n_strengths, n)."""
    z = standardised(x)[0].numpy()
    began = time.perf_counter()
    fitted = [LogisticRegression(C=c, tol=1e-10, max_iter=100_000, solver=solver).fit(z, wrong) for c in STRENGTHS]
    seconds = time.perf_counter() - began
    return seconds, np.stack([one.predict_proba(z)[:, 1] for one in fitted])


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        compare(args)


def compare(args: argparse.Namespace) -> None:
    n_pairs = args.layers * POSITIONS
    timed = np.random.default_rng(args.seed).permutation(n_pairs)[: args.pairs]
    seconds: list[float] = []
    theirs: dict[str, dict[int, float]] = {solver: {} for solver in SOLVERS}
    worst: dict[str, float] = dict.fromkeys(SOLVERS, 0.0)
    for pair, (x, wrong) in enumerate(activations(args)):
        if pair == 0:
            ours(x, wrong)  # the first call loads libraries
        took, probabilities = ours(x, wrong)
        seconds.append(took)
        for solver in SOLVERS if pair in timed else ():
            theirs[solver][pair], expected = reference(x, wrong, solver)
            worst[solver] = max(worst[solver], float(np.abs(expected - probabilities).max()))
    report(args, seconds, theirs, worst)


def report(
    args: argparse.Namespace, seconds: list[float], theirs: dict[str, dict[int, float]], worst: dict[str, float]
) -> None:
    n_fits = len(seconds) * len(STRENGTHS)
    print(
        f"n = {args.n}, d = {args.d}, {args.layers} layers x {POSITIONS} positions x {len(STRENGTHS)} strengths "
        f"{STRENGTHS}, decay {args.decay}, seed {args.seed}, {args.threads} thread(s)"
    )
    print(f"ours: {n_fits} fits in {sum(seconds):.1f} s")
    for solver, times in theirs.items():
        ratios = [value / seconds[pair] for pair, value in times.items()]
        mean = sum(times.values()) / len(times)
        print(
            f"scikit-learn {solver}: {len(times) * len(STRENGTHS)} of these fits in {sum(times.values()):.1f} s, all "
            f"{n_fits} at that pace {mean * len(seconds):.1f} s; ÷ ours, median over {len(times)} pairs "
            f"{statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]; largest difference in "
            f"probability {worst[solver]:.1e}"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=12, help="(layer, position) pairs the reference is timed on")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--d", type=int, default=576)
    parser.add_argument("--decay", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
