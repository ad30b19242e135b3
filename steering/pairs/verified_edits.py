"""`edited`: one edit of many examples, checked by the type checker, with up to ten tries each.

examples, lost = edited(task.examples(limit=300), "rename_vars", seed=0)
lost.counts()                          # {'nothing to do for rename_vars': 12, 'the type checker objects': 3}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ellora_trust.tasks.base import Example
from steering.pairs.edits import Rejected, edit_example, edit_names, source_of
from steering.pairs.typecheck import new_errors

TRIES = 10  # as in the paper; other tries hit other sites
OBJECTS = "the type checker objects"


@dataclass(frozen=True)
class Rejections:
    """What was lost, and how much trying it took.

    Attributes:
        lost: One for each example that no try could edit, with the reason of the last try.
        tries: Failed tries by reason, those of examples that a later try could edit included.
        errors: What the type checker said of failed tries, names translated back, most frequent first.
    """

    lost: tuple[Rejected, ...] = ()
    tries: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """Return how many examples were lost for each reason."""
        return dict(Counter(one.reason for one in self.lost).most_common())


def edited(
    examples: Sequence[Example], edit: str | Sequence[str], *, seed: int, check: bool = True
) -> tuple[list[Example], Rejections]:
    """Return the examples that could be edited, in order, each checked, and what was lost.

    Args:
        examples: Of the task `types`, Python or TypeScript or both.
        edit: One edit, or several joined with `+`.
        seed: Of the choice of sites.
        check: Ask the type checker too; without it an edit is only known to parse and to bind every name as before.

    Raises:
        InputError: An unknown edit.
        EnvironmentProblem: mypy cannot be run.
    """
    label = "+".join(edit_names(edit))
    done: dict[int, Example] = {}
    reasons: dict[int, str] = {}
    tries: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for attempt in range(TRIES):
        drafts: dict[int, Example] = {}
        for at in (at for at in range(len(examples)) if at not in done and not _hopeless(reasons.get(at, ""))):
            found = edit_example(examples[at], edit, seed=seed, attempt=attempt)
            if isinstance(found, Rejected):
                reasons[at] = found.reason
                tries[found.reason] += 1
            else:
                drafts[at] = found
        said = _said(examples, drafts) if check else {}
        for at, example in drafts.items():
            if said.get(at):
                reasons[at] = OBJECTS
                tries[OBJECTS] += 1
                errors.update(said[at])
            else:
                done[at] = example
    lost = tuple(Rejected(examples[at].id, label, reason) for at, reason in sorted(reasons.items()) if at not in done)
    return [done[at] for at in sorted(done)], Rejections(lost, tries, errors)


def _hopeless(reason: str) -> bool:
    """Whether another choice of sites cannot help."""
    return reason.startswith(("nothing to do", "no gap"))


def _said(examples: Sequence[Example], drafts: dict[int, Example]) -> dict[int, list[str]]:
    """Return the type checker's new errors on each edited example, one batch a language."""
    found: dict[int, list[str]] = {}
    for language in {str(example.meta.get("language", "python")) for example in drafts.values()}:
        here = [at for at, example in drafts.items() if example.meta.get("language", "python") == language]
        changes = [(source_of(examples[at]), source_of(drafts[at]), _former(drafts[at])) for at in here]
        found |= dict(zip(here, new_errors(changes, language=language), strict=True))
    return found


def _former(example: Example) -> dict[str, str]:
    """Return new names with the old ones, read from what the edit recorded."""
    pairs = [site.split(" -> ") for site in str(example.meta["edit_sites"]).split("; ")]
    return {new: old for old, new in pairs if new.startswith("__")}
