"""A comparison in words: what was fixed, what broke, how sure, does it last, can it be undone, what does it cost.

"Not significant" is never written as "no damage": unharmed is said only where a test of equivalence shows it, and
otherwise the damage that could have been missed stands in the sentence.
"""

from __future__ import annotations

from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.judging.cost import Receipt
from ellora_trust.evaluation.judging.results import Attack, TaskResult
from ellora_trust.stats import Estimate

Question = tuple[str, list[str]]


def sentences(comparison: Comparison) -> list[str]:
    """Return one line a verdict, each with the candidate's name."""
    return [
        f"{one.name}: {question} {' '.join(answers)}"
        for one in comparison.candidates
        for question, answers in verdicts(one, comparison)
    ]


def verdicts(candidate: CandidateResult, comparison: Comparison) -> list[Question]:
    """Return the answer to each of the questions."""
    alpha = 1 - float(comparison.suite["confidence"])
    return [
        ("What was fixed?", _fixed(candidate, alpha)),
        ("What broke?", _broke(candidate, alpha)),
        ("How sure?", _sure(candidate, comparison)),
        ("Does it last?", _lasts(candidate)),
        ("Can it be undone?", [_undone(candidate), candidate.revert]),
        *([("What does it cost to run?", [_costs(candidate.cost)])] if candidate.cost is not None else []),
    ]


def _fixed(candidate: CandidateResult, alpha: float) -> list[str]:
    targets = [task for task in candidate.tasks if task.role == "target"]
    if not targets:
        return ["The suite names no target."]
    found = []
    for task in targets:
        found.append(f"{task.task}: right {_before_after(task)}; {change(task, alpha)}")
        if task.effect is not None:
            found.append(task.effect.sentence())
    return found


def _broke(candidate: CandidateResult, alpha: float) -> list[str]:
    found = [f"{task.task}: {harm(task, alpha)}" for task in candidate.tasks if task.role != "target"]
    if candidate.text is not None:
        text = candidate.text
        found.append(
            f"Unrelated text ({text.source}): bits per byte {text.before.value:.3f} -> {text.after.value:.3f}, "
            f"change {signed(text.change, '.2%')}; the likeliest next token stays in {text.agreement:.1%}."
        )
    return found or ["The suite names nothing that must stay."]


def harm(task: TaskResult, alpha: float) -> str:
    """Return what is known of damage on a task that must stay as it is."""
    paired, margin = task.paired, task.paired.equivalence.margin
    equivalence = paired.equivalence
    start = f"right {_before_after(task)}, {task.paired.broken} broke and {paired.fixed} were fixed of {task.n};"
    if equivalence.equivalent:
        return f"{start} shown unharmed within {margin:.1%} (equivalence {p_is(equivalence.p_value)})."
    if paired.holm_p < alpha:
        word = "damaged" if paired.difference.value < 0 else "changed for the better"
        return f"{start} {word}: {signed(paired.difference, '.1%')} (adjusted {p_is(paired.holm_p)})."
    return (
        f"{start} neither damage nor absence of damage is shown at a margin of {margin:.1%}: change "
        f"{signed(paired.difference, '.1%')} (adjusted {p_is(paired.holm_p)}); {missed(task)}."
    )


def change(task: TaskResult, alpha: float) -> str:
    """Return what is known of a change on a target."""
    paired = task.paired
    shown = f"change {signed(paired.difference, '.1%')}, adjusted {p_is(paired.holm_p)}"
    if paired.holm_p < alpha:
        return f"{'better' if paired.difference.value > 0 else 'worse'}: {shown}."
    return f"no change is shown ({shown}); {missed(task)}."


def missed(task: TaskResult) -> str:
    """Return what a comparison of this size could have overlooked."""
    return f"only a change of {task.paired.detectable:.1%} or more would be found in 4 of 5 such comparisons"


def _sure(candidate: CandidateResult, comparison: Comparison) -> list[str]:
    n_tests = sum(len(one.tasks) for one in comparison.candidates)
    found = [
        f"Paired by item, whole groups exchanged and resampled, p-values adjusted (Holm) for {n_tests} tests."
        if n_tests > 1
        else "Paired by item, whole groups exchanged and resampled."
    ]
    names = {task.task for task in candidate.tasks}
    noise = [one for one in comparison.noise if one.task in names]
    if noise:
        worst = max(noise, key=lambda one: one.flipped / one.n)
        found.append(
            f"Noise floor: the unchanged model, computed another way ({worst.variant}), changes the verdict of at most "
            f"{worst.flipped} of {worst.n} items ({worst.task})."
        )
    else:
        found.append("No noise floor was measured.")
    return found


def _lasts(candidate: CandidateResult) -> list[str]:
    if not candidate.attacks:
        return ["Not tested: this suite tries nothing to bring the old behaviour back."]
    return [
        f"{one.name} on {one.task}: faulty {one.unattacked.value:.1%} -> {one.after.value:.1%} "
        f"(base {one.before.value:.1%}), recovery {signed(one.recovery, '.1%')}.{_void(one)}"
        for one in candidate.attacks
    ]


def _void(attack: Attack) -> str:
    """Say so where an attack proves nothing: what does not even make the base fail brings nothing back."""
    return " The base itself is mostly not faulty under it, so it shows nothing." if attack.before.value < 0.5 else ""


def _undone(candidate: CandidateResult) -> str:
    if candidate.restored is None:
        return "The base was not touched: the candidate is another model."
    if candidate.restored:
        return "Yes: after taking it back, the weights have the hash that they had before."
    return "No: after taking it back, the weights differ from what they were."


def _costs(receipt: Receipt) -> str:
    before, after = receipt.before, receipt.after
    words = f"A forward pass takes {receipt.slowdown:.2f} times as long as the base's ({receipt.sample})"
    if before.flops:
        words += f" and {after.flops / before.flops:.2f} times its operations"
    if before.tokens_generated:
        words += f"; answers have {after.tokens_generated / before.tokens_generated:.2f} times its tokens"
    return f"{words}."


def _before_after(task: TaskResult) -> str:
    return f"{task.paired.before.value:.1%} -> {task.paired.after.value:.1%}"


def signed(estimate: Estimate, spec: str) -> str:
    """Return value and interval with signs: `+2.0% [-0.4%, +4.4%]`."""
    return f"{estimate.value:+{spec}} [{estimate.low:+{spec}}, {estimate.high:+{spec}}]"


def p(value: float) -> str:
    """Return a p-value with two digits."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def p_is(value: float) -> str:
    """Return `p = 0.031` or `p < 0.0001`."""
    return f"p {p(value)}" if value < 1e-4 else f"p = {p(value)}"
