"""The races task against ThreadSanitizer with Archer, and against what a split or a name could leak through."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.races import oracle as races_oracle
from ellora_trust.tasks.races.dataracebench import problem_of, read_benchmark, without_comments
from ellora_trust.tasks.races.datasheet import best_word
from ellora_trust.tasks.races.draw import FUNCTIONS, TAGS, VARIABLES, skeleton
from ellora_trust.tasks.races.oracle import RaceOracle
from ellora_trust.tasks.races.pairs import FULL_SIZE, drawn_pairs
from ellora_trust.tasks.races.patterns import PATTERNS, draw_sketch
from ellora_trust.tasks.races.prompt import HEADER, QUESTION, SHOTS
from ellora_trust.tasks.races.task import MAX_SIZE, RacesTask
from ellora_trust.tasks.verified import Observed

RACY: Observed = {"tsan": "race", "differs": False, "status": "ok"}
QUIET: Observed = {"tsan": "silent", "differs": False, "status": "ok"}
DRAWN = drawn_pairs(FULL_SIZE // 2 // len(PATTERNS))
# Of each kind one whose race shows however threads are scheduled, so that a busy machine fails no test.
SURE = ("true_dependence", "index_array", "pointer_alias", "missing_reduction", "static_local", "half_atomic", "nowait")

SUM = """\
#include <stdio.h>
int main(void) {
    int sum = 0;
    #pragma omp parallel for reduction(+:sum)
    for (int i = 0; i < 1000; i++)
        sum += i;
    printf("%d\\n", sum);
    return 0;
}
"""


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaceOracle]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELLORA_TRUST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield RaceOracle(Sandbox())


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> RacesTask:
    """A task that takes construction for truth, so that nothing is compiled."""
    monkeypatch.setattr(RaceOracle, "observe", lambda _, programs: [RACY, QUIET] * (len(programs) // 2))
    return RacesTask(box=SimpleNamespace(isolation=SimpleNamespace(detail="none")))  # pyright: ignore[reportArgumentType]


def code_of(example: Example) -> str:
    assert example.prompt.endswith(QUESTION)
    return example.prompt.removesuffix(QUESTION)


def changed(one: str, other: str) -> tuple[list[str], list[str]]:
    """Return the lines of both that remain without the common beginning and end."""
    left, right = one.split("\n"), other.split("\n")
    while left and right and left[0] == right[0]:
        left, right = left[1:], right[1:]
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    return left, right


def test_a_correct_sum_is_reported_without_archer_and_silent_with_it(oracle: RaceOracle) -> None:
    assert oracle.tsan(SUM, oracle.launcher, archer=False)[0] == "race"
    assert oracle.tsan(SUM, oracle.launcher) == ("silent", ["499500"] * len(races_oracle.TSAN_THREADS))


def test_a_missing_reduction_gives_a_race(oracle: RaceOracle) -> None:
    assert oracle.tsan(SUM.replace(" reduction(+:sum)", ""), oracle.launcher)[0] == "race"


def test_overflow_and_indices_out_of_bounds_are_no_silent_verdict(oracle: RaceOracle) -> None:
    assert oracle.tsan(SUM.replace("int sum = 0", "int sum = 2147483647"), oracle.launcher)[0] == "exit"
    assert oracle.tsan("int a[3]; int main(int n, char **_) { return a[n + 4]; }", oracle.launcher)[0] != "silent"
    assert oracle.tsan("int main(void) { return x; }", oracle.launcher)[0] == "build_error"


@pytest.mark.parametrize("pattern", SURE)
def test_running_confirms_what_was_constructed(oracle: RaceOracle, pattern: str) -> None:
    sketch = draw_sketch(pattern, "test")
    racy, fixed = oracle.observe([sketch.program("race"), sketch.program("fixed")])
    assert racy["tsan"] == "race"
    assert fixed == QUIET


def test_shots_of_the_header_are_answered_right(oracle: RaceOracle) -> None:
    for code, answer in SHOTS:
        entry = re.search(r"void (\w+)\(void\)", code)
        assert entry is not None
        verdict, _ = oracle.tsan(f"{code}\nint main(void) {{ {entry[1]}(); return 0; }}", oracle.launcher)
        assert verdict == ("race" if answer == "yes" else "silent")


@pytest.mark.slow
def test_running_confirms_a_pair_of_every_pattern(oracle: RaceOracle) -> None:
    task = RacesTask(box=oracle.box)
    found = task.examples(limit=2 * len(PATTERNS), seed=3)
    assert {example.meta["pattern"] for example in found} == set(PATTERNS)
    assert {example.meta["evidence"] for example in found if example.answer == "yes"} <= {"tsan", "differs", "both"}
    assert "fixed member reported" not in task.drops
    assert task.oracle()["archer"].endswith("libarcher.so")


def test_same_seed_gives_the_same_pairs_in_processes_with_other_hash_seeds() -> None:
    code = (
        "import hashlib; from ellora_trust.tasks.races.pairs import drawn_pairs;"
        "print(hashlib.sha256(repr(drawn_pairs(2, seed=7)).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(drawn_pairs(2, seed=7)).encode()).hexdigest()
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_another_seed_gives_other_programs(believed: RacesTask) -> None:
    one = {example.prompt for example in believed.examples(limit=84, seed=0)}
    assert len(one & {example.prompt for example in believed.examples(limit=84, seed=1)}) < 5


def test_a_smaller_limit_gives_a_prefix_and_none_gives_the_full_set(believed: RacesTask) -> None:
    full = believed.examples()
    assert len(full) == FULL_SIZE
    for limit in (1, 2, 7, 85, 300):
        assert believed.examples(limit=limit) == full[:limit]


def test_dropped_pairs_leave_the_prefix_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(_: RaceOracle, programs: Sequence[str]) -> list[Observed]:
        # About every third pair is taken for unconfirmed, whatever it is asked together with.
        ends = [hashlib.sha256(program.encode()).digest()[0] % 3 for program in programs]
        return [(RACY if ends[i] else QUIET) if i % 2 == 0 else QUIET for i in range(len(programs))]

    monkeypatch.setattr(RaceOracle, "observe", observe)
    task = RacesTask(box=SimpleNamespace())  # pyright: ignore[reportArgumentType]
    full = task.examples(limit=240)
    assert task.examples(limit=101) == full[:101]
    assert list(task.drops) == ["race not seen"]
    assert 30 < task.drops["race not seen"] < 110
    patterns = [example.meta["pattern"] for example in full[:84:2]]
    assert len(set(patterns)) == len(PATTERNS)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ((RACY, RACY), "fixed member reported"),
        ((RACY, {**QUIET, "differs": True}), "fixed member's results differ"),
        ((RACY, {**QUIET, "status": "timeout"}), "fixed member failed"),
        ((RACY, {**QUIET, "tsan": "no_archer"}), "fixed member failed"),
        (({**QUIET, "tsan": "signal"}, QUIET), "race not seen"),
    ],
)
def test_a_pattern_that_running_never_confirms_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, seen: tuple[Observed, Observed], reason: str
) -> None:
    monkeypatch.setattr(RaceOracle, "observe", lambda _, programs: list(seen) * (len(programs) // 2))
    with pytest.raises(EnvironmentProblem, match=rf"12 pairs of pattern .* not confirmed \({reason}\); use a machine"):
        RacesTask(box=SimpleNamespace()).examples(limit=2)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("differs", "tsan", "evidence"), [(True, "silent", "differs"), (True, "race", "both")])
def test_results_that_differ_are_evidence_too(
    monkeypatch: pytest.MonkeyPatch, differs: bool, tsan: str, evidence: str
) -> None:
    racy = {"tsan": tsan, "differs": differs, "status": "ok"}
    monkeypatch.setattr(RaceOracle, "observe", lambda _, programs: [racy, QUIET] * (len(programs) // 2))
    found = RacesTask(box=SimpleNamespace()).examples(limit=2)  # pyright: ignore[reportArgumentType]
    assert {example.meta["evidence"] for example in found} == {evidence, "silent"}


def test_every_pattern_occurs_once_before_any_again(believed: RacesTask) -> None:
    patterns = [str(example.meta["pattern"]) for example in believed.examples()[::2]]
    for start in range(0, len(patterns), len(PATTERNS)):
        assert sorted(patterns[start : start + len(PATTERNS)]) == sorted(PATTERNS)
    assert len(PATTERNS) >= 16


def test_members_of_a_pair_are_neighbours_with_both_answers_in_either_order(believed: RacesTask) -> None:
    full = believed.examples()
    for one, other in zip(full[::2], full[1::2], strict=True):
        assert (one.group, one.meta["pair"]) == (other.group, other.meta["pair"])
        assert {(one.answer, one.meta["variant"]), (other.answer, other.meta["variant"])} == {
            ("yes", "race"),
            ("no", "fixed"),
        }
    first = Counter(example.answer for example in full[::2])
    assert min(first.values()) > 0.4 * len(full) / 2


def test_programs_are_distinct_in_text_and_id_and_short(believed: RacesTask) -> None:
    full = believed.examples()
    assert len({example.prompt for example in full}) == len({example.id for example in full}) == FULL_SIZE
    assert max(int(example.meta["n_lines"] or 0) for example in full) <= 20
    assert all(example.meta["n_lines"] == len(code_of(example).split("\n")) for example in full)


def test_members_of_a_pair_differ_in_one_place() -> None:
    for pair in DRAWN:
        left, right = changed(pair.sketch.code("race"), pair.sketch.code("fixed"))
        assert left != right
        assert max(len(left), len(right)) <= (2 if pair.pattern == "check_outside" else 1)


def test_nothing_in_the_shown_code_gives_the_answer_away() -> None:
    keywords = set(
        """
        int long double void for if else return struct unsigned static i j omp_get_thread_num pragma omp parallel
        reduction max private firstprivate lastprivate shared threadprivate schedule collapse num_threads nowait ordered
        atomic critical barrier single master sections section task taskwait depend in out
    """.split()
    )
    names = keywords | {*VARIABLES, *FUNCTIONS, *TAGS}
    for pair in DRAWN:
        for variant in ("race", "fixed"):
            assert set(re.findall(r"[a-z_]+", pair.sketch.code(variant))) <= names


def test_no_single_word_tells_racy_from_fixed_members() -> None:
    codes = [(pair.sketch.code("race"), pair.sketch.code("fixed")) for pair in DRAWN]
    assert best_word(codes)[1] < 0.6
    assert best_word([("a b", "a"), ("b", "c")]) == ("b", 1.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("variant", ["race", "fixed"])
def test_equal_skeletons_never_cross_groups_nor_patterns(variant: str, seed: int) -> None:
    groups: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for pair in drawn_pairs(10, seed):
        groups[skeleton(pair.sketch.code(variant))].add((pair.group, pair.pattern))
    assert all(len(found) == 1 for found in groups.values())


def test_groups_are_many_and_noise_makes_no_new_ones() -> None:
    counts = Counter(pair.group for pair in DRAWN)
    assert len(counts) >= 100
    assert max(counts.values()) < len(DRAWN) / 10
    noisy = {skeleton(pair.sketch.code("fixed")) for pair in DRAWN}
    assert len(noisy) > 1.2 * len(counts)


def test_skeleton_forgets_names_numbers_and_types_only() -> None:
    assert skeleton("int a[20];\na[i] = 3;") == skeleton("double vals[40];\nvals[i] = 7;")
    assert skeleton("a[i] = b[i];") != skeleton("a[i] = a[i];")
    assert skeleton("#pragma omp for") != skeleton("#pragma omp for nowait")


@pytest.mark.parametrize("completion", [" yes", "Yes.", " YES, since s is shared", "**yes**\nno", "yes"])
def test_decide_takes_the_first_word_in_any_case(completion: str) -> None:
    assert RacesTask().decide(Example("x", "g", "", "yes"), completion) is Outcome.CORRECT
    assert RacesTask().decide(Example("x", "g", "", "no"), completion) is Outcome.WRONG


@pytest.mark.parametrize("completion", ["", "\nyes", "yesterday", "race", "data race: yes", "1", "no yes", "y", "_yes"])
def test_decide_takes_nothing_else_for_a_yes(completion: str) -> None:
    assert RacesTask().decide(Example("x", "g", "", "yes"), completion) is Outcome.WRONG


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_decide_never_raises_on_what_a_model_may_write(completion: str) -> None:
    assert RacesTask().decide(Example("x", "g", "", "no"), completion) in (Outcome.CORRECT, Outcome.WRONG)


def test_header_shows_two_of_each_answer_in_programs_that_are_never_asked() -> None:
    assert Counter(answer for _, answer in SHOTS) == {"yes": 2, "no": 2}
    assert all(f"{code}{QUESTION} {answer}\n" in HEADER for code, answer in SHOTS)
    assert not {"values", "collect", "copy", "shift"} & {*VARIABLES, *FUNCTIONS, *TAGS}


@pytest.mark.parametrize("limit", [0, -1, MAX_SIZE + 1])
def test_a_limit_out_of_range_is_refused_with_the_range(limit: int) -> None:
    with pytest.raises(InputError, match=rf"limit {limit} is out of range; use 1\.\.{MAX_SIZE}, or leave it out"):
        RacesTask().examples(limit=limit)


def test_an_example_without_answer_is_refused() -> None:
    with pytest.raises(InputError, match="'x' has no answer; use one that"):
        RacesTask().decide(Example("x", "g", ""), "yes")


@pytest.mark.parametrize("program", ["gcc", "clang"])
def test_a_missing_compiler_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(races_oracle, "tool", lambda name: None if name.startswith(program) else f"/usr/bin/{name}")
    with pytest.raises(EnvironmentProblem, match=f"needs {program}, which is not installed; install it: apt-get"):
        RacesTask(box=SimpleNamespace()).examples(limit=2)  # pyright: ignore[reportArgumentType]


def test_without_archer_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(races_oracle, "tool", lambda name: str(tmp_path / "bin" / name))
    with pytest.raises(EnvironmentProblem, match=r"libarcher.so beside clang, without which .* install it: apt-get"):
        RacesTask(box=SimpleNamespace()).examples(limit=2)  # pyright: ignore[reportArgumentType]


def test_archer_is_looked_for_beside_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "lib64" / "libarcher.so"
    library.parent.mkdir()
    library.touch()
    monkeypatch.setattr(races_oracle, "tool", lambda name: str(tmp_path / "bin" / name) if name != "clang" else None)
    found = races_oracle.find_toolchain()
    assert found.archer == library
    assert found.clang == "clang-30"


def test_a_broken_toolchain_is_told_from_what_it_says_of_two_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RaceOracle, "tsan", lambda *_: ("no_archer", []))
    with pytest.raises(EnvironmentProblem, match="a racy and a correct sum gave no_archer and no_archer; no_archer"):
        _ = RaceOracle(SimpleNamespace()).launcher  # pyright: ignore[reportArgumentType]


def test_a_kernel_that_needs_fixed_addresses_gets_setarch(monkeypatch: pytest.MonkeyPatch) -> None:
    def tsan(_: RaceOracle, program: str, launcher: Sequence[str]) -> tuple[str, list[str]]:
        return ("silent" if "reduction" in program else "race") if launcher else "signal", []

    monkeypatch.setattr(RaceOracle, "tsan", tsan)
    assert RaceOracle(SimpleNamespace()).launcher == ("setarch", "-R")  # pyright: ignore[reportArgumentType]


def test_a_machine_without_isolation_can_make_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Sandbox:
        raise EnvironmentProblem("no isolation here")

    monkeypatch.setattr("ellora_trust.tasks.races.task.Sandbox", refuse)
    task = RacesTask()
    with pytest.raises(EnvironmentProblem, match="no isolation here"):
        task.examples(limit=2)
    assert "not on this machine: no isolation here" in task.datasheet()


def test_datasheet_carries_the_counted_sizes(believed: RacesTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races_oracle, "find_toolchain", lambda: races_oracle.Toolchain("clang", Path("/archer")))
    sheet = believed.datasheet()
    assert f"{FULL_SIZE} programs in {FULL_SIZE // 2} pairs" in sheet
    assert f"{len({pair.group for pair in DRAWN})} groups" in sheet
    assert f"{len(PATTERNS)} by tsan; dropped: none" in sheet


ANTIDEP = """/*
Copyright, all rights reserved.
*/
/* Data race pair: a[i+1] vs. a[i] */
#include <stdio.h>
int main() {
  int a[100]; // shared
  char *s = "// no comment /* here";

#pragma omp parallel for
  for (int i = 0; i < 99; i++)
    a[i] = a[i + 1];
  return a[5];
}
"""


@pytest.fixture
def benchmark_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "drb" / "micro-benchmarks"
    folder.mkdir(parents=True)
    other = 'int main() { double x = 1.0;\n#pragma omp parallel\n#pragma omp master\nx = 2.0;\nprintf("%f", x); }'
    files = {
        "DRB001-antidep1-orig-yes.c": ANTIDEP,
        "DRB002-antidep1-var-yes.c": ANTIDEP.replace("100", "argc"),
        "DRB103-master-orig-no.c": other,
        "DRB124-master-orig-yes.c": "int init; void f() {\n#pragma omp master\ninit = 10; }\nint main() { f(); }",
        "DRB041-tile-no.c": f"{other}\n{'int unused;' * 400}",
        "DRB149-lock-orig-no.c": other.replace("%f", "Data Race"),
        "DRB024-simd-orig-dd.c": other,
        "signaling.h": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder.parent


def test_benchmark_files_are_read_with_their_answers_and_losses(benchmark_folder: Path) -> None:
    found = read_benchmark(benchmark_folder)
    assert {example.meta["path"]: example.answer for example in found.examples} == {
        "DRB001-antidep1-orig-yes.c": "yes",
        "DRB002-antidep1-var-yes.c": "yes",
        "DRB103-master-orig-no.c": "no",
        "DRB124-master-orig-yes.c": "yes",
    }
    assert sorted(found.lost.values()) == [1, 1, 1]
    assert any("longer than" in reason for reason in found.lost)
    assert read_benchmark(benchmark_folder / "micro-benchmarks").examples == found.examples


def test_benchmark_examples_are_references_without_comments(benchmark_folder: Path) -> None:
    example = read_benchmark(benchmark_folder).examples[0]
    text = (benchmark_folder / "micro-benchmarks" / str(example.meta["path"])).read_bytes()
    assert example.meta["sha256"] == hashlib.sha256(text).hexdigest()
    assert example.meta["reference"] is True
    assert example.meta["licence"] == "BSD-3-Clause"
    code = code_of(example)
    assert code.startswith("#include <stdio.h>\nint main() {\n  int a[100];\n  char *s = ")
    assert '"// no comment /* here"' in code
    assert not re.search(r"race|pair|shared|Copyright", code)


def test_benchmark_groups_are_problems_and_stay_whole(benchmark_folder: Path) -> None:
    task = RacesTask(source=benchmark_folder)
    for seed in range(4):
        found = task.examples(seed=seed)
        assert found[0].group == found[1].group != found[2].group == found[3].group
        assert task.examples(seed=seed, limit=3) == found[:3]
    assert len({tuple(example.id for example in task.examples(seed=seed)) for seed in range(8)}) == 2


def test_benchmark_problem_forgets_number_variant_and_what_is_missing() -> None:
    assert problem_of("taskwaitmissing-orig") == problem_of("taskwait-var") == "taskwait"
    assert problem_of("antidep1-orig") == problem_of("antidep2-var")
    assert problem_of("func-arg-orig") != problem_of("declared-in-func-orig")


def test_comments_go_and_strings_stay() -> None:
    assert without_comments('a /* x\n y */ = 1; // z\n\n\'"\' "/*" b;') == 'a   = 1;\n\'"\' "/*" b;'


def test_benchmark_needs_no_compiler_and_says_what_decides(
    benchmark_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races_oracle, "tool", lambda _: None)
    task = RacesTask(source=benchmark_folder)
    assert task.oracle() == {"labels": "file names of DataRaceBench"}
    sheet = task.datasheet()
    assert "4 programs (3 yes, 1 no) in 2 groups" in sheet
    assert "BSD-3-Clause (4)" in sheet


def test_a_source_without_benchmarks_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder; give a checkout of DataRaceBench"):
        RacesTask(source=tmp_path / "none")
    (tmp_path / "main.c").touch()
    with pytest.raises(InputError, match=r"no file named like .* \(1 without yes or no in the name\); give a checkout"):
        RacesTask(source=tmp_path).examples()
