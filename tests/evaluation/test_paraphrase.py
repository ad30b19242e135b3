"""Questions in another dress: other letters, the same meaning, shown by running both."""

from __future__ import annotations

import contextlib
import io
import random
import re

import pytest

from ellora_trust.evaluation.lasting.paraphrase import changed_code, paraphrased
from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Example, Outcome


def printed(program: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program, {})  # our own templates, not a model's text
    return out.getvalue().strip()


def test_programs_print_what_they_printed_under_other_names():
    task = load_task("aliasing")
    examples = task.examples(limit=30, seed=0)
    made = [paraphrased(one, task="aliasing") for one in examples]
    assert None not in made
    for before, after in zip(examples, made, strict=True):
        assert after is not None
        assert after.prompt != before.prompt
        assert printed(after.prompt) == printed(before.prompt)
        assert (after.answer, after.group) == (before.answer, before.group)
        assert task.decide(after, after.answer or "") is Outcome.CORRECT


def test_a_question_about_a_type_keeps_its_gap_and_its_answer():
    task = load_task("types")
    examples = task.examples(limit=20, seed=0)
    made = [(one, after) for one in examples if (after := paraphrased(one, task="types")) is not None]
    assert len(made) >= 12
    for before, after in made:
        assert (after.answer, after.meta["type"]) == (before.answer, before.meta["type"])
        compile(f"{after.prefix}{after.answer}{after.suffix}", "", "exec", dont_inherit=True)
        head = re.sub(r"\s*(:|->)\s*$", "", after.prefix).splitlines()[-1].strip()
        assert head in after.prompt


def test_a_docstring_is_reworded_and_the_names_in_it_stay():
    code = (
        'def mean(values, start):\n    """Return the mean of values."""\n    return sum(values) / len(values) + start'
    )
    changed = changed_code(code, random.Random(0))
    assert changed is not None
    assert '"""Give back the mean of values."""' in changed
    assert "sum(values) / len(values)" in changed
    assert "start" not in changed


def test_a_string_that_is_no_docstring_keeps_its_words():
    code = 'def f(rows):\n    kept = """Find all"""\n    print(kept, rows)\n\n\nf(3)\n'
    changed = changed_code(code, random.Random(0))
    assert changed is not None
    assert printed(changed) == printed(code) == "Find all 3"


def test_names_in_a_docstring_stay_whatever_its_quotes_and_wherever_it_stands():
    code = "é = 1\n\n\ndef f(é, start):\n    '''Return é\n    after start.'''\n    last = é[start:]\n    return last\n"
    changed = changed_code(code, random.Random(0))
    assert changed is not None
    assert "def f(é, start):\n    '''Give back é\n    after start.'''" in changed
    assert "last" not in changed


@pytest.mark.parametrize("text", ["What is 2 + 2?", "int main(void) { return 0; }\n", "print(1)"])
def test_what_is_no_python_or_has_no_names_is_left_out(text):
    assert paraphrased(Example("e", "g", text), task="jsonl") is None


def test_a_program_that_looks_at_its_names_is_not_renamed():
    code = "x = 3\nprint(locals()['x'])\n"
    assert changed_code(code, random.Random(0)) is None


def test_the_same_seed_gives_the_same_words():
    (example,) = load_task("aliasing").examples(limit=1, seed=0)
    first, again, other = (paraphrased(example, task="aliasing", seed=seed) for seed in (0, 0, 1))
    assert first == again != other
