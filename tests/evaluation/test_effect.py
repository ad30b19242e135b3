"""What became of a wrong answer is told from outcomes and text."""

from __future__ import annotations

import pytest

from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.judging.effect import target_effect, turn_of
from ellora_trust.tasks.base import Example, Outcome

PUSH = "\n    for row in rows:\n        buf.push(row)\n"
REFERENCE = "\n    for value in rows:\n        buf.append(value)\n"
DICT = " dict:\n    out = {}\n    out[x] = 1\n    return out"
OMP = "#pragma omp parallel for"


def answer(text: str, outcome: Outcome = Outcome.WRONG, shows: bool | None = None) -> Answer:
    return Answer(text, outcome, shows, 0.5, ())


@pytest.mark.parametrize(
    ("now", "turn"),
    [
        (answer("\n    for row in rows:\n        buf.append(row)\n", Outcome.CORRECT), "adopted"),
        (answer("\n    buf += rows\n", Outcome.CORRECT), "workaround"),
        (answer(PUSH.replace("row", "x"), Outcome.CRASH, shows=True), "kept"),
        (answer(PUSH, Outcome.CRASH), "kept"),
        (answer("\n    return None\n"), "breakage"),
        (answer("\n    buf.append(", Outcome.BUILD_ERROR), "breakage"),
        (answer(PUSH.replace("push", "add"), Outcome.TIMEOUT, shows=False), "breakage"),
    ],
)
def test_each_turn_is_told(now, turn):
    assert turn_of(REFERENCE, answer(PUSH, Outcome.CRASH, shows=True), now) == turn


@pytest.mark.parametrize(
    ("reference", "wrong", "right", "turn"),
    [
        ("\n    out = items[:n]\n    return out", "\n    return items[:n - 1]", "\n    return items[:n]", "adopted"),
        (DICT, " list:\n    return {x: 1}", " dict:\n    return {x: 1}", "adopted"),
        ("\n    out = a[:]\n", "\n    out = a\n", "\n    b = a[:]\n", "adopted"),
        ("\n    out = a[:]\n", "\n    out = a\n", "\n    out = list(a)\n", "workaround"),
        (f"{OMP} reduction(+:s)\n", f"{OMP}\n", f"{OMP} reduction(+:t)\n", "adopted"),
        (f"{OMP} reduction(+:s)\n", f"{OMP}\n", "\n", "workaround"),
    ],
)
def test_a_fix_is_its_form_whatever_the_variables_are_called(reference, wrong, right, turn):
    assert turn_of(reference, answer(wrong), answer(right, Outcome.CORRECT)) == turn


def test_without_a_reference_a_right_answer_is_a_workaround():
    assert turn_of(None, answer(PUSH), answer(REFERENCE, Outcome.CORRECT)) == "workaround"


def test_only_items_wrong_before_are_counted():
    example = Example("a", "a", "def f():", REFERENCE)
    before = [answer(PUSH, shows=True), answer(REFERENCE, Outcome.CORRECT, shows=False)]
    after = [answer(REFERENCE, Outcome.CORRECT, shows=False), answer(PUSH, shows=True)]
    effect = target_effect([example, example], before, after)
    assert (effect.n, effect.adopted, effect.workaround, effect.kept, effect.breakage) == (1, 1, 0, 0, 0)
    assert (effect.shown_before, effect.shown_after) == (1, 1)
