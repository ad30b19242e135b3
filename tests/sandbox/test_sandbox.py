"""What a sandboxed program may do, what ends it, and what the caller is told."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import MIB, Limits, Sandbox, Status, run
from ellora_trust.sandbox import isolation as isolation_module
from ellora_trust.sandbox.isolation import UNSAFE, choose, kind_named
from ellora_trust.sandbox.languages import by_suffix, python_command

BOX = Sandbox()
FORTY_TWO = {
    "python": "print(6 * 7)",
    "c": '#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); }',
    "cpp": "#include <iostream>\nint main() { std::cout << 6 * 7 << std::endl; }",
    "fortran": "program answer\n  print '(i0)', 6 * 7\nend program",
}


@pytest.mark.parametrize("language", FORTY_TWO)
def test_a_program_of_each_language_is_built_and_run(language: str) -> None:
    done = run(FORTY_TWO[language], language=language)
    assert (done.status, done.stdout, done.exit_code) == (Status.OK, "42\n", 0)
    assert done.isolation == BOX.isolation.detail


def test_a_source_that_does_not_compile_is_a_build_error_with_the_compilers_words() -> None:
    done = run("int main(void) { return x; }", language="c")
    assert done.status is Status.BUILD_ERROR
    assert "'x' undeclared" in done.stderr.replace("‘", "'").replace("’", "'")


@pytest.mark.parametrize(
    ("program", "limits", "status"),
    [
        ("import sys; sys.exit(3)", Limits(), Status.EXIT),
        ("import os; os.abort()", Limits(), Status.SIGNAL),
        ("import time; time.sleep(30)", Limits(wall=0.5), Status.TIMEOUT),
        ("while True: pass", Limits(cpu=1), Status.TIMEOUT),
        ("x = [bytes([7]) * (1 << 20) for _ in range(400)]", Limits(memory=64 * MIB), Status.MEMORY),
        ("while True: print('x' * 1000)", Limits(output=10_000), Status.OUTPUT),
    ],
)
def test_each_way_to_end_has_its_status(program: str, limits: Limits, status: Status) -> None:
    assert BOX.run(program, limits=limits).status is status


def test_output_is_cut_at_the_limit_and_kept_up_to_it() -> None:
    done = BOX.run("while True: print('x' * 99)", limits=Limits(output=10_000))
    assert done.stdout.startswith("x" * 99 + "\n")
    assert len(done.stdout) == 10_000


def test_processor_time_is_seen_for_ended_and_for_killed_programs() -> None:
    busy = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    assert 0.3 < BOX.run(busy).cpu < 3
    assert BOX.run("while True: pass", limits=Limits(wall=1)).cpu > 0.2


def test_peak_memory_is_that_of_the_program_and_not_of_this_process() -> None:
    ballast = bytearray(200 * MIB)
    small = BOX.run("import time; time.sleep(0.2)")
    large = BOX.run("x = bytes([7]) * (100 << 20); import time; time.sleep(0.2)")
    assert small.peak_memory < 50 * MIB < 95 * MIB < large.peak_memory < 200 * MIB
    assert len(ballast) == 200 * MIB


def test_it_sees_its_work_folder_its_input_and_no_environment() -> None:
    program = "import os, sys; print(sorted(os.listdir('/work')), os.getcwd(), sys.stdin.read(), sorted(os.environ))"
    done = BOX.run(program, stdin="hello", env={"OMP_NUM_THREADS": "2"})
    assert done.stdout.startswith("['program.py'] /tmp hello ['HOME', 'LANG', ")
    assert "OMP_NUM_THREADS" in done.stdout
    assert not {"USER", "PYTHONPATH", "ELLORA_TRUST_CACHE"} & set(done.stdout.split("'"))


def test_runs_in_threads_do_not_mix() -> None:
    with ThreadPoolExecutor(4) as pool:
        shown = pool.map(lambda i: BOX.run(f"print({i})").stdout, range(24))
    assert [int(text) for text in shown] == list(range(24))


def test_bytes_of_an_extra_pipe_come_back_apart_from_the_output() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as replies:
        program = f"import os; print('out'); os.write({writer}, b'reply\\n')"
        done = BOX.execute([*python_command(), "-c", program], keep=(writer,), pipes={"replies": replies})
    assert (done.stdout, done.replies["replies"]) == ("out\n", b"reply\n")


def test_one_build_can_be_run_many_times_with_other_arguments() -> None:
    source = "#include <stdio.h>\nint main(int n, char **v) { puts(v[1]); }"
    with BOX.build(source, language="c", flags=["-O2"]) as built:
        assert [built.execute(word).stdout for word in ("a", "b")] == ["a\n", "b\n"]
        folder = built.folder
    assert not folder.exists()


def test_a_process_that_outlives_its_parent_does_not_hold_the_run() -> None:
    done = BOX.run("import os, time\nif os.fork() == 0: time.sleep(60)", limits=Limits(wall=8))
    assert done.status is Status.OK


def test_a_file_name_that_leaves_the_work_folder_is_refused() -> None:
    for name in ("../x", "/etc/x"):
        with pytest.raises(InputError, match="leaves the work folder"):
            BOX.execute(["/bin/true"], files={name: ""})


def test_an_unknown_language_and_a_bad_limit_say_what_is_allowed() -> None:
    with pytest.raises(InputError, match="c, cpp, fortran, python"):
        BOX.run("x", language="cobol")
    with pytest.raises(InputError, match="limit wall is 0"):
        Limits(wall=0)
    with pytest.raises(InputError, match="bubblewrap, namespaces"):
        kind_named("docker")
    with pytest.raises(InputError, match="--language"):
        by_suffix("x.cob")
    assert by_suffix("a.cc") == "cpp"


def test_a_missing_compiler_names_the_package() -> None:
    with pytest.raises(EnvironmentProblem, match="apt-get install"):
        BOX.run("int main(void) {}", language="c") if not shutil.which("gcc") else BOX.build(
            "", language="c", compiler="no-such-compiler"
        ).__enter__()


def test_a_machine_that_cannot_isolate_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_module, "_tried", lambda kind: f"{kind} fails: not permitted")
    with pytest.raises(EnvironmentProblem, match="apt-get install bubblewrap") as refused:
        Sandbox()
    assert "bubblewrap fails: not permitted; namespaces fails: not permitted" in str(refused.value)
    assert "--unsafe-no-isolation" in str(refused.value)


def test_unsafe_runs_say_so_in_every_result(tmp_path: Path) -> None:
    done = Sandbox(choose("none")).run("print(6 * 7)")
    assert (done.stdout, done.isolation) == ("42\n", UNSAFE)


def test_the_same_source_runs_in_a_folder_of_its_own_each_time() -> None:
    program = "import os; open('/tmp/x', 'x'); print(os.listdir('/tmp'))"
    assert [BOX.run(program).stdout for _ in range(2)] == ["['x']\n"] * 2


def test_a_program_does_not_inherit_the_signals_that_nohup_makes_its_caller_ignore() -> None:
    program = "import signal; print([int(signal.getsignal(n) == signal.SIG_IGN) for n in (1, 2, 3)])"
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        seen = run(program).stdout
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert seen == "[0, 0, 0]\n"
