"""The pointers task against really compiling its programs, and against what a split could leak through."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import Isolation, Limits, Run, Sandbox, Status
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.pointers import oracle as pointers_oracle
from ellora_trust.tasks.pointers import task as pointers
from ellora_trust.tasks.pointers.draw import FIELDS, FUNCTIONS, HOLE, POINTERS, STRUCTS, VALUES, Language, skeleton
from ellora_trust.tasks.pointers.oracle import UNDEFINED, PairOracle, compiler_version, verdict
from ellora_trust.tasks.pointers.pairs import LANGUAGE_OF, TEMPLATES, Pairs, candidates
from ellora_trust.tasks.pointers.task import MAX_SIZE, SHOTS, PointersTask, prompt_of

COMPILERS = all(map(shutil.which, ("bwrap", "gcc", "gfortran")))
needs_compilers = pytest.mark.skipif(not COMPILERS, reason="needs bubblewrap, gcc and gfortran")

TASK = PointersTask()
C_SHOWN = "}  // Output:"
SILENT = {f"{variant} said": "" for variant in ("alias", "copy")}
AGREED = {
    f"{variant} {build}": f"0:{value}"
    for variant, value in (("alias", 5), ("copy", 3))
    for build in ("O0", "O2", "san")
}
DRAWN = {name: list(islice(candidates(name, 0), 40)) for name in LANGUAGE_OF}


@dataclass(frozen=True)
class Seen:
    """One round of examples, and the cache that knows them."""

    examples: list[Example]
    cache: Path

    @property
    def pairs(self) -> list[tuple[Example, Example]]:
        return list(zip(self.examples[::2], self.examples[1::2], strict=True))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    if not COMPILERS:
        pytest.skip("needs bubblewrap, gcc and gfortran")
    cache = tmp_path_factory.mktemp("pointers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELLORA_TRUST_CACHE", str(cache))
        return Seen(TASK.examples(limit=2 * len(LANGUAGE_OF)), cache)


@pytest.fixture
def seen(compiled: Seen, monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv("ELLORA_TRUST_CACHE", str(compiled.cache))
    return compiled


class Script(Sandbox):
    """A sandbox that runs nothing and says what the test gives it."""

    said: str = ""
    status: Status = Status.OK

    def execute(self, argv: Sequence[str], **_: object) -> Run:
        return Run(self.status, self.said, "", 0, 1.0, 1.0, 0, "none")


def scripted(said: str = "", status: Status = Status.OK) -> Script:
    kind = type("Said", (Script,), {"said": said, "status": status})
    return kind(Isolation("none", "none"), Limits())


def report(observed: Mapping[str, object]) -> str:
    """Return what the oracle's script would print of these results."""
    lines = []
    for variant in ("alias", "copy"):
        for build in ("O0", "O2", "san"):
            code, _, printed = str(observed[f"{variant} {build}"]).partition(":")
            heard = observed[f"{variant} said"] if build == "san" else ""
            lines += [f"@{variant} {build}", f"code {code}", printed, "", "@said", str(heard), ""]
    return "\n".join(lines)


def example_with(answer: str) -> Example:
    return Example("x", "g", "", answer)


def test_the_same_seed_draws_the_same_bytes_in_processes_with_other_hash_seeds() -> None:
    code = (
        "import hashlib; from itertools import islice; from ellora_trust.tasks.pointers.pairs import *;"
        "print(hashlib.sha256(repr([list(islice(candidates(n, 0), 5)) for n in LANGUAGE_OF]).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr([DRAWN[name][:5] for name in LANGUAGE_OF]).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


def test_another_seed_draws_other_programs() -> None:
    for name, drawn in DRAWN.items():
        other = {candidate.programs for candidate in islice(candidates(name, 1), 40)}
        assert len(other & {candidate.programs for candidate in drawn}) < 3


def test_a_smaller_limit_gives_a_prefix(seen: Seen) -> None:
    for limit in (1, 2, 7, 40):
        assert TASK.examples(limit=limit) == seen.examples[:limit]


def test_what_is_known_is_not_compiled_again(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairOracle, "_observe_one", lambda *_: pytest.fail("compiled again"))
    assert TASK.examples(limit=len(seen.examples)) == seen.examples


def test_every_template_occurs_once_before_any_occurs_again(seen: Seen) -> None:
    assert {example.meta["template"] for example in seen.examples} == set(LANGUAGE_OF)
    order = list(islice(Pairs(scripted(), 3, tuple(TEMPLATES))._order(), 3 * len(LANGUAGE_OF)))
    for begin in range(0, len(order), len(LANGUAGE_OF)):
        assert set(order[begin : begin + len(LANGUAGE_OF)]) == set(LANGUAGE_OF)
    assert len(TEMPLATES["c"]) >= 12
    assert len(TEMPLATES["fortran"]) >= 6


def test_members_of_a_pair_are_neighbours_with_one_group_and_two_answers(seen: Seen) -> None:
    for one, other in seen.pairs:
        assert one.meta["pair"] == other.meta["pair"]
        assert one.group == other.group
        assert {one.meta["variant"], other.meta["variant"]} == {"alias", "copy"}
        assert one.answer != other.answer
    assert len({example.id for example in seen.examples}) == len(seen.examples)


def test_neither_variant_always_comes_first() -> None:
    flipped = [candidate.flipped for drawn in DRAWN.values() for candidate in drawn]
    assert 0.4 < sum(flipped) / len(flipped) < 0.6


def test_members_of_a_pair_differ_in_one_line_only() -> None:
    for drawn in DRAWN.values():
        for candidate in drawn:
            lines = zip(*(program.split("\n") for program in candidate.programs), strict=True)
            assert sum(left != right for left, right in lines) == 1
            assert HOLE not in "".join(candidate.programs)


def test_programs_are_short_and_distinct() -> None:
    programs = [program for drawn in DRAWN.values() for candidate in drawn for program in candidate.programs]
    assert len(set(programs)) == len(programs)
    assert max(program.count("\n") + 1 for program in programs) <= 25
    assert max(len(line) for program in programs for line in program.split("\n")) <= 120


def test_answers_are_what_a_plain_build_prints(seen: Seen) -> None:
    defined = [example for example in seen.examples if not example.meta["undefined"]]
    picked = [next(example for example in defined if example.meta["language"] == language) for language in TEMPLATES]
    picked += [example for example in defined if example.meta["template"] in ("restrict_call", "freed", "union_member")]
    box = Sandbox()
    for example in picked:
        language = str(example.meta["language"])
        done = box.run(re.sub(r" +(//|!) Output:$", "\n", example.prompt), language=language)
        assert done.ok, done.stderr
        assert done.stdout.split() == (example.answer or "").split()


def test_the_alias_of_every_undefined_template_and_nothing_else_is_undefined(seen: Seen) -> None:
    for example in seen.examples:
        sketch = DRAWN[str(example.meta["template"])][0].sketch
        assert example.meta["undefined"] == (example.answer == UNDEFINED)
        assert example.meta["undefined"] == bool(sketch.report and example.meta["variant"] == "alias")
    evidence = Counter(str(example.meta["evidence"]) for example in seen.examples if example.meta["undefined"])
    assert evidence["construction"] == 3
    assert {"sanitizer: stack-use-after-return", "sanitizer: stack-use-after-scope"} < set(evidence)
    assert {"sanitizer: heap-use-after-free", "sanitizer: double-free"} < set(evidence)


def test_optimisation_shows_at_least_one_violated_restrict(seen: Seen) -> None:
    restricted = [example for example in seen.examples if str(example.meta["template"]).startswith("restrict_")]
    assert any(example.meta["builds_differ"] for example in restricted)
    assert not any(example.meta["builds_differ"] for example in seen.examples if not example.meta["undefined"])


@needs_compilers
def test_a_program_the_sanitizer_objects_to_has_no_answer() -> None:
    sound = '#include <stdio.h>\nint main(void) { int a = 3; printf("%d\\n", a); }'
    overflow = "#include <limits.h>\n" + sound.replace("int a = 3", "int b = INT_MAX, a = b + 1 < b")
    (found,) = PairOracle("c", Sandbox()).observe([(sound, overflow)])
    assert found["alias san"] == "0:3"
    assert found["alias said"] == ""
    assert verdict(found, report="").dropped == "a sanitizer spoke of a member meant to be defined"
    assert verdict(found, report="heap-use-after-free").answers == ()


def test_two_sound_members_that_print_different_things_are_kept() -> None:
    assert verdict({**AGREED, **SILENT}, report="").answers == ("5", "3")
    kept = verdict({**AGREED, **SILENT, "alias said": "heap-use-after-free"}, report="heap-use-after-free")
    assert kept.answers == (UNDEFINED, "3")


@pytest.mark.parametrize(
    ("change", "sanitizer", "reason"),
    [
        ({"copy O2": "0:4"}, "", "the builds of a member disagree"),
        ({"alias O0": "0:4"}, "", "the builds of a member disagree"),
        ({"copy said": "signed integer overflow"}, "", "a sanitizer spoke"),
        ({f"copy {build}": "1:3" for build in ("O0", "O2", "san")}, "", "exits with an error"),
        ({f"copy {build}": "0:5" for build in ("O0", "O2", "san")}, "", "print the same"),
        ({f"copy {build}": "0:1 2 3 4" for build in ("O0", "O2", "san")}, "", "too long"),
        ({}, "heap-use-after-free", "did not report"),
        ({"alias said": "SEGV"}, "heap-use-after-free", "did not report"),
    ],
)
def test_a_pair_is_dropped_with_its_reason(change: dict[str, str], sanitizer: str, reason: str) -> None:
    found = verdict({**AGREED, **SILENT, **change}, report=sanitizer)
    assert found.answers == ()
    assert reason in found.dropped


@needs_compilers
def test_dropped_pairs_are_counted_and_a_toolchain_that_drops_all_is_refused() -> None:
    pairs = Pairs(scripted(report({**AGREED, **SILENT, "copy said": "odd"})), 0, ("c",))
    with pytest.raises(EnvironmentProblem, match=r"too few programs of template .* use another version of gcc"):
        pairs.first(1)
    assert pairs.dropped.total() == pairs.drawn > 10


@needs_compilers
def test_a_run_that_passed_its_bounds_is_no_result_and_is_not_kept() -> None:
    sources = [("int main(void) {}", "int main(void) {;}")]
    with pytest.raises(EnvironmentProblem, match=r"ended with timeout .*try again when the machine is less busy"):
        PairOracle("c", scripted(status=Status.TIMEOUT)).observe(sources)
    (found,) = PairOracle("c", scripted(report({**AGREED, **SILENT}))).observe(sources)
    assert found["copy O2"] == "0:3"


@needs_compilers
def test_a_compiler_without_sanitizers_is_named_with_the_package() -> None:
    said = "@alias O0\ncode 0\n5\n\n@said\n\n\n@alias san\nunbuilt\n\n@said\nld: cannot find libasan.so\n\n"
    with pytest.raises(
        EnvironmentProblem, match=r"gcc builds no c program with -fsanitize.*libasan.*apt-get install gcc"
    ):
        PairOracle("c", scripted(said)).observe([("a", "b")])


def test_without_gfortran_only_the_fortran_examples_are_missing(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    versions: dict[Language, str | None] = {"c": compiler_version("c"), "fortran": None}
    monkeypatch.setattr(pointers, "compiler_version", versions.get)
    found = TASK.examples(limit=2 * len(TEMPLATES["c"]))
    assert found == [example for example in seen.examples if example.meta["language"] == "c"]
    assert TASK.oracle()["gfortran"] == "not installed"


@needs_compilers
def test_a_missing_compiler_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointers_oracle, "tool", lambda _: None)
    with pytest.raises(EnvironmentProblem, match=r"gcc is not installed.*apt-get install gcc libc6-dev"):
        TASK.examples(limit=2)


def test_a_task_is_made_and_decides_without_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointers, "Sandbox", lambda: pytest.fail("made a sandbox"))
    assert PointersTask().decide(example_with("3"), " 3") is Outcome.CORRECT


@needs_compilers
def test_the_oracle_names_compilers_and_isolation() -> None:
    found = TASK.oracle()
    assert re.search(r"gcc .*\d+\.\d+", found["gcc"])
    assert re.search(r"\d+\.\d+", found["gfortran"])
    assert found["isolation"] == Sandbox().isolation.detail


def test_equal_skeletons_never_cross_groups() -> None:
    groups: dict[str, set[str]] = defaultdict(set)
    for drawn in DRAWN.values():
        for candidate in drawn:
            groups[skeleton(candidate.programs[0])].add(candidate.group)
    assert all(len(found) == 1 for found in groups.values())
    found = Counter(candidate.group for drawn in DRAWN.values() for candidate in drawn)
    assert len(found) >= 300
    assert max(found.values()) <= 20


def test_skeleton_forgets_names_numbers_and_lengths_only() -> None:
    assert skeleton("int a = 3;\nint *p = &a;") == skeleton("int total = 7;\nint *q = &total;")
    assert skeleton("int a[2] = {1, 2};") == skeleton("int b[3] = {4, 5, 6};")
    assert skeleton("int a = 3, b = 4;\nint *p = &a;") != skeleton("int a = 3, b = 4;\nint *p = &b;")
    assert skeleton('printf("%d\\n", a);') == skeleton('printf("%d\\n", b);') != skeleton('printf("%d\\n", *p);')


def test_no_name_stands_in_two_pools_in_a_shot_or_in_a_language() -> None:
    names = [name.lower() for name in (*VALUES, *POINTERS, *FUNCTIONS, *STRUCTS, *FIELDS)]
    assert len(set(names)) == len(names)
    reserved = "d n h i0 main print printf malloc realloc free memcpy sizeof int long void const static struct union "
    reserved += "typedef return restrict include stdio stdlib string program implicit none integer pointer target "
    reserved += "allocatable allocate deallocate source type value associate equivalence call contains subroutine end"
    assert not set(names) & {*reserved.split(), "first", "second", "third"}
    spoken = {word for drawn in DRAWN.values() for word in re.findall(r"\b[a-z]\w*", skeleton(drawn[0].programs[0]))}
    assert {word for word in spoken if not re.fullmatch(r"v\d+", word)} <= set(reserved.split())


@needs_compilers
def test_header_shows_true_answers_one_of_them_undefined() -> None:
    shots = "".join(f"{prompt_of(program, language)} {answer}\n\n" for language, program, answer in SHOTS)
    assert shots == TASK.header
    one, other, fortran = (program for _, program, _ in SHOTS)
    box = Sandbox()
    (found,) = PairOracle("c", box).observe([(other, one)])
    assert verdict(found, report="heap-use-after-free").answers == (UNDEFINED, SHOTS[0][2])
    (found,) = PairOracle("fortran", box).observe([(fortran, fortran.replace("second = first", "second => first"))])
    assert verdict(found, report="").answers == (SHOTS[2][2], "7")
    assert [answer for _, _, answer in SHOTS].count(UNDEFINED) == 1


def test_meta_describes_the_program(seen: Seen) -> None:
    for example in seen.examples:
        assert example.meta["language"] == LANGUAGE_OF[str(example.meta["template"])]
        assert example.meta["n_lines"] == example.prompt.count("\n") + 1
        assert example.meta["hops"] in (1, 2, 3)
        assert example.prompt.endswith(C_SHOWN if example.meta["language"] == "c" else "end program main  ! Output:")
        assert len(example.answer or "") <= TASK.max_new_tokens


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("3", " 3\nand more"),
        ("3 14", "  3   14 "),
        ("3", "03"),
        ("undefined", " Undefined"),
        ("undefined", "UNDEFINED  behavior"),
        ("undefined", "undefined behaviour"),
    ],
)
def test_decide_reads_values_and_forgets_blanks_and_case(answer: str, completion: str) -> None:
    assert TASK.decide(example_with(answer), completion) is Outcome.CORRECT


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        ("3", "3.0"),
        ("3", "undefined"),
        ("3", "-3"),
        ("3", "3 3"),
        ("3", "3;"),
        ("3 4", "34"),
        ("3 4", "4 3"),
        ("3 4", "3, 4"),
        ("3", ""),
        ("3", "\n3"),
        ("3", "\u0663"),
        ("3", "9" * 10_000),
        ("undefined", "3"),
        ("undefined", ""),
        ("undefined", "undefined 3"),
        ("undefined", "not undefined"),
    ],
)
def test_decide_rejects_other_values_and_what_is_no_number(answer: str, completion: str) -> None:
    assert TASK.decide(example_with(answer), completion) is Outcome.WRONG


def test_a_member_is_decided_wrong_by_the_answer_of_its_partner(seen: Seen) -> None:
    for one, other in seen.pairs:
        assert TASK.decide(one, one.answer or "") is Outcome.CORRECT
        assert TASK.decide(one, other.answer or "") is Outcome.WRONG


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_decide_never_raises_on_what_a_model_may_write(completion: str) -> None:
    assert TASK.decide(example_with("3"), completion) in (Outcome.CORRECT, Outcome.WRONG)


@pytest.mark.parametrize("limit", [0, -1, MAX_SIZE + 1])
def test_a_limit_out_of_range_is_refused_with_the_range(limit: int) -> None:
    with pytest.raises(InputError, match=rf"limit {limit} is out of range; use 1\.\.{MAX_SIZE}, or leave it out"):
        TASK.examples(limit=limit)


def test_an_example_without_answer_is_refused() -> None:
    with pytest.raises(InputError, match="'x' has no answer; use one that"):
        TASK.decide(Example("x", "g", ""), "3")


def test_datasheet_carries_the_counted_numbers(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointers, "_SAMPLE_ROUNDS", 1)
    sheet = TASK.datasheet()
    undefined = sum(example.answer == UNDEFINED for example in seen.examples) / len(seen.examples)
    assert f"the first {len(seen.examples)} programs of seed 0 ({len(seen.pairs)} pairs" in sheet
    assert f"{undefined:.1%} are undefined" in sheet
    assert re.search(r"\d+ of \d+ drawn pairs", sheet)
    assert "Apache-2.0" in sheet
    versions: dict[Language, str | None] = {"c": compiler_version("c"), "fortran": None}
    monkeypatch.setattr(pointers, "compiler_version", versions.get)
    assert "no gfortran on this machine" in TASK.datasheet()
