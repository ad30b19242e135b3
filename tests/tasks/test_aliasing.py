"""The aliasing task against really running its programs, and against what a split could leak through."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.errors import InputError
from ellora_trust.tasks.aliasing.draw import skeleton
from ellora_trust.tasks.aliasing.scopes import TEMPLATES
from ellora_trust.tasks.aliasing.task import FULL_SIZE, MAX_SIZE, AliasingTask, prompt_of, run_program
from ellora_trust.tasks.base import Example, Outcome

TASK = AliasingTask()
FULL = TASK.examples()
PAIRS = list(zip(FULL[::2], FULL[1::2], strict=True))
SHOWN = prompt_of("{program}").split("{program}")


def program_of(example: Example) -> str:
    before, after = SHOWN
    assert example.prompt.startswith(before)
    assert example.prompt.endswith(after)
    return example.prompt[len(before) : len(example.prompt) - len(after)]


def example_with(answer: str) -> Example:
    return Example("x", "g", "", answer)


def test_same_seed_gives_the_same_bytes_in_processes_with_other_hash_seeds() -> None:
    code = (
        "import hashlib; from ellora_trust.tasks.aliasing.task import AliasingTask;"
        "print(hashlib.sha256(repr(AliasingTask().examples(limit=300, seed=7)).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(TASK.examples(limit=300, seed=7)).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


def test_another_seed_gives_other_programs() -> None:
    programs = {example.prompt for example in TASK.examples(limit=96, seed=0)}
    assert len(programs & {example.prompt for example in TASK.examples(limit=96, seed=1)}) < 5


def test_a_smaller_limit_gives_a_prefix_and_none_gives_the_full_set() -> None:
    for limit in (1, 2, 7, 95):
        assert TASK.examples(limit=limit) == FULL[:limit]
    assert len(FULL) == FULL_SIZE
    assert TASK.examples(limit=FULL_SIZE + 50)[:FULL_SIZE] == FULL


def test_every_prefix_is_balanced_over_templates() -> None:
    for size in range(2, len(FULL) + 1, 46):
        counts = Counter(example.meta["template"] for example in FULL[:size])
        fewest = min(counts.get(template, 0) for template in TEMPLATES)
        assert max(counts.values()) - fewest <= 2


@pytest.mark.parametrize("seed", [0, 1])
def test_programs_are_many_and_distinct_in_text_and_id(seed: int) -> None:
    found = TASK.examples(seed=seed)
    assert len({program_of(example) for example in found}) == len(found) >= 2000
    assert len({example.id for example in found}) == len(found)
    assert len({example.meta["template"] for example in found}) == len(TEMPLATES) >= 14


def test_members_of_a_pair_are_neighbours_and_share_a_group() -> None:
    for one, other in PAIRS:
        assert one.meta["pair"] == other.meta["pair"]
        assert one.group == other.group
        assert {one.meta["variant"], other.meta["variant"]} == {"alias", "copy"}


def test_neither_variant_always_comes_first() -> None:
    first = Counter(one.meta["variant"] for one, _ in PAIRS)
    assert min(first.values()) > 0.4 * len(PAIRS)


def test_members_of_a_pair_differ_in_one_line_and_in_the_answer() -> None:
    for one, other in PAIRS:
        lines = zip(program_of(one).split("\n"), program_of(other).split("\n"), strict=True)
        assert sum(left != right for left, right in lines) == 1
        assert one.answer != other.answer


def test_answers_are_what_a_python_process_prints() -> None:
    sample: dict[tuple[object, object], list[Example]] = defaultdict(list)
    for example in FULL:
        sample[example.meta["template"], example.meta["variant"]].append(example)
    assert len(sample) == 2 * len(TEMPLATES)
    # One process per program is the honest check; three programs each, joined, keep it at a few seconds.
    for examples in sample.values():
        source = "\n".join(f"exec({program_of(example)!r}, {{}})" for example in examples[:3])
        done = subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[:-1] == [example.answer for example in examples[:3]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_skeletons_never_cross_groups(seed: int) -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    for example in TASK.examples(seed=seed):
        groups[skeleton(program_of(example))].add(example.group)
    assert all(len(found) == 1 for found in groups.values())


def test_groups_are_many_and_none_holds_more_than_a_tenth() -> None:
    counts = Counter(example.group for example in FULL)
    assert len(counts) >= 150
    assert max(counts.values()) < len(FULL) / 10


def test_skeleton_forgets_names_numbers_and_lengths_only() -> None:
    assert skeleton("a = [1, 2]\nb = a\nb.pop(0)") == skeleton("x = [3, 4, 5]\nr = x\nr.pop(1)")
    assert skeleton("a = [1]\nb = a\nb.pop(0)") != skeleton("a = [1]\nb = a\na.pop(0)")
    assert skeleton("a = [1]\nb = a") != skeleton("a = [1]\nb = a[:]")
    assert skeleton("b = a[:]") == skeleton("b = [*a]") == skeleton("import copy\nb = copy.copy(a)")


def test_meta_describes_the_program() -> None:
    for example in FULL:
        meta = example.meta
        assert meta["n_lines"] == len(program_of(example).split("\n"))
        assert meta["hops"] in (1, 2, 3, 4)
        assert meta["mutation"]
    for key, values in (("hops", (1, 2, 3, 4)), ("distractors", (0, 1, 2, 3, 4))):
        assert {example.meta[key] for example in FULL} == set(values)


def test_answers_fit_the_token_limit_when_every_character_is_a_token() -> None:
    assert max(len(example.answer or "") for example in FULL) <= TASK.max_new_tokens


def test_header_shows_both_variants_with_true_answers_that_are_never_asked() -> None:
    shots = [shot.split(SHOWN[1]) for shot in TASK.header.split("\n\n") if shot]
    assert len(shots) == 3
    programs = [program for program, _ in shots]
    assert [run_program(program) for program in programs] == [answer.strip() for _, answer in shots]
    assert "second = first\n" in TASK.header
    assert "second = list(first)\n" in TASK.header
    assert not set(programs) & {program_of(example) for example in FULL}
    assert all("first" not in program_of(example) for example in FULL)


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("[1, 2]", "[1, 2]"),
        ("[1, 2]", " [1,2] \nand more"),
        ("[6 6 1]", "[6 6 1]"),
        ("[]", "[ ]"),
    ],
)
def test_decide_accepts_another_spelling_of_the_answer(answer: str, completion: str) -> None:
    assert TASK.decide(example_with(answer), completion) is Outcome.CORRECT


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("[1]", "(1,)"),
        ("[1]", "[True]"),
        ("[1]", "[1.0]"),
        ("1", "True"),
        ("[1, 2]", "[1, 2, 3]"),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "[1 2]"),
        ("[6 6 1]", "[6, 6, 1]"),
        ("[6 6 1]", "[6 1 6]"),
        ("[1]", ""),
        ("[1]", "\n[1]"),
        ("[1]", "The answer is [1]"),
        ("[1]", "[1"),
        ("[1]", "(" * 10_000),
        ("[1]", "{[]: 1}"),
        ("[1]", "\0"),
    ],
)
def test_decide_rejects_other_values_types_and_what_is_no_literal(answer: str, completion: str) -> None:
    assert TASK.decide(example_with(answer), completion) is Outcome.WRONG


def test_a_member_is_decided_wrong_by_the_answer_of_its_partner() -> None:
    for one, other in PAIRS:
        assert TASK.decide(one, one.answer or "") is Outcome.CORRECT
        assert TASK.decide(one, other.answer or "") is Outcome.WRONG


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_decide_never_raises_on_what_a_model_may_write(completion: str) -> None:
    assert TASK.decide(FULL[0], completion) in (Outcome.CORRECT, Outcome.WRONG)


@pytest.mark.parametrize("limit", [0, -1, MAX_SIZE + 1])
def test_a_limit_out_of_range_is_refused_with_the_range(limit: int) -> None:
    with pytest.raises(InputError, match=rf"limit {limit} is out of range; use 1\.\.{MAX_SIZE}, or leave it out"):
        TASK.examples(limit=limit)


def test_an_example_without_answer_is_refused() -> None:
    with pytest.raises(InputError, match="'x' has no answer; use one that"):
        TASK.decide(Example("x", "g", ""), "[1]")


def test_datasheet_carries_the_counted_sizes() -> None:
    sheet = TASK.datasheet()
    assert f"{len(FULL)} distinct programs in {len(PAIRS)} pairs" in sheet
    assert f"{len({example.group for example in FULL})} groups" in sheet
    assert "Apache-2.0" in sheet
