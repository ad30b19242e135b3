"""An evaluation as text, tables and interactive figures: what the terminal and `report.html` show.

section(evaluation, labelled)          # ellora_trust.report.Section
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ellora_trust.labeling import Labelled
from ellora_trust.report import Block, Code, Figure, Section, Table, Text
from ellora_trust.stats import Estimate
from probes.curves import reliability, roc
from probes.result import Evaluation

N_SURPRISING = 20
COLUMNS = ("predictor", "AUROC", "95 % interval")


def section(result: Evaluation, labelled: Labelled) -> Section:
    """Return the part of a report that one task fills."""
    blocks: list[Block] = [
        Text(summary(result)),
        *(Text(sentence) for sentence in result.sentences()),
        auroc_table(result),
        detail_table(result),
        Figure(_roc(result), "ROC of probe, best baseline, and both. Further up and left is better."),
        Figure(
            _reliability(result),
            "Observed error rate against predicted risk; on the diagonal, a risk of 0.3 means 3 in 10.",
        ),
        Figure(
            _by_site(result), "AUROC of a probe at each layer; every point is out-of-fold, the best one is hindsight."
        ),
        Text(f"The {N_SURPRISING} most surprising errors: wrong answers to which the probe gave the lowest risk."),
        *surprising(result, labelled),
    ]
    return Section(result.task, blocks)


def summary(result: Evaluation) -> str:
    """Return n, groups and base rate in a sentence."""
    outcomes = ", ".join(f"{count} {name}" for name, count in result.outcomes.items())
    return (
        f"{result.base_rate.n} decided answers in {result.base_rate.n_groups} groups ({outcomes}); "
        f"share wrong {result.base_rate}; questions put as {result.prompt_format}."
    )


def auroc_table(result: Evaluation) -> Table:
    """Return AUROC of every baseline, the probe, and both."""
    named = sorted(result.baselines.items(), key=lambda item: item[1].value)
    rows = [_row(name, estimate) for name, estimate in named]
    rows += [_row("probe", result.probe), _row("log-probability + probe", result.both)]
    best = [i for i, row in enumerate(rows) if row[0] == result.best_baseline]
    note = (
        "Layer, position and strength of the probe are chosen inside the training groups. The best baseline is the "
        "best on these very rows, which favours it. Intervals: bootstrap over groups."
    )
    return Table(COLUMNS, rows, note, frozenset([*best, len(rows) - 2, len(rows) - 1]))


def _row(name: str, estimate: Estimate) -> list[str]:
    return [name, f"{estimate.value:.3f}", f"[{estimate.low:.3f}, {estimate.high:.3f}]"]


def detail_table(result: Evaluation) -> Table:
    """Return differences, calibration, controls and choices."""
    permutation = result.permutation
    rows = [
        ["probe - best baseline", str(result.gain_over_baseline)],
        ["probe - log-probability and entropy (fitted)", str(result.gain_over_logprob)],
        ["log-probability + probe - best baseline", str(result.gain_of_both)],
        ["AUROC within groups, probe", str(result.within_group or "too few groups with both outcomes")],
        *([name, str(estimate)] for name, estimate in result.calibration.items()),
        [
            "permuted labels, whole procedure",
            f"mean {permutation.mean:.3f}, sd {permutation.sd:.3f}, p = {permutation.p_value:.3f}, n = {permutation.n}",
        ],
        ["chosen in each fold", "; ".join(result.chosen)],
        ["best in hindsight (oracle)", f"{result.oracle_best[0]}: {result.oracle_best[1]:.3f}"],
    ]
    return Table(("figure", "value"), rows)


def surprising(result: Evaluation, labelled: Labelled) -> list[Code]:
    """Return the wrong answers with the lowest predicted risk."""
    risk, wrong = np.array(result.scores.probe_risk), np.array(result.scores.wrong)
    picks = [int(i) for i in np.argsort(np.where(wrong == 1, risk, np.inf), kind="stable") if wrong[i]]
    return [_surprise(labelled, result.scores.rows[i], risk[i]) for i in picks[:N_SURPRISING]]


def _surprise(labelled: Labelled, row: int, risk: float) -> Code:
    example, generation = labelled.examples[row], labelled.generations[row]
    expected = example.answer if example.answer is not None else "(decided by running)"
    notes = [
        ("answered", generation.text.strip()),
        ("expected", expected.strip()),
        ("outcome", str(labelled.outcomes[row])),
        *((name, str(value)) for name, value in example.meta.items()),
    ]
    return Code(f"risk {risk:.2f} · {example.id}", example.prompt, notes)


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


def _roc(result: Evaluation) -> Any:
    figure = _lines("right answers flagged", "wrong answers flagged")
    wrong = np.array(result.scores.wrong)
    named = {"probe": result.scores.probe, result.best_baseline: result.scores.baseline, "both": result.scores.both}
    for name, scores in named.items():
        false, true = roc(wrong, np.array(scores))
        figure.add_scatter(x=false.round(4).tolist(), y=true.round(4).tolist(), mode="lines", name=name)
    return _diagonal(figure)


def _reliability(result: Evaluation) -> Any:
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


def _by_site(result: Evaluation) -> Any:
    figure = _lines("site", "AUROC")
    sites: list[str] = []
    for position, values in result.by_site.items():
        sites = [site for site, _ in values]
        figure.add_scatter(x=sites, y=[value for _, value in values], mode="markers+lines", name=position)
    best = result.baselines[result.best_baseline].value
    figure.add_scatter(x=sites, y=[best] * len(sites), mode="lines", line={"dash": "dash"}, name=result.best_baseline)
    return figure
