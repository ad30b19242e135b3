"""A study as sentences, tables and figures: what the terminal and `report.html` show.

section(study)          # ellora_trust.report.Section
"""

from __future__ import annotations

from ellora_trust.report import Figure, Section, Table, Text
from ellora_trust.stats import Estimate
from steering.measuring.figures import controls_figure, sweep_figure
from steering.measuring.result import NAMES, Study

# Upper end of the corruption's interval that the default may have.
CORRUPTION_BAR = 0.02


def section(study: Study) -> Section:
    """Return the part of a report that one edit fills."""
    return Section(
        f"{study.task}: {study.edit}",
        [
            Text(summary(study)),
            *(Text(sentence) for sentence in sentences(study)),
            estimates_table(study),
            Figure(controls_figure(study), "Steering beside its controls, with 95 % intervals."),
            difference_table(study),
            Figure(
                sweep_figure(study),
                "Share of held-out pairs that each cell recovers (first tokens); picking the best here is hindsight.",
            ),
            type_table(study),
            counts_table(study),
        ],
    )


def summary(study: Study) -> str:
    """Return what was measured in a sentence."""
    chosen = "; ".join(study.chosen)
    return (
        f"{study.n_pairs} pairs in {study.n_groups} groups, each held out once; before steering none of their edited "
        f"questions is answered rightly. Directions: {study.method.replace('_', ' ')} at the prompt's end. Chosen in "
        f"the folds: {chosen}. Best in hindsight: {study.hindsight}."
    )


def sentences(study: Study) -> list[str]:
    """Return the verdicts: against each control, and on what was right before."""
    found = []
    for name, one in study.differences.items():
        low, high = one.estimate.low, one.estimate.high
        verdict = "beats" if low > 0 else "loses to" if high < 0 else "is not shown to differ from"
        found.append(f"Steering {verdict} {_CONTROLS[name]}: difference {one.estimate:+.3f}.")
    corrupted = study.estimates.get("corrupted")
    if corrupted is not None:
        met = "keeps" if corrupted.high <= CORRUPTION_BAR else "does not keep"
        gated = study.estimates["corrupted with gate"]
        found.append(
            f"It breaks {corrupted:.1%} of {corrupted.n} questions answered rightly before and {met} the bar of 2 % "
            f"(upper end); with the gate {gated:.1%}, and {study.estimates['recovered with gate']:.1%} recovered."
        )
    return found


_CONTROLS = {
    "random": "random directions of the same length",
    "shuffled": "the vector of shuffled labels",
    "other": "the vector of another task",
    "two examples": "two worked examples in the prompt",
}


def estimates_table(study: Study) -> Table:
    """Return every estimate with its interval and n."""
    rows = [["before steering", "0.000 by construction", str(study.n_pairs)]]
    rows += [[NAMES[name], str(one), str(one.n)] for name, one in study.estimates.items()]
    caption = (
        "Intervals: bootstrap over groups; of shares Wilson's where each item is a group of its own. 'Whole answer' is "
        "decided by the task's oracle, 'first tokens' by greedy decoding of the right answer."
    )
    return Table(("figure", "value [95 % interval]", "n"), rows, caption, frozenset([1]))


def difference_table(study: Study) -> Table:
    """Return steered minus each control on the same pairs."""
    rows = [
        [_CONTROLS[name], f"{one.estimate:+.3f}", "" if one.p_value is None else f"{one.p_value:.2g}"]
        for name, one in study.differences.items()
    ]
    return Table(("steered minus", "difference [95 % interval]", "p, whole groups exchanged"), rows)


def type_table(study: Study) -> Table:
    """Return recovery by wanted answer."""
    rows = [[name, f"{one:.2f}", str(one.n)] for name, one in study.by_type.items()]
    return Table(("wanted answer", "recovered [95 % interval]", "n"), rows, "Answers with fewer than 5 pairs together.")


def counts_table(study: Study) -> Table:
    """Return what became of the originals."""
    return Table(("on the way to pairs", "questions"), [[name, str(count)] for name, count in study.counts.items()])


def headline(study: Study) -> list[str]:
    """Return one row of the table over all edits."""
    names = ("recovered", "matched", "hindsight", "random", "shuffled", "other", "two examples", "corrupted")
    return [study.edit, str(study.n_pairs), *(_cell(study.estimates.get(name)) for name in names)]


HEADLINE = (
    "edit",
    "pairs",
    "steered (oracle)",
    "steered (first tokens)",
    "best in hindsight",
    "random",
    "shuffled",
    "other task",
    "two examples",
    "corrupted",
)


def _cell(one: Estimate | None) -> str:
    return "" if one is None else f"{one:.2f}"
