"""The parallel task: right kernels pass, wrong and lying ones do not, prompts carry true examples."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from parallel_solutions import solution

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.sandbox.calls import Verdict
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.parallel.body import function_body
from ellora_trust.tasks.parallel.cases import RECIPES
from ellora_trust.tasks.parallel.construct import uses_model
from ellora_trust.tasks.parallel.drivers import Workshop, missing_tool
from ellora_trust.tasks.parallel.problems import PROBLEMS
from ellora_trust.tasks.parallel.races import race_tools
from ellora_trust.tasks.parallel.signature import signature
from ellora_trust.tasks.parallel.task import MAX_SIZE, ParallelTask
from ellora_trust.tasks.parallel.verdict import Asked, agrees, cases, judge

HEAD = "void f(std::vector<double> &x) {"
LOOP = "for (size_t i = 0; i < x.size(); ++i) x[i] += 1;\n}"
needs_mpi = pytest.mark.skipif(missing_tool("mpi") is not None, reason=f"MPI: {missing_tool('mpi')}")
needs_races = pytest.mark.skipif(race_tools() is None, reason="no clang with Archer")


@pytest.fixture(scope="module")
def task() -> ParallelTask:
    return ParallelTask()


@pytest.fixture(scope="module")
def base(task: ParallelTask) -> dict[tuple[str, str], Example]:
    return {(str(one.meta["problem"]), str(one.meta["model"])): one for one in task.examples()}


# Examples


def test_base_set_has_every_problem_serial_and_with_openmp(base: dict[tuple[str, str], Example]) -> None:
    assert {name for name, model in base if model == "serial"} == {name for name, model in base if model == "omp"}
    assert {name for name, _ in base} == set(PROBLEMS) == set(RECIPES)
    assert len(PROBLEMS) >= 12
    assert sum("mpi" in problem.models for problem in PROBLEMS.values()) >= 4


def test_same_seed_gives_the_same_list_and_a_smaller_limit_a_prefix(task: ParallelTask) -> None:
    many = task.examples(limit=200, seed=3)
    assert many == ParallelTask().examples(limit=200, seed=3)
    assert many[:30] == task.examples(limit=30, seed=3)
    assert many != task.examples(limit=200, seed=4)


def test_variants_are_distinct_short_and_share_their_problems_group(task: ParallelTask) -> None:
    found = task.examples(limit=400)
    assert len({one.prompt for one in found}) == len({one.id for one in found}) == len(found)
    groups = defaultdict(set)
    for one in found:
        groups[one.group].add(one.meta["problem"])
        assert len(one.prompt) < 900  # about 250 tokens
        assert one.prompt.endswith(") {")
    assert len(groups) == len(PROBLEMS)
    assert all(len(problems) == 1 for problems in groups.values())


def test_execution_models_of_a_problem_are_neighbours(task: ParallelTask) -> None:
    order = [one.group for one in task.examples()]
    assert sum(left != right for left, right in pairwise(order)) == len(set(order)) - 1


def test_the_example_of_the_base_dot_prompt_is_true(base: dict[tuple[str, str], Example]) -> None:
    lines = base["dot", "serial"].prompt.splitlines()
    given, wanted = (next(line for line in lines if f" {word}:" in line) for word in ("input", "output"))
    x, y = (json.loads(part.partition("=")[2]) for part in given.replace(" y=", "\ny=").partition(":")[2].splitlines())
    assert float(wanted.partition(":")[2]) == np.dot(x, y)


def test_header_shows_no_function_that_is_asked(task: ParallelTask) -> None:
    names = {name for problem in PROBLEMS.values() for name in problem.names}
    assert not any(f" {name}(" in task.header for name in names)


@pytest.mark.parametrize("limit", [0, MAX_SIZE + 1])
def test_a_limit_out_of_range_is_refused(task: ParallelTask, limit: int) -> None:
    with pytest.raises(InputError, match=rf"limit {limit} is out of range; use 1\.\.{MAX_SIZE}"):
        task.examples(limit=limit)


def test_an_example_of_another_task_is_refused(task: ParallelTask) -> None:
    with pytest.raises(InputError, match="'x' names no kernel of ours"):
        task.decide(Example("x", "g", "print(1)"), "")


def test_listing_needs_no_sandbox() -> None:
    def refuse() -> Sandbox:
        raise AssertionError("made a sandbox")

    task = ParallelTask()
    task._workshop = Workshop(refuse)
    assert task.examples(limit=5)
    assert "Apache-2.0" in task.datasheet()


def test_datasheet_and_oracle_name_what_decides(task: ParallelTask) -> None:
    sheet = task.datasheet()
    assert f"{len(PROBLEMS)} groups" in sheet
    assert "cuda (" in sheet
    assert {"g++", "isolation"} <= set(task.oracle())


# Completions


@pytest.mark.parametrize(
    ("completion", "body"),
    [
        (' return "}"; }\nint main() {}', ' return "}"; }'),
        (" // }\n x = '}'; } chatter", " // }\n x = '}'; }"),
        (" x = 1'000'0; } y", " x = 1'000'0; }"),
        (' R"x(})x"; /* } */ } z', ' R"x(})x"; /* } */ }'),
        (" for (;;) { f(); }", " for (;;) { f(); }\n}"),
        (" if (a) {", " if (a) {\n}"),
    ],
)
def test_a_completion_is_cut_at_the_functions_closing_brace(completion: str, body: str) -> None:
    assert function_body(completion) == body


@pytest.mark.parametrize(
    "lines",
    [
        "#pragma omp parallel for\n",
        "#  pragma omp parallel \\\n  for schedule(static)\n",
        "#pragma omp parallel\n#pragma omp for\n",
        "#pragma omp target teams distribute parallel for\n",
        "#ifdef _OPENMP\n#pragma omp parallel for\n#endif\n",
        "#if 0\n#else\n#pragma omp parallel for\n#endif\n",
        '_Pragma("omp parallel for") ',
        "// first\n#pragma omp parallel for // as asked\n// then\n",
        "for (int k = 0; k < 3; ++k)\n#pragma omp parallel for\n",
        "#pragma omp parallel for\nfor (size_t i = 0; i < x.size(); ++i)\n#pragma omp atomic\n  x[0] += x[i];\n",
        "#pragma omp parallel\n{\n#pragma omp barrier\n#pragma omp critical\n f();\n#pragma omp taskwait\n}\n",
        "#if NDEBUG\n#pragma omp parallel for\n#endif\n",
        "#pragma omp parallel if (x.size() > 10) num_threads(12)\n#pragma omp for\n",
    ],
)
def test_a_parallel_region_counts(lines: str) -> None:
    assert uses_model(HEAD, f"\n{lines}{LOOP}", "omp")


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "// #pragma omp parallel for\n",
        "/*\n#pragma omp parallel for\n*/",
        'const char *s = "\\\n#pragma omp parallel for\\\n";',
        'const char *s = R"(\n#pragma omp parallel for\n)";',
        "#if 0\n#pragma omp parallel for\n#endif\n",
        "#ifndef _OPENMP\n#pragma omp parallel for\n#endif\n",
        "#if 0\n#if 1\n#pragma omp parallel for\n#endif\n#endif\n",
        "// a comment \\\n#pragma omp parallel for\n",
        "#ifdef NEVER\n#pragma omp parallel for\n#endif\n",
        "#if 1\n#else\n#pragma omp parallel for\n#endif\n",
        "if (false) {\n#pragma omp parallel for\nfor (int i = 0; i < 3; ++i) x[i] = 0;\n}\n",
        "#pragma omp parallel for\nfor (int i = 0; i < 3; ++i);\n",
        "#pragma omp parallel\n{}\n",
        "#pragma omp parallel for num_threads(1)\n",
        "#pragma omp parallel for if(0)\n",
        "#pragma omp for\n",
        "#pragma omp simd\n",
        "#pragma omp barrier\n",
        "return;\n#pragma omp parallel for\n",
    ],
)
def test_a_region_that_is_dead_empty_or_alone_does_not_count(lines: str) -> None:
    assert not uses_model(HEAD, f"\n{lines}{LOOP}", "omp")


def test_communication_counts_and_looking_at_the_rank_does_not() -> None:
    assert uses_model(HEAD, " MPI_Allreduce(a, b, 1, t, o, c); }", "mpi")
    assert uses_model(HEAD, " MPI_Isend(a); }", "mpi")
    for body in (" MPI_Comm_rank(c, &r); }", " MPI_Barrier(c); }", " // MPI_Send(a);\n }", ' s = "MPI_Send(a)"; }'):
        assert not uses_model(HEAD, body, "mpi")
    assert not uses_model(HEAD, f" MPI_Bcast(a); {LOOP}", "mpi+omp")
    assert uses_model(HEAD, f" MPI_Bcast(a);\n#pragma omp parallel for\n{LOOP}", "mpi+omp")


# Signatures and values


def test_every_signature_of_ours_is_read_and_fits_its_cases() -> None:
    for problem in PROBLEMS.values():
        found = signature(f"{problem.signature} {{")
        assert found is not None
        assert found.name == problem.names[0]
        known = cases(problem.name)
        assert all(len(one) == len(found.parameters) for one in known.arguments)
        assert all(len(one) == len(found.outputs) for one in known.answers)


def test_a_signature_with_types_that_do_not_travel_is_not_read() -> None:
    assert signature("bool f(std::vector<bool> const& x) {") is None
    assert signature("void f(std::vector<std::string> const& x) {") is None
    assert signature("no function at all") is None


def test_values_agree_up_to_rounding_and_not_beyond() -> None:
    right = np.array([1.0, 1000.0])
    assert agrees(right + 1e-7, right, 1e-9)
    assert not agrees(right + 1e-5, right, 1e-9)
    assert not agrees(np.array([1.0, np.nan]), right, 1e-9)
    assert not agrees(right[:1], right, 1e-9)
    assert agrees(np.array([3]), 3, 0.0)
    assert not agrees(np.array([4]), 3, 0.0)


def test_yes_or_no_problems_ask_for_both_answers() -> None:
    assert {bool(answer[0]) for answer in cases("contains").answers} == {True, False}


# Verdicts

QUICK = [("axpy", "serial"), ("prefix_sum", "omp"), ("argmax", "omp"), ("histogram", "omp")]


def test_right_kernels_are_correct(task: ParallelTask, base: dict[tuple[str, str], Example]) -> None:
    found = task.decide_all([base[key] for key in QUICK], [solution(*key) for key in QUICK])
    assert found == [Outcome.CORRECT] * len(QUICK)


@needs_mpi
def test_an_mpi_kernel_must_communicate_and_give_the_result_to_all_ranks(
    task: ParallelTask, base: dict[tuple[str, str], Example]
) -> None:
    example = base["sum", "mpi"]
    serial = task.verdict(example, solution("sum", "serial"))
    assert serial == Verdict(Outcome.WRONG, "no parallel construct")
    right = solution("sum", "mpi")
    only_root = right.replace("MPI_Allreduce", "MPI_Reduce").replace("MPI_SUM,", "MPI_SUM, 0,")
    assert task.decide_all([example] * 2, [right, only_root]) == [Outcome.CORRECT, Outcome.WRONG]


@pytest.mark.slow
def test_every_solution_is_correct_in_the_base_set_and_in_a_file(task: ParallelTask) -> None:
    found = task.examples()
    bodies = [solution(str(one.meta["problem"]), str(one.meta["model"])) for one in found]
    outcomes = task.decide_all(found, bodies)
    wrong = [(one.meta["problem"], one.meta["model"], got) for one, got in zip(found, outcomes, strict=True)]
    assert [one for one in wrong if one[2] is not Outcome.CORRECT] == []


MUTANTS = {
    "empty": ("axpy", "serial", " }", Outcome.WRONG),
    "off by one": ("dot", "omp", solution("dot", "omp").replace("i = 0", "i = 1"), Outcome.WRONG),
    "ties": ("argmax", "serial", solution("argmax", "serial").replace("x[i] > x", "x[i] >= x"), Outcome.WRONG),
    "commented": ("dot", "omp", solution("dot", "omp").replace("#pragma", "// #pragma"), Outcome.WRONG),
    "syntax": ("dot", "serial", " return 0 }", Outcome.BUILD_ERROR),
    "null": ("dot", "serial", " volatile int *p = nullptr; return *p; }", Outcome.CRASH),
    "leaves": ("dot", "serial", ' std::puts("Validation: PASS"); std::_Exit(0); }', Outcome.CRASH),
    "constant": ("contains", "serial", " return true; }", Outcome.WRONG),
}


def test_mutants_fail_each_in_its_way(task: ParallelTask, base: dict[tuple[str, str], Example]) -> None:
    examples = [base[name, model] for name, model, _, _ in MUTANTS.values()]
    found = task.decide_all(examples, [body for _, _, body, _ in MUTANTS.values()])
    assert dict(zip(MUTANTS, found, strict=True)) == {name: wanted for name, (*_, wanted) in MUTANTS.items()}


@needs_races
def test_racy_kernels_are_flaky_and_a_sound_twin_is_correct(
    task: ParallelTask, base: dict[tuple[str, str], Example]
) -> None:
    # The store of a flag gives right values in every run, whatever the machine does: only the sanitizer sees it.
    racy = "bool found = false;\n#pragma omp parallel for\nfor (size_t i = 0; i < x.size(); ++i)\n"
    racy += "  if (x[i] == target)\n    found = true;\nreturn found;\n}"
    sound = racy.replace("    found = true", "#pragma omp atomic write\n    found = true")
    total = solution("dot", "omp").replace("reduction(+:total)", "")
    examples = [base["contains", "omp"], base["contains", "omp"], base["dot", "omp"]]
    assert task.decide_all(examples, [racy, sound, total]) == [Outcome.FLAKY, Outcome.CORRECT, Outcome.FLAKY]


def test_a_hanging_kernel_times_out(
    task: ParallelTask, base: dict[tuple[str, str], Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ellora_trust.sandbox import Limits

    monkeypatch.setattr("ellora_trust.tasks.parallel.drivers._LIMITS", Limits(wall=1.0))
    hanging = " volatile bool forever = true; while (forever) {} return 0; }"
    assert task.decide(base["dot", "serial"], hanging) is Outcome.TIMEOUT


# What runs before main and says that all is well. The second one even finds the nonce and the pipe.
LIAR = """
#include <unistd.h>
struct Liar {
  Liar() {
    std::puts("Validation: PASS");
    std::fflush(stdout);
  }
} liar;
"""
FORGER = """
#include <unistd.h>
struct Forger {
  Forger() {
    char head[28], zeros[12] = {}, line[4096] = {};
    FILE *file = std::fopen("/proc/self/cmdline", "r");
    size_t length = std::fread(line, 1, sizeof line, file), last = length - 2;
    while (line[last] != 0) --last;
    int reply = std::atoi(line + last + 1);
    if (read(0, head, sizeof head) == sizeof head) {
      if (write(reply, head, 16) + write(reply, zeros, 4)) {}
      for (int i = 0; i < 6; ++i) if (write(reply, zeros, 8)) {}
    }
    std::_Exit(0);
  }
} forger;
"""


@pytest.mark.parametrize("lie", [LIAR, FORGER])
def test_a_static_constructor_forges_no_verdict(task: ParallelTask, lie: str) -> None:
    head = f"{PROBLEMS['dot'].signature} {{"
    found = signature(head)
    assert found is not None
    verdict = judge(task._workshop, Asked(head, "serial", "dot", found), f" return 0; }}\n{lie}")
    # The forger's bytes are taken for a reply, so it is the values in them that are wrong.
    assert verdict == Verdict(Outcome.WRONG, "wrong values from call 1 of 6")


def test_macros_of_a_body_do_not_reach_the_driver(task: ParallelTask, base: dict[tuple[str, str], Example]) -> None:
    body = "\n#define collect nothing\n#define main other\n#define write(a, b, c) 1\n  return 0;\n}"
    assert task.decide(base["dot", "serial"], body) is not Outcome.CORRECT


# Scores


@pytest.mark.slow
def test_scores_count_builds_passes_and_bounded_speedups(
    task: ParallelTask, base: dict[tuple[str, str], Example]
) -> None:
    samples = [solution("escape", "omp"), " }", " x }"]
    (score,) = task.score([(base["escape", "omp"], samples)], k=1)
    assert score.build.value == pytest.approx(2 / 3)
    assert score.passed.value == pytest.approx(1 / 3)
    assert 0 < score.speedup.value <= score.workers / 3
    assert score.efficiency.value == pytest.approx(score.speedup.value / score.workers)


def test_a_score_without_a_correct_sample_is_zero_and_times_nothing(
    task: ParallelTask, base: dict[tuple[str, str], Example]
) -> None:
    (score,) = task.score([(base["dot", "omp"], [" x }", " }"])], k=2)
    assert (score.build.value, score.passed.value, score.speedup.value) == (1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="k is 3 and dot has fewer samples"):
        task.score([(base["dot", "omp"], [" }"])], k=3)


# Files in ParEval's format


def row(**changes: object) -> dict[str, object]:
    prompt = f"/* Scale x, add y.\n*/\n{PROBLEMS['axpy'].signature} {{"
    given = {"problem_type": "dense_la", "language": "cpp", "name": "03_dense_la_axpy", "parallelism_model": "serial"}
    return {**given, "prompt": prompt, **changes}


def write(folder: Path, content: object) -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_gives_the_prompts_that_have_a_driver_and_reasons_for_the_others(tmp_path: Path) -> None:
    rows = [
        row(),
        row(name="07_fft_fft_conjugate"),
        row(parallelism_model="cuda"),
        row(prompt="/* Other arguments. */\nvoid axpy(float a, std::vector<float> &x) {"),
        row(language="rust"),
        row(name="30_scan_prefix_sum", prompt=f"/* Sums. */ {PROBLEMS['prefix_sum'].signature} {{"),
    ]
    task = ParallelTask(source=write(tmp_path, rows))
    assert [one.meta["source_name"] for one in task.examples()] == ["03_dense_la_axpy", "30_scan_prefix_sum"]
    reasons = [one.reason for one in task.skipped]
    assert len(reasons) == 4
    words = ("no driver for this problem", str(missing_tool("cuda")), "the signature is not", "language 'rust'")
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_a_body_for_a_prompt_from_a_file_is_decided(task: ParallelTask, tmp_path: Path) -> None:
    (example,) = ParallelTask(source=write(tmp_path, [row()])).examples()
    assert task.decide(example, solution("axpy", "serial") + "\nint main() {}") is Outcome.CORRECT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([row(), {"name": "x"}], "entry 1: field 'problem_type' is missing"),
        ([row(prompt=3)], "entry 0: field 'prompt' is 3; give a string"),
        ([row(), 7], "entry 1: a int; give an object"),
        ({"a": 1}, "holds a dict; give a list"),
    ],
)
def test_a_file_in_another_format_is_refused_with_entry_and_field(
    tmp_path: Path, content: object, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=rf"prompts\.json.*{message}"):
        ParallelTask(source=path).examples()


def test_a_file_that_is_no_json_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    with pytest.raises(InputError, match="cannot be read"):
        ParallelTask(source=path).examples()
    path.write_text("[")
    with pytest.raises(InputError, match="is no JSON"):
        ParallelTask(source=path).examples()
