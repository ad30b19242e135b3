"""An evaluation's interactive figures (plotly), for `report.html`; nothing is computed here that it does not hold.

roc_figure(evaluation); reliability_figure(evaluation); site_figure(evaluation); coverage_figure(checks)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from probes.measuring.checks import Checks
from probes.measuring.result import Evaluation
from probes.measuring.selective import RiskCoverage
from probes.reporting.curves import reliability, roc


def _lines(x_title: str, y_title: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        xaxis_title=x_title,
        yaxis_title=y_title,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": -0.25},
    )
    return figure


def roc_figure(result: Evaluation) -> Any:
    """Return ROC of the probe, the best baseline, and both."""
    figure = _lines("right answers flagged", "wrong answers flagged")
    wrong = np.array(result.scores.wrong)
    named = {"probe": result.scores.probe, result.best_baseline: result.scores.baseline, "both": result.scores.both}
    for name, scores in named.items():
        false, true = roc(wrong, np.array(scores))
        figure.add_scatter(x=false.round(4).tolist(), y=true.round(4).tolist(), mode="lines", name=name)
    return _diagonal(figure)


def reliability_figure(result: Evaluation) -> Any:
    """Return observed error rate against predicted risk, with Wilson intervals."""
    figure = _lines("predicted risk", "observed error rate")
    for name, risk in (("probe", result.scores.probe_risk), ("both", result.scores.both_risk)):
        bins = reliability(np.array(result.scores.wrong), np.array(risk))
        up = [b.rate.high - b.rate.value for b in bins]
        down = [b.rate.value - b.rate.low for b in bins]
        figure.add_scatter(
            x=[b.risk for b in bins],
            y=[b.rate.value for b in bins],
            mode="markers+lines",
            name=name,
            error_y={"type": "data", "symmetric": False, "array": up, "arrayminus": down},
        )
    return _diagonal(figure)


def _diagonal(figure: Any) -> Any:
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "grey"}, showlegend=False)
    figure.update_xaxes(range=[0, 1])
    figure.update_yaxes(range=[0, 1])
    return figure


def site_figure(result: Evaluation) -> Any:
    """Return the AUROC of a probe at each layer."""
    figure = _lines("site", "AUROC")
    sites: list[str] = []
    for position, values in result.by_site.items():
        sites = [site for site, _ in values]
        figure.add_scatter(x=sites, y=[value for _, value in values], mode="markers+lines", name=position)
    best = result.baselines[result.best_baseline].value
    figure.add_scatter(x=sites, y=[best] * len(sites), mode="lines", line={"dash": "dash"}, name=result.best_baseline)
    return figure


def coverage_figure(checks: Checks) -> Any:
    """Return the share wrong against the share kept, for probe, both, and the best baseline."""
    figure = _lines("coverage (share of answers kept)", "share wrong among those kept")
    curves = list(checks.selective.values())
    baselines = [curve.baseline for curve in curves[:1] if curve.baseline is not None]
    for curve in [*curves, *baselines]:
        _add_curve(figure, curve)
    stated = curves[0].risk
    line = {"dash": "dash", "color": "grey"}
    figure.add_scatter(x=[0, 1], y=[stated, stated], mode="lines", line=line, name=f"stated risk {stated:g}")
    figure.update_xaxes(range=[0, 1.02])
    figure.update_yaxes(rangemode="tozero")
    return figure


def _add_curve(figure: Any, curve: RiskCoverage) -> None:
    risks = [point.risk for point in curve.points]
    figure.add_scatter(
        x=[point.coverage for point in curve.points],
        y=[risk.value for risk in risks],
        mode="markers+lines",
        name=curve.name,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [risk.high - risk.value for risk in risks],
            "arrayminus": [risk.value - risk.low for risk in risks],
        },
    )
