"""What became of the answers that were wrong on a target: the fix adopted, worked around, the fault kept, or breakage.

How each is told, from outcomes and text alone:

- adopted: right, with the fix's form: what the reference has and the wrong answer before lacked is there, and what the
  wrong answer had beyond the reference is gone. Compared are called and dotted names, keywords, built-in names,
  operators and numbers, each once and in any order; brackets and punctuation only where those do not differ. Names of
  variables do not count;
- workaround: right, but not in the fix's form, or there is no reference to tell;
- kept: does what the fault does, where the task can tell, or is the same wrong answer as before;
- breakage: anything else: another wrong answer, a build error, a crash, a timeout.

    effect = target_effect(examples, before, after)
    effect.adopted, effect.workaround, effect.kept, effect.breakage
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.tasks.base import Example

Turn = Literal["adopted", "workaround", "kept", "breakage"]
_TOKEN = re.compile(r"\w+|[^\w\s]")
_PUNCTUATION = frozenset("()[]{},;:=.")
# Words that are no names of variables: of Python, C and OpenMP.
_WORDS = frozenset(
    {*keyword.kwlist, *dir(builtins)}
    | set("int long short char float double void unsigned const static struct switch case do goto sizeof".split())
    | set("pragma omp parallel critical atomic barrier single master simd private shared firstprivate".split())
)


@dataclass(frozen=True)
class TargetEffect:
    """Counts over the items that were wrong before.

    Attributes:
        n: Items wrong before.
        adopted: Right after, in the fix's form.
        workaround: Right after in another way.
        kept: The fault is still there.
        breakage: Wrong in another way, does not build, crashes or does not end.
        shown_before: Items of the whole task that showed the fault before; None where the task cannot tell.
        shown_after: The same after.
    """

    n: int
    adopted: int
    workaround: int
    kept: int
    breakage: int
    shown_before: int | None = None
    shown_after: int | None = None

    def sentence(self) -> str:
        """Return it in words."""
        if not self.n:
            return "No target item was answered wrongly before, so there is nothing to fix here."
        return (
            f"Of {self.n} items wrong before, {self.adopted} adopt the fix, {self.workaround} are right in another "
            f"way, {self.kept} keep the fault, {self.breakage} are wrong in a new way."
        )


def target_effect(examples: Sequence[Example], before: Sequence[Answer], after: Sequence[Answer]) -> TargetEffect:
    """Count what became of the items that were wrong before."""
    rows = zip(examples, before, after, strict=True)
    turns = Counter(turn_of(example.answer, was, now) for example, was, now in rows if not was.right)
    shown = [
        sum(bool(one.shows) for one in side) if side and side[0].shows is not None else None for side in (before, after)
    ]
    names: tuple[Turn, ...] = ("adopted", "workaround", "kept", "breakage")
    return TargetEffect(sum(turns.values()), *(turns[name] for name in names), *shown)


def turn_of(reference: str | None, was: Answer, now: Answer) -> Turn:
    """Return what became of one item that was wrong before."""
    if now.right:
        return "adopted" if reference is not None and has_form(reference, was.text, now.text) else "workaround"
    return "kept" if now.shows or now.text == was.text else "breakage"


def has_form(reference: str, wrong: str, right: str) -> bool:
    """Whether an answer makes the change that leads from the wrong answer to the reference."""
    for punctuation in (False, True):
        wanted, was, now = (_features(text, punctuation) for text in (reference, wrong, right))
        added, removed = wanted - was, was - wanted
        if added or removed:
            return added <= now and not removed & now
    return False


def _features(text: str, punctuation: bool) -> set[str]:
    tokens = _TOKEN.findall(text)
    found = set()
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if token[0].isalpha() or token[0] == "_":
            if before == "." or after == "(" or token in _WORDS:
                found.add(token)
        elif punctuation or token not in _PUNCTUATION:
            found.add(token)
    return found
