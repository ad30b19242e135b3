"""A comparison as a page: one offline HTML file, the same as Markdown, and the tables that the terminal shows.

write_page(comparison, Path("runs/compare/report.html"))
"""

from __future__ import annotations

import json
from pathlib import Path

from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.judging.results import Flip
from ellora_trust.evaluation.shown.figures import attacks_figure, layers_figure, tasks_figure
from ellora_trust.evaluation.shown.tables import (
    attack_table,
    calibration_table,
    cost_table,
    layer_table,
    noise_table,
    outcome_table,
    task_table,
)
from ellora_trust.evaluation.shown.verdicts import signed, verdicts
from ellora_trust.report import Block, Diff, Figure, Report, Section, Table, Text, write_html


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
    sections.append(Section("All tasks", _overview(comparison)))
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
    if candidate.cost is not None:
        blocks.append(cost_table(candidate.cost))
    return Section(candidate.name, blocks + _flips(candidate))


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
