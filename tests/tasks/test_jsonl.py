"""A user's own questions: what a line may say, how it is decided, and one sentence for what is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Outcome
from ellora_trust.tasks.jsonl.answers import chosen, gives
from ellora_trust.tasks.jsonl.task import JsonlTask

CORRECT, WRONG = Outcome.CORRECT, Outcome.WRONG


def write(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def outcome(folder: Path, row: Mapping[str, object], completion: str, box: Sandbox | None = None) -> Outcome:
    task = JsonlTask(source=write(folder, row), box=box)
    return task.decide(task.examples()[0], completion)


@pytest.fixture(scope="module")
def box() -> Sandbox:
    return Sandbox()


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write(
        tmp_path, *({"prompt": f"{n} + 1 =", "answer": str(n + 1), "group": f"g{n // 3}", "id": n} for n in range(30))
    )


@pytest.mark.parametrize(
    ("accepted", "match", "completion", "right"),
    [
        ("4", "exact", " 4 \nmore", True),
        ("4", "exact", "5\n4", False),
        (["four", "4"], "exact", "four", True),
        ("[1, 2]", "exact", "[1,2]", False),
        ("[1, 2]", "value", "[1,2]", True),
        ("[1, 2]", "value", "(1, 2)", False),
        ("1", "value", "True", False),
        ("{'b', 'a'}", "value", "{'a', 'b'}", True),
        ("word", "value", "word", True),
        ("data race", "contains", "There is a data race here.", True),
        ("data race", "contains", "none", False),
        ("a\nb", "exact", "a\nb\n", True),
        ("a\nb", "exact", "a", False),
    ],
)
def test_an_answer_is_compared_as_its_line_says(
    tmp_path: Path, accepted: object, match: str, completion: str, right: bool
) -> None:
    row = {"prompt": "?", "answer": accepted, "match": match}
    assert outcome(tmp_path, row, completion) is (CORRECT if right else WRONG)


@pytest.mark.parametrize("completion", ["list", " list\n", "A", "a", "A.", "(A)", "A) list", "1", "1. list", "'list'"])
def test_a_choice_is_named_by_text_letter_or_number(tmp_path: Path, completion: str) -> None:
    row = {"prompt": "Which is mutable?", "choices": ["list", "tuple"], "answer": "list"}
    assert outcome(tmp_path, row, completion) is CORRECT
    assert outcome(tmp_path, {**row, "answer": 1}, completion) is WRONG


@pytest.mark.parametrize("completion", ["", "A dog", "C", "3", "0", "A) tuple", "listing", "the list"])
def test_what_names_no_choice_is_none(completion: str) -> None:
    assert chosen(completion, ("list", "tuple")) is None


def test_a_number_or_letter_that_is_a_choice_is_no_label() -> None:
    assert chosen("2", ("3", "2")) == 1
    assert chosen("1", ("10", "20")) is None
    assert chosen("A", ("B", "A")) == 1
    assert chosen("C", ("B", "A", "x")) is None
    assert chosen("B", ("10", "20")) == 1


def test_choices_are_shown_unless_the_line_says_otherwise(tmp_path: Path) -> None:
    row = {"prompt": "Which?", "choices": ["x", "y"], "answer": 1}
    shown, hidden = JsonlTask(source=write(tmp_path, row, {**row, "show_choices": False})).examples(seed=0)
    assert {shown.prompt, hidden.prompt} == {"Which?\nA. x\nB. y\nAnswer:", "Which?"}
    assert shown.group == hidden.group


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=2), min_size=2, unique=True)
)
def test_every_choice_is_named_by_its_own_text(choices: list[str]) -> None:
    assert all(chosen(f" {choice}\nmore", choices) == choices.index(choice) for choice in choices)


@given(st.text(), st.sampled_from(["exact", "value", "contains"]))
def test_any_completion_is_decided_and_only_the_answer_is_right(text: str, match) -> None:
    answer = "the one answer"
    assert gives(text, (answer,), match=match) == (answer in text)


def test_tests_decide_what_a_program_does(tmp_path: Path, box: Sandbox) -> None:
    row = {"prompt": "def double(x):\n", "tests": ["assert double(2) == 4", "assert double(-1) == -2"]}
    row = {**row, "entry_point": "double"}
    assert outcome(tmp_path, row, "    return 2 * x\nprint(double)", box) is CORRECT
    assert outcome(tmp_path, row, "    return x * x\n", box) is WRONG
    assert outcome(tmp_path, row, "    return (\n", box) is Outcome.BUILD_ERROR


def test_a_gap_is_filled_before_tests_run(tmp_path: Path, box: Sandbox) -> None:
    row = {"prompt": "Complete it.", "prefix": "def half(x):\n    return x ", "suffix": " 2\n", "entry_point": "half"}
    row = {**row, "tests": "assert half(5) == 2"}
    assert outcome(tmp_path, row, "//", box) is CORRECT
    assert outcome(tmp_path, row, "*", box) is WRONG


def test_many_completions_are_decided_in_their_order(many: Path) -> None:
    task = JsonlTask(source=many)
    examples = task.examples()
    completions = [example.answer or "" if index % 2 else "no" for index, example in enumerate(examples)]
    assert task.decide_all(examples, completions) == [CORRECT if index % 2 else WRONG for index in range(30)]


def test_only_a_file_with_tests_names_an_isolation(tmp_path: Path, many: Path, box: Sandbox) -> None:
    assert JsonlTask(source=many, box=box).oracle() == {}
    path = write(tmp_path, {"prompt": "p", "tests": "assert f() == 1", "entry_point": "f"})
    found = JsonlTask(source=path, box=box).oracle()
    assert found["isolation"] == box.isolation.detail
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])


def test_the_order_is_seeded_keeps_groups_whole_and_smaller_limits_are_prefixes(many: Path) -> None:
    task = JsonlTask(source=many)
    full = task.examples(seed=1)
    assert full == JsonlTask(source=many).examples(seed=1) != task.examples(seed=2)
    assert all(task.examples(limit=limit, seed=1) == full[:limit] for limit in (1, 2, 7, 29, 30, 99))
    assert len(list(groupby(example.group for example in full))) == 10
    assert sorted(example.id for example in full) == sorted(str(n) for n in range(30))


def test_lines_without_a_group_share_one_only_if_their_prompts_are_equal(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "x"}, {"prompt": "a", "answer": "y"}, {"prompt": "b", "answer": "x"}]
    task = JsonlTask(source=write(tmp_path, *rows))
    assert sorted(Counter(example.group for example in task.examples()).values()) == [1, 2]
    assert "3 lines name no group, so theirs is a hash of the prompt" in task.datasheet()


def test_a_file_stops_only_where_all_its_lines_do_and_each_line_is_cut_at_its_own(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "answer": "x;y", "stop": ["\n", ";;"], "max_new_tokens": 5},
        {"prompt": "b", "answer": "x", "stop": ["\n", ";"], "max_new_tokens": 9},
    ]
    task = JsonlTask(source=write(tmp_path, *rows))
    assert (task.stop, task.max_new_tokens) == (("\n",), 9)
    examples = {example.prompt: example for example in task.examples()}
    assert task.decide(examples["a"], "x;y;;z") is CORRECT
    assert task.decide(examples["b"], "x;y") is CORRECT


def test_a_body_ends_at_the_next_function_and_a_whole_program_does_not(tmp_path: Path) -> None:
    row = {"tests": "assert f() == 1", "entry_point": "f"}
    assert "\ndef " in JsonlTask(source=write(tmp_path, {**row, "prompt": "def f():\n"})).stop
    assert "\ndef " not in JsonlTask(source=write(tmp_path, {**row, "prompt": "Write f.\n"})).stop


def test_everything_a_line_says_reaches_the_example(tmp_path: Path) -> None:
    row = {
        **{"prompt": "p", "answer": "a", "id": "x1", "group": "g", "prefix": "pre", "suffix": "suf", "header": "H\n"},
        **{"language": "c", "licence": "MIT", "source": "book", "meta": {"hard": True, "n": 3, "w": 0.5, "no": None}},
    }
    task = JsonlTask(source=write(tmp_path, row))
    (example,) = task.examples()
    assert (example.id, example.group, example.prefix, example.suffix) == ("x1", "g", "pre", "suf")
    assert task.header == "H\n"
    assert example.meta == {
        **{"check": "answer", "language": "c", "licence": "MIT", "source": "book"},
        **{"hard": True, "n": 3, "w": 0.5, "no": None},
    }
    assert "MIT (1)" in task.datasheet()


def test_blank_lines_a_byte_order_mark_and_strange_line_ends_inside_strings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('\ufeff{"prompt": "a\u2028b", "answer": "1"}\r\n\n{"prompt": "c", "answer": "2"}', encoding="utf-8")
    assert {example.prompt for example in JsonlTask(source=path).examples()} == {"a\u2028b", "c"}


GOOD = {"prompt": "p", "answer": "a"}
CHOICE = {"prompt": "p", "choices": ["x", "y"], "answer": 0}
TESTED = {"prompt": "p", "tests": "assert f()", "entry_point": "f"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**CHOICE, "choices": "x"}, "'choices' is a string; give a list of strings"),
        ({**CHOICE, "choices": ["x"]}, "'choices' has 1 entries; give 2..26"),
        ({**CHOICE, "choices": ["x", "x "]}, "'choices' holds one text twice; give different ones"),
        ({**CHOICE, "choices": ["x", "y\nz"]}, "'choices' holds a text of several lines; give one line each"),
        ({**CHOICE, "choices": ["x", 3]}, "'choices[1]' is a number; give a string"),
        ({**CHOICE, "answer": 2}, "'answer' is 2; give an index in 0..1 or one of the choices"),
        ({**CHOICE, "answer": True}, "'answer' is a boolean; give an index in 0..1 or one of the choices"),
        ({**CHOICE, "answer": "z"}, "'answer' is 'z', which is none of the choices; give an index in 0..1 or one of"),
        ({**CHOICE, "answer": None}, "'answer' is missing; give an index in 0..1 or one of the choices"),
        ({"answer": "a"}, "'prompt' is missing; give a string"),
        ({**GOOD, "prompt": 3}, "'prompt' is a number; give a string"),
        ({**GOOD, "prompt": ""}, "'prompt' is empty; give a string"),
        ({**GOOD, "answer": 3}, "'answer' is a number; give a string or a list of strings"),
        ({**GOOD, "answer": " "}, "'answer' is empty or holds an empty string; give text"),
        ({**GOOD, "answer": []}, "'answer' is empty or holds an empty string; give text"),
        ({"prompt": "p"}, "has none of them; give exactly one of 'answer', 'choices' (with 'answer') and 'tests'"),
        ({**GOOD, "tests": "assert 1"}, "has 'answer' and 'tests'; give exactly one of"),
        ({**TESTED, "entry_point": None}, "'entry_point' is missing; give a string"),
        ({**TESTED, "entry_point": "f()"}, "'entry_point' is 'f()'; give the name of a Python function"),
        ({**TESTED, "language": "c"}, "'tests' are Python, and 'language' is 'c'; give 'answer' or 'choices'"),
        ({**TESTED, "match": "exact"}, "'match' goes with 'answer' only, and this line has 'tests'; leave 'match' out"),
        ({**GOOD, "match": "exakt"}, "unknown match 'exakt'; use one of contains, exact, value; did you mean 'exact'?"),
        ({**GOOD, "promt": "p"}, "unknown field 'promt'; use one of"),
        ({**GOOD, "license": "MIT"}, "did you mean 'licence'?"),
        ({**GOOD, "meta": {"a": [1]}}, "'meta.a' is a list; give a string, a number or a boolean"),
        ({**GOOD, "meta": "a"}, "'meta' is a string; give an object of strings, numbers and booleans"),
        ({**GOOD, "max_new_tokens": 0}, "'max_new_tokens' is 0; give 1 or more"),
        ({**GOOD, "max_new_tokens": 1.5}, "'max_new_tokens' is a number; give a whole number"),
        ({**CHOICE, "show_choices": "no"}, "'show_choices' is a string; give true or false"),
        ({**GOOD, "stop": [""]}, "'stop' is empty or holds an empty string; give text"),
        ({**GOOD, "id": ""}, "'id' is empty; give a string, or leave it out"),
        ({**GOOD, "header": "other"}, "'header' differs from line 1's; give all lines the same"),
        ({**GOOD, "id": "first"}, "'id' 'first' is line 1's too; give every line its own"),
        ({**GOOD, "prompt": "\ud800"}, "'prompt' holds half of a surrogate pair; give valid Unicode"),
        ({"reference": True, "id": "x"}, "a reference to a question, without its text"),
        ('{"prompt": "p", ', "not JSON (Expecting property name enclosed in double quotes, column 17); write one JSON"),
        ('{"prompt": "p", "answer": "a", "meta": {"a": NaN}}', "not JSON (NaN is no JSON number); write one JSON"),
        ("[1]", "no JSON object; write one a line"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_file_line_and_field(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path, {"prompt": "first", "answer": "a", "id": "first"}, "", row)
    with pytest.raises(InputError, match=f"^data.jsonl line 3: .*{re.escape(message)}") as caught:
        JsonlTask(source=path)
    assert "\n" not in str(caught.value)


def test_two_equal_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.jsonl line 2: 'id' .* is line 1's too"):
        JsonlTask(source=write(tmp_path, GOOD, GOOD))


def test_a_file_that_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*missing.jsonl: No such file"):
        JsonlTask(source=tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match=r"data.jsonl is empty; give one JSON object a line"):
        JsonlTask(source=write(tmp_path, "  "))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(InputError, match=r"latin.jsonl is not UTF-8"):
        JsonlTask(source=tmp_path / "latin.jsonl")


def test_without_a_file_the_task_can_be_listed_but_not_asked() -> None:
    task = JsonlTask()
    assert task.__doc__
    with pytest.raises(InputError, match=r"none is given; use --source FILE\.jsonl"):
        task.examples()


def test_a_limit_below_one_and_an_example_of_another_task_are_refused(many: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="limit 0 is out of range; use 1 or more"):
        JsonlTask(source=many).examples(limit=0)
    (foreign,) = JsonlTask(source=write(other, GOOD)).examples()
    with pytest.raises(InputError, match=r"is not in .*; use one that this task made"):
        JsonlTask(source=many).decide(foreign, "a")
