"""Token scores land on the line and the statement they belong to, in generated and in given source."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_probes import made_probe

from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.spans import token_map
from probes import ErrorProbe
from probes.error_probe import Calibration
from probes.watching.attach import attach
from probes.watching.riskmap import answer_map, lines, score_source, statements
from probes.watching.shift import describe_scores

PYTHON = "def f(x):\n    for i in range(3):\n        x = x + i\n\n    return x\n"
C = "int f(int x) {\n  for (int i = 0; i < 3; i++) {\n    x += i;\n  }\n  return x;\n}\n"
SAME = Calibration(1.0, 0.0)


def by_character(text: str) -> tuple[list[tuple[int, int]], list[float]]:
    """One token a character, its score the number of its line."""
    return [(i, i + 1) for i in range(len(text))], [float(text[:i].count("\n") + 1) for i in range(len(text))]


def test_each_line_gathers_its_own_tokens():
    found = lines(PYTHON, *by_character(PYTHON), SAME)
    assert [(one.line, one.score) for one in found] == [(1, 1.0), (2, 2.0), (3, 3.0), (5, 5.0)]
    assert [one.text.strip() for one in found] == ["def f(x):", "for i in range(3):", "x = x + i", "return x"]
    assert found[0].risk == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.mark.parametrize(("text", "language", "loop"), [(PYTHON, "python", "for"), (C, "c", "for")])
def test_a_token_belongs_to_the_innermost_statement(text: str, language, loop: str):
    found = {one.kind: one for one in statements(text, *by_character(text), SAME, language)}
    assert {"function", loop, "return", "expression"} <= found.keys()
    inner, outer = found["expression"], found[loop]
    assert inner.score == inner.highest == 3.0
    assert outer.start < inner.start < inner.end <= outer.end
    assert outer.n_tokens + inner.n_tokens <= outer.end - outer.start
    # The loop's own tokens are its head's, the indentation of its body, and in C its closing brace's.
    assert outer.highest == (3.0 if language == "python" else 4.0)


def test_a_token_over_a_line_end_belongs_to_what_can_be_seen_of_it():
    text = "a:\n  b"
    found = lines(text, [(0, 2), (2, 6)], [1.0, 2.0], SAME)
    assert [(one.line, one.n_tokens, one.score) for one in found] == [(1, 1, 1.0), (2, 1, 2.0)]


def test_tokens_that_were_not_read_count_for_nothing():
    found = lines("ab\ncd", [(0, 1), (1, 2), (3, 5)], [1.0, float("nan"), float("nan")], SAME)
    assert [(one.line, one.n_tokens, one.score) for one in found] == [(1, 1, 1.0)]
    with pytest.raises(InputError, match="2 tokens and 1 scores were given"):
        lines("ab", [(0, 1), (1, 2)], [1.0], SAME)


def test_a_generated_answer_is_mapped_over_all_its_tokens(tiny):
    probe = made_probe(tiny)
    with attach(probe, tiny) as watch:
        done = tiny.generate(["y = x[:]", "a"], max_new_tokens=24)
    for answer, generation in zip(watch.answers, done, strict=True):
        found = answer_map(answer, tiny.tokenizer, probe.calibration_, "python")
        assert found.text == generation.text
        visible = [s for s in answer.scores if np.isfinite(s)]
        assert sum(line.n_tokens for line in found.lines) <= len(visible)
        assert max(line.highest for line in found.lines) <= max(visible)


@pytest.mark.parametrize("repeats", [1, 20])
def test_source_is_scored_as_capture_and_decision_score_it(tiny, repeats: int):
    probe = made_probe(tiny, position="answer")
    text = PYTHON * repeats
    found = score_source(probe, tiny, text, "python")
    ids = tiny.tokenizer(text).input_ids
    assert (len(ids) > tiny.max_length) == (repeats == 20)
    first = tiny.tokenizer.decode(ids[: tiny.max_length // 2]) if repeats == 20 else text
    each = probe.decision(capture(tiny, [first], "resid.1", "all")["resid.1", "all"][0])
    each[0] = np.nan
    mapped = token_map(tiny.tokenizer, first)
    expected = lines(first, mapped.offsets, each.tolist(), probe.calibration_)
    for got, want in zip(found.lines[: len(expected) - 1], expected[:-1], strict=True):
        assert (got.line, got.text) == (want.line, want.text)
        assert got.score == pytest.approx(want.score, abs=1e-3)
    assert len(found.lines) == 4 * repeats
    assert found.shift is not None
    assert found.shift.n == len(ids) - 1


def test_the_shift_from_what_the_probe_was_fitted_on_is_said(tiny, tmp_path):
    probe = made_probe(tiny)
    assert "not recorded" in score_source(probe, tiny, PYTHON).shift.sentence  # type: ignore[union-attr]
    data = {"task": "types", "mode": "activations taken while the answer was generated"}
    probe.save(tmp_path / "bare", model=tiny, data=data)
    bare = score_source(ErrorProbe.load(tmp_path / "bare"), tiny, PYTHON).shift
    assert bare is not None
    assert bare.distance is None
    assert "fitted on generated answers to task types, not on source files" in bare.sentence
    assert "are not stored" in bare.sentence
    far = describe_scores([bare.mean + 30.0, bare.mean + 34.0])
    probe.save(tmp_path / "far", model=tiny, data={**data, "scores": far})
    shift = score_source(ErrorProbe.load(tmp_path / "far"), tiny, PYTHON).shift
    assert shift is not None
    assert shift.distance == pytest.approx(-16.0, abs=1e-6)
    assert "differ by -16.0 standard deviations. That is far" in shift.sentence


def test_empty_source_is_refused(tiny):
    with pytest.raises(InputError, match="the source is empty"):
        score_source(made_probe(tiny), tiny, " \n")
