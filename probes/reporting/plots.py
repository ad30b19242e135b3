"""Figures of an evaluation for papers (matplotlib); nothing is computed here that the evaluation does not hold.

plot_roc(evaluation); plot_reliability(evaluation); plot_auroc_by_site(evaluation)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probes.reporting.curves import reliability, roc

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probes.measuring.result import Evaluation


def _axes(ax: Axes | None) -> Axes:
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots()[1]


def plot_roc(result: Evaluation, ax: Axes | None = None) -> Axes:
    """Draw the ROC of the probe, of the best baseline, and of both."""
    ax = _axes(ax)
    for name, scores in _named_scores(result):
        false, true = roc(np.array(result.scores.wrong), scores)
        ax.plot(false, true, label=name)
    ax.plot([0, 1], [0, 1], linestyle=":", color="grey")
    ax.set(xlabel="right answers flagged (share)", ylabel="wrong answers flagged (share)", title=result.task)
    ax.legend()
    return ax


def plot_reliability(result: Evaluation, ax: Axes | None = None) -> Axes:
    """Draw observed error rate against predicted risk, with Wilson intervals."""
    ax = _axes(ax)
    for name, risk in (("probe", result.scores.probe_risk), ("both", result.scores.both_risk)):
        bins = reliability(np.array(result.scores.wrong), np.array(risk))
        rate = np.array([b.rate.value for b in bins])
        ends = np.abs(np.array([[b.rate.low, b.rate.high] for b in bins]).T - rate)
        ax.errorbar([b.risk for b in bins], rate, yerr=ends, marker="o", label=name, capsize=2)
    ax.plot([0, 1], [0, 1], linestyle=":", color="grey")
    ax.set(xlabel="predicted risk", ylabel="observed error rate", title=result.task)
    ax.legend()
    return ax


def plot_auroc_by_site(result: Evaluation, ax: Axes | None = None) -> Axes:
    """Draw the AUROC at each layer, one line a position."""
    ax = _axes(ax)
    for position, values in result.by_site.items():
        ax.plot(range(len(values)), [value for _, value in values], label=position)
    ax.axhline(0.5, linestyle=":", color="grey")
    best = result.baselines[result.best_baseline]
    ax.axhline(best.value, linestyle="--", color="black", label=result.best_baseline)
    ax.set(xlabel="site (embedding, then layers)", ylabel="AUROC", title=result.task)
    ax.legend()
    return ax


def _named_scores(result: Evaluation) -> list[tuple[str, np.ndarray]]:
    return [
        (f"probe {result.probe.value:.2f}", np.array(result.scores.probe)),
        (
            f"{result.best_baseline} {result.baselines[result.best_baseline].value:.2f}",
            np.array(result.scores.baseline),
        ),
        (f"both {result.both.value:.2f}", np.array(result.scores.both)),
    ]
