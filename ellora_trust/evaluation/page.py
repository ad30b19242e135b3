"""A comparison as a page: one offline HTML file, the same as Markdown, and the tables that the terminal shows.

write_page(comparison, Path("runs/compare/report.html"))
"""

from __future__ import annotations

import json
from pathlib import Path

from ellora_trust.evaluation.comparison import Calibrated, CandidateResult, Comparison, Flip, TaskResult
from ellora_trust.evaluation.figures import attacks_figure, layers_figure, tasks_figure
from ellora_trust.evaluation.verdicts import p, p_is, signed, verdicts
from ellora_trust.report import Block, Diff, Figure, Report, Section, Table, Text, write_html

_ROLES = {"target": "target", "near_miss": "near-miss", "collateral": "must stay"}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the HTML, all or nothing.

    Raises:
        EnvironmentProblem: The folder cannot be written.
    """
    write_html(page(comparison), path)


def page(comparison: Comparison) -> Report:
    """Return the whole report."""
    names = ", ".join(one.name for one in comparison.candidates)
    suite = comparison.suite
    lead = (
        f"{comparison.model['name']} as it is, and {names}; suite {suite['name']}, at most {suite['limit']} questions "
        f"a task, margin {float(suite['margin']):.1%}, intervals at {float(suite['confidence']):.0%}."
    )
    sections = [section(one, comparison) for one in comparison.candidates]
    sections.insert(len(sections) if len(sections) == 1 else 0, Section("All tasks", _overview(comparison)))
    sections.append(Section("How to read this", [Text(line) for line in _READING]))
    return Report(f"{comparison.model['name']}: before and after", lead, sections, provenance(comparison))


def _overview(comparison: Comparison) -> list[Block]:
    blocks: list[Block] = [task_table(comparison)]
    if comparison.noise:
        blocks.append(noise_table(comparison))
    return blocks


def section(candidate: CandidateResult, comparison: Comparison) -> Section:
    """Return what there is to say of one candidate."""
    rows = [
        ["" if number else question, answer]
        for question, answers in verdicts(candidate, comparison)
        for number, answer in enumerate(answers)
    ]
    blocks: list[Block] = [
        Table(("question", "answer"), rows, f"{candidate.kind}: {candidate.source or 'given in Python'}")
    ]
    caption = "Share of right answers before and after, with intervals."
    blocks += [Figure(tasks_figure(candidate), caption), outcome_table(candidate), calibration_table(candidate)]
    blocks += _text(candidate)
    if candidate.layers:
        caption = (
            "Relative distance from the base by layer: of activations on unrelated text, and of weights where they "
            "differ. -1 is what belongs to no layer."
        )
        blocks.append(
            Figure(
                layers_figure(candidate),
                caption,
            )
        )
        blocks.append(layer_table(candidate))
    if candidate.attacks:
        blocks += [attack_table(candidate), Figure(attacks_figure(candidate), "Share of faulty answers under attack.")]
    return Section(candidate.name, blocks + _flips(candidate))


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


def _text(candidate: CandidateResult) -> list[Block]:
    if candidate.text is None:
        return []
    text = candidate.text
    rows = [
        ["bits per byte before", f"{text.before}"],
        ["bits per byte after", f"{text.after}"],
        ["relative change", signed(text.change, ".2%")],
        ["KL of the next token, nats", f"{text.kl:.4f}"],
        ["same likeliest next token", f"{text.agreement:.1%}"],
    ]
    return [Table(("unrelated text", f"{text.source}, {text.n} pieces"), rows)]


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


def _flips(candidate: CandidateResult) -> list[Block]:
    found: list[Block] = []
    for task in candidate.tasks:
        for title, count, fixed in (("fixed", task.paired.fixed, True), ("broken", task.paired.broken, False)):
            flips = [one for one in task.flips if one.fixed is fixed]
            if flips:
                found.append(Text(f"{task.task}: {count} {title}, {len(flips)} of them shown."))
                found += [_diff(one, title) for one in flips]
    return found or [Text("No verdict changed between right and wrong.")]


def _diff(flip: Flip, title: str) -> Diff:
    notes = [("verdict", f"{flip.outcome_before} -> {flip.outcome_after}")]
    if flip.reference is not None:
        notes.append(("reference", flip.reference.strip()))
    tail = "".join(flip.prompt.splitlines(keepends=True)[-12:])
    return Diff(f"{title}: {flip.id}", tail + flip.before, tail + flip.after, notes)


def provenance(comparison: Comparison) -> dict[str, str]:
    """Return everything that decides the numbers."""
    found = {f"base: {name}": str(value) for name, value in comparison.model.items()}
    for one in comparison.candidates:
        found[f"{one.name}: state"] = str(one.state)
        found[f"{one.name}: cost"] = f"{one.seconds} s, {one.n_cached} answers and verdicts known before"
        found[f"{one.name}: how to revert"] = one.revert
        for task in one.tasks:
            found[f"data: {task.task}"] = task.data
        if one.text is not None:
            found[f"data: text {one.text.source}"] = one.text.data
    found["suite"] = json.dumps(comparison.suite)
    return found | comparison.provenance


_READING = (
    "Every item is asked before and after; only items that were decided both times count. Items of one group, a "
    "problem and its near-duplicates, count as one draw.",
    "'Shown unharmed' is said only where two one-sided tests show that the change lies within the margin. Where "
    "neither that nor damage is shown, the smallest damage that such a comparison would find is printed instead.",
    "On targets, 'adopt the fix' means right and in the form of the reference, 'right in another way' is a "
    "workaround, 'keep the fault' is the old fault or the same wrong answer, and 'wrong in a new way' is breakage.",
    "The noise floor is the unchanged model against itself, computed one row a batch, in another order, in bfloat16, "
    "and padded on the other side.",
)
