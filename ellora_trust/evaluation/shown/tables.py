"""The tables of a comparison, for the page, for Markdown and for the terminal.

task_table(comparison), noise_table(comparison), attack_table(candidate)
"""

from __future__ import annotations

from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.judging.cost import Receipt
from ellora_trust.evaluation.judging.results import Calibrated, TaskResult
from ellora_trust.evaluation.shown.verdicts import p, p_is, signed
from ellora_trust.report import Table

_ROLES = {"target": "target", "near_miss": "near-miss", "collateral": "must stay"}


_COLUMNS = (
    "candidate",
    "task",
    "part",
    "n (groups)",
    "right before",
    "after",
    "change",
    "fixed / broken",
    "odds ratio",
    "McNemar p",
    "adjusted p",
    "within margin",
    "detectable",
)


def short_table(comparison: Comparison) -> Table:
    """Return `task_table` with the columns that a terminal has room for."""
    whole = task_table(comparison)
    kept = [i for i, name in enumerate(_COLUMNS) if name not in ("odds ratio", "McNemar p", "detectable")]
    cut = {"right before", "after"}
    rows = [[row[i].partition(" [")[0] if _COLUMNS[i] in cut else row[i] for i in kept] for row in whole.rows]
    return Table([_COLUMNS[i] for i in kept], rows, "", whole.strong)


def task_table(comparison: Comparison) -> Table:
    """Return every task of every candidate in one row each."""
    rows, strong = [], set()
    for one in comparison.candidates:
        for task in one.tasks:
            if task.paired.holm_p < 1 - float(comparison.suite["confidence"]):
                strong.add(len(rows))
            rows.append([one.name, task.task, _ROLES[task.role], *_cells(task)])
    caption = (
        "Right: share of right answers. McNemar: exact, items as independent. Adjusted: whole groups exchanged, then "
        "Holm over this table. Within margin: two one-sided tests. Detectable: the smallest drop found with 80 % power "
        "at the level that Holm leaves one test."
    )
    return Table(_COLUMNS, rows, caption, frozenset(strong))


def _cells(task: TaskResult) -> list[str]:
    paired = task.paired
    same = paired.equivalence
    within = f"{'shown' if same.equivalent else 'not shown'}, {p_is(same.p_value)}"
    return [
        f"{task.n} ({task.n_groups})",
        f"{paired.before:.1%}",
        f"{paired.after:.1%}",
        signed(paired.difference, ".1%"),
        f"{paired.fixed} / {paired.broken}",
        _odds(paired.odds_ratio),
        p(paired.mcnemar_p),
        p(paired.holm_p),
        f"±{same.margin:.1%}: {within}",
        f"{paired.detectable:.1%}",
    ]


def _odds(ratio: tuple[float | None, float | None, float | None]) -> str:
    if ratio == (None, None, None):
        return "-"
    value, low, high = ("inf" if one is None else f"{one:.2g}" for one in ratio)
    return f"{value} [{low}, {high}]"


def noise_table(comparison: Comparison) -> Table:
    """Return what changes where nothing was done."""
    rows = []
    for one in comparison.noise:
        change = f"{one.difference:+.1e} bits per byte" if one.task == "text" else f"{one.difference:+.1%}"
        rows.append([one.variant, one.task, str(one.n), change, str(one.flipped)])
    caption = "The noise floor: the unchanged model against itself. A change of this size is no change."
    return Table(("computed", "task", "n", "change", "flipped"), rows, caption)


def outcome_table(candidate: CandidateResult) -> Table:
    """Return how often each outcome occurred."""
    rows = []
    for task in candidate.tasks:
        for name in sorted({*task.outcomes_before, *task.outcomes_after}):
            rows.append(
                [task.task, name, str(task.outcomes_before.get(name, 0)), str(task.outcomes_after.get(name, 0))]
            )
    return Table(("task", "outcome", "before", "after"), rows)


def calibration_table(candidate: CandidateResult) -> Table:
    """Return calibration before and after."""
    rows = [row for task in candidate.tasks for one in task.calibration for row in _calibration_rows(task.task, one)]
    caption = (
        "Of answers: the geometric mean of their tokens' probabilities as probability of being right. ECE: bins of "
        "equal mass; compare before and after only, since it rises where items are few."
    )
    return Table(("task", "whose", "measure", "before", "after", "change"), rows, caption)


def _calibration_rows(task: str, one: Calibrated) -> list[list[str]]:
    return [
        [
            task,
            one.of,
            name.upper() if name != "brier" else "Brier",
            f"{one.before[name]}",
            f"{one.after[name]}",
            signed(one.change[name], ".3f"),
        ]
        for name in one.change
    ]


def layer_table(candidate: CandidateResult) -> Table:
    """Return the distances by layer."""
    rows = [
        [
            str(one.layer),
            *(_number(value) for value in (one.activations_mean, one.activations_last, one.weights, one.cka)),
        ]
        for one in candidate.layers
    ]
    caption = "CKA is a side note: among such measures it follows behaviour least."
    return Table(("layer", "activations, mean", "activations, last token", "weights", "CKA"), rows, caption)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def attack_table(candidate: CandidateResult) -> Table:
    """Return what each attack brought back."""
    rows = [
        [
            one.name,
            one.task,
            one.what,
            str(one.n),
            f"{one.before:.1%}",
            f"{one.unattacked:.1%}",
            f"{one.after:.1%}",
            signed(one.recovery, ".1%"),
        ]
        for one in candidate.attacks
    ]
    return Table(
        ("attack", "task", "what is done", "n", "base, attacked", "unattacked", "attacked", "recovery"),
        rows,
        "Shares of faulty answers.",
    )


def cost_table(receipt: Receipt) -> Table:
    """Return what base and candidate cost to run."""
    before, after = receipt.before, receipt.after
    rows = [
        _cost_row("tokens read", before.tokens_read, after.tokens_read, "{:,}"),
        _cost_row("tokens generated", before.tokens_generated, after.tokens_generated, "{:,}"),
        _cost_row("forward passes, sample", before.forward_passes, after.forward_passes, "{:,}"),
        _cost_row("operations, sample (GFLOP)", before.flops / 1e9, after.flops / 1e9, "{:.4g}"),
        _cost_row("time of a forward pass (ms)", 1e3 * before.seconds_per_pass, 1e3 * after.seconds_per_pass, "{:.3g}"),
    ]
    if before.peak_memory and after.peak_memory:
        rows.append(_cost_row("peak memory (MB)", before.peak_memory / 1e6, after.peak_memory / 1e6, "{:,.0f}"))
    caption = (
        f"Tokens of all questions; the rest on {receipt.sample}, base and candidate in turns. Operations: matrix "
        "products and attention, as torch counts them. Memory: of the whole process, on a GPU torch's."
    )
    return Table(("cost", "base", "candidate", "ratio"), rows, caption)


def _cost_row(name: str, before: float, after: float, spec: str) -> list[str]:
    return [name, spec.format(before), spec.format(after), f"{after / before:.2f}" if before else "-"]
