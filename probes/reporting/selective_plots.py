"""Figure of a risk-coverage curve for papers (matplotlib); nothing is computed here that the result does not hold.

plot_risk_coverage(risk_coverage(wrong, scores, groups, baseline=logprob))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probes.measuring.selective import RiskCoverage


def plot_risk_coverage(result: RiskCoverage, ax: Axes | None = None) -> Axes:
    """Draw the share wrong against the share kept, with intervals, for the scores and their baseline."""
    import matplotlib.pyplot as plt

    ax = ax if ax is not None else plt.subplots()[1]
    for curve in (result, result.baseline):
        if curve is not None:
            coverage = [point.coverage for point in curve.points]
            (line,) = ax.plot(coverage, [point.risk.value for point in curve.points], label=_label(curve))
            low, high = zip(*((point.risk.low, point.risk.high) for point in curve.points), strict=True)
            ax.fill_between(coverage, low, high, alpha=0.2, color=line.get_color())
    ax.axhline(result.base_risk.value, linestyle=":", color="grey", label="all answers, or a random order")
    ax.axhline(result.risk, linestyle="--", color="black", label=f"stated risk {result.risk:g}")
    ax.set(xlabel="coverage (share of answers kept)", ylabel="risk (share wrong among those kept)")
    ax.set(xlim=(0, 1), ylim=(0, None))
    ax.legend()
    return ax


def _label(curve: RiskCoverage) -> str:
    return f"{curve.name}, AURC {curve.aurc}"
