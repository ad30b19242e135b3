"""An evaluation as text, tables and interactive figures: what the terminal and `report.html` show.

section(evaluation, labelled)          # ellora_trust.report.Section
"""

from __future__ import annotations

import numpy as np

from ellora_trust.labeling import Labelled
from ellora_trust.report import Block, Code, Figure, Section, Slider, Table, Text
from ellora_trust.stats import Estimate
from probes.guarantee.certificate import Certificate
from probes.measuring.checks import Checks
from probes.measuring.result import Evaluation
from probes.reporting.figures import coverage_figure, reliability_figure, roc_figure, site_figure

N_SURPRISING = 20
COLUMNS = ("predictor", "AUROC", "95 % interval")


def section(result: Evaluation, labelled: Labelled | None = None, certificate: Certificate | None = None) -> Section:
    """Return the part of a report that one task fills.

    Args:
        result: The evaluation.
        labelled: For the surprising errors; without it they are left out.
        certificate: Of the task's predictor, if it has one.
    """
    blocks: list[Block] = [
        Text(summary(result)),
        *(Text(sentence) for sentence in result.sentences()),
        *([Text(certificate.sentence())] if certificate else []),
        auroc_table(result),
        detail_table(result),
        Figure(roc_figure(result), "ROC of probe, best baseline, and both. Further up and left is better."),
        Figure(
            reliability_figure(result),
            "Observed error rate against predicted risk; on the diagonal, a risk of 0.3 means 3 in 10.",
        ),
        Figure(
            site_figure(result),
            "AUROC of a probe at each layer; every point is out-of-fold, the best one is hindsight.",
        ),
        *_coverage(result),
        *_surprising(result, labelled),
    ]
    return Section(result.task, blocks)


def _coverage(result: Evaluation) -> list[Block]:
    if result.checks is None:
        return []
    hindsight = "Thresholds are looked at in hindsight on these answers; a promise about new ones needs --certify."
    slider = Slider(
        "Give an answer only if its predicted risk is below",
        result.scores.probe_risk,
        result.scores.wrong,
        f"Out-of-fold risk of the probe. Intervals here take answers for independent (Wilson). {hindsight}",
    )
    caption = "Share wrong against share kept when the riskiest answers are withheld; lower is better."
    return [
        Figure(coverage_figure(result.checks), caption),
        selective_table(result.checks),
        slider,
        kept_table(result.checks, hindsight),
    ]


def _surprising(result: Evaluation, labelled: Labelled | None) -> list[Block]:
    if labelled is None:
        return [Text("The answers are not in this folder, so the most surprising errors are not shown.")]
    head = f"The {N_SURPRISING} most surprising errors: wrong answers to which the probe gave the lowest risk."
    return [Text(head), *surprising(result, labelled)]


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
    return Table(("figure", "value"), rows + (_check_rows(result.checks) if result.checks else []))


def _check_rows(checks: Checks) -> list[list[str]]:
    residuals = [[f"AUROC of the probe without {name}", str(one.residual)] for name, one in checks.residual.items()]
    floors = [[f"ECE of a perfectly calibrated {who} at this n", str(one)] for who, one in checks.ece_floor.items()]
    buckets = [
        [f"calibrated risks in the two fullest of ten bins, {who}", f"{one.share:.0%} ({', '.join(one.bins)})"]
        for who, one in checks.collapse.items()
    ]
    control = checks.selectivity
    controls = [
        [f"control labels ({control.n_controls}, one label a group)", str(control.control)],
        ["selectivity", str(control.selectivity)],
    ]
    return [*residuals, *controls, *floors, *buckets, ["calibration of the probe", checks.calibration_method]]


def selective_table(checks: Checks) -> Table:
    """Return AURC and coverage at the stated risk for the probe, both, and the best baseline."""
    curves = list(checks.selective.values())
    rows = [
        [
            curve.name,
            str(curve.aurc),
            str(curve.coverage_at_risk),
            f"{curve.aurc_difference:+.3f}",
            f"{curve.coverage_difference:+.3f}",
        ]
        for curve in curves
        if curve.aurc_difference is not None and curve.coverage_difference is not None
    ]
    baseline = curves[0].baseline
    if baseline is not None:
        rows.append([baseline.name, str(baseline.aurc), str(baseline.coverage_at_risk), "", ""])
    at = f"coverage at {curves[0].risk:.0%} wrong"
    note = (
        "AURC is the area under the risk-coverage curve, lower is better; all answers together are "
        f"{curves[0].base_risk:.1%} wrong. Coverage is in hindsight. Intervals: bootstrap over groups."
    )
    return Table(("predictor", "AURC", at, "AURC - baseline's", "coverage - baseline's"), rows, note)


def kept_table(checks: Checks, note: str = "") -> Table:
    """Return what thresholds on the probe's calibrated risk keep."""
    rows = [
        [
            f"{one.threshold:.3f}" if one.threshold < 1 else "none",
            str(one.n),
            f"{one.coverage:.1%}",
            f"{one.wrong:.1%}" if one.wrong else "fewer than 5 groups",
        ]
        for one in checks.kept
    ]
    caption = f"What a threshold on the probe's calibrated risk keeps. Intervals: bootstrap over groups. {note}".strip()
    return Table(("risk below", "answers kept", "coverage", "share wrong among kept"), rows, caption)


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
