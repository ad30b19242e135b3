"""Which characters of an answer the questions are about: the riskiest run, and where a foil departs."""

from __future__ import annotations

import numpy as np
import pytest

from ellora_trust.errors import InputError
from ellora_trust.explaining.said import Said, foil_span, risky_span

PIECES = ("\n", "    ", "return", " rows", "[:", "n", " -", " 1", "]", "\n")
ANSWER = "".join(PIECES)


def scored(scores: list[float]) -> Said:
    pieces = tuple("abcdefghij"[: len(scores)])
    return Said("def f():", "".join(pieces), pieces, tuple(scores), tuple(scores))


def test_the_riskiest_run_is_the_one_with_the_largest_sum_above_the_mean_of_all_runs():
    generator = np.random.default_rng(0)
    for _ in range(40):
        scores = generator.normal(size=generator.integers(2, 10)).tolist()
        above = np.array(scores) - np.mean(scores)
        runs = [(above[i:j].sum(), i, j) for i in range(len(scores)) for j in range(i + 1, len(scores) + 1)]
        span = risky_span(scored(scores))
        assert span.basis == "risk"
        assert above[span.start : span.end].sum() == pytest.approx(max(runs)[0])


def test_one_risky_token_is_found_and_white_space_around_a_run_is_not_part_of_it():
    assert risky_span(scored([0.0, 0.0, 5.0, 0.0])).text == "c"
    scores = [3.0, 3.0, 3.0, -9.0, *[-1.0] * 6]
    assert risky_span(Said("p", ANSWER, PIECES, tuple(scores))).text == "return"


def test_without_scores_or_with_equal_ones_the_whole_answer_is_meant():
    for said in (Said("p", ANSWER, PIECES), Said("p", ANSWER, PIECES, (0.5,) * 10)):
        span = risky_span(said)
        assert (span.basis, span.text) == ("whole answer", ANSWER.strip())


@pytest.mark.parametrize(
    ("foil", "text", "instead"),
    [
        ("\n    return rows[:n]\n", None, None),
        ("\n    return rows[:n - 2]\n", " 1", " 2"),
        ("\n    return list(rows[:n - 1])\n", None, None),
        (ANSWER + "pass", None, None),
        (ANSWER[:-4], None, None),
        ("\n    return rows[:]\n", None, None),
        ("\n    return rows\n", None, None),
        ("x = 1", None, None),
    ],
)
def test_putting_the_foils_words_in_place_of_the_span_gives_the_foil(foil: str, text: str | None, instead: str | None):
    said = Said("p", ANSWER, PIECES)
    span, other = foil_span(said, foil)
    assert ANSWER[: span.start] + other + ANSWER[span.end :] == foil
    assert other
    assert span.text == ANSWER[span.start : span.end] != other
    assert {span.start, span.end} <= {0, *[end for _, end in said.offsets]}
    if instead is not None:
        assert (span.text, other) == (text, instead)


@pytest.mark.parametrize("foil", [ANSWER, "", "  \n"])
def test_a_foil_that_is_the_answer_or_nothing_is_refused(foil: str):
    with pytest.raises(InputError, match="the foil is empty or is what the model said"):
        foil_span(Said("p", ANSWER, PIECES), foil)
