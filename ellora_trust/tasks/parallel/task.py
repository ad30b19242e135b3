"""Write this parallel kernel: C++ in serial, OpenMP and MPI, built, run and compared in the sandbox.

task = ParallelTask()
example = task.examples(limit=1)[0]
task.decide(example, " for (size_t i = 0; i < x.size(); ++i) z[i] = alpha * x[i] + y[i];\\n}")
task.score([(example, samples)], k=1)              # build@k, pass@k, speedup_n@k, efficiency_n@k
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.sandbox.calls import Verdict
from ellora_trust.sandbox.jail import tool
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.parallel.body import function_body
from ellora_trust.tasks.parallel.drivers import Workshop, missing_tool
from ellora_trust.tasks.parallel.problems import PROBLEMS, Problem
from ellora_trust.tasks.parallel.prompts import HEADER, Wording, prompt_of
from ellora_trust.tasks.parallel.races import race_tools
from ellora_trust.tasks.parallel.source import Prompt, Skipped, read_prompts
from ellora_trust.tasks.parallel.verdict import WORKERS, Asked, judge

if TYPE_CHECKING:
    from ellora_trust.tasks.parallel.scores import ParallelScore

MAX_SIZE = 2_000

_DATASHEET = """\
## parallel

- **Asks**: write the body of a C++ kernel, in ParEval's style: a comment with an example and the function's head. \
Execution models: {models}.
- **Built**: {n_problems} problems of our own ({problems}), each serial and with OpenMP, some with MPI, and with both. \
Further examples rename functions and parameters and take another wording and another example. A file in ParEval's \
format can be read instead; problems without one of our drivers are skipped, with the reason.
- **Size**: {base} examples without a limit, up to {max_size} on request; {n_problems} groups.
- **Groups**: a problem in all its execution models and wordings.
- **Oracle**: built with the driver at -O2 and run in the sandbox, serial twice, OpenMP with one thread and twice with \
{workers}, MPI twice, on six inputs of three sizes. The program gets inputs and a nonce after its static \
constructors ran; outputs come back on a pipe and are compared here with NumPy's, exactly for whole numbers, to \
rounding for others. What it prints is ignored. Runs that differ are flaky, not wrong, and so is an OpenMP kernel \
with right values in which ThreadSanitizer with Archer finds a data race ({races}).
- **Parallel construct**: decided on the syntax tree; a body without one is wrong where one was asked for.
- **Not asked here**: {skipped}.
- **Licence**: Apache-2.0; all texts are ours.
- **Limits**: small kernels; an error that shows only with several threads counts as flaky; races of MPI with OpenMP \
are not looked for; the prompts' form is public, so models may have seen such functions.
"""


class ParallelTask(Task):
    """Kernels to be written in serial C++, OpenMP, MPI or MPI with OpenMP; running them decides.

    Args:
        source: A JSON file of prompts in ParEval's format; None asks our own problems.
        box: Where programs run; None makes the best sandbox that works, when the first program is to run.
    """

    name = "parallel"
    header = HEADER
    max_new_tokens = 192
    stop = ("\n}", "\n/*", "\n#include")

    def __init__(self, *, source: Path | None = None, box: Sandbox | None = None) -> None:
        self.source = source
        self._workshop = Workshop(lambda: box or Sandbox())

    @property
    def skipped(self) -> list[Skipped]:
        """The questions that are not asked here, each with the reason."""
        if self.source is not None:
            return self._read[1]
        return [
            Skipped(problem.name, model, reason)
            for problem in PROBLEMS.values()
            for model in problem.models
            if (reason := missing_tool(model)) is not None
        ]

    @cached_property
    def _read(self) -> tuple[list[Prompt], list[Skipped]]:
        return read_prompts(Path(self.source)) if self.source is not None else ([], [])

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first `limit` examples; without a limit, the base set or the whole file.

        A problem's execution models are neighbours. The base set comes first, then round after round of variants. A
        file has no variants, and its order is kept.

        Raises:
            InputError: `limit` is not in 1..`MAX_SIZE`, or the file is not in the format.
            EnvironmentProblem: There is no C++ compiler.
        """
        if limit is not None and not 1 <= limit <= MAX_SIZE:
            raise InputError(f"limit {limit} is out of range; use 1..{MAX_SIZE}, or leave it out for the base set")
        if missing_tool("serial") is not None:
            raise EnvironmentProblem("the parallel task needs g++ and this machine has none; apt-get install g++")
        if self.source is not None:
            return [_example(one, 0) for one in self._read[0]][:limit]
        size = limit or sum(1 for problem in PROBLEMS.values() for _ in _models(problem))
        found: list[Example] = []
        for example in _stream(random.Random(seed)):
            found.append(example)
            if len(found) == size:
                break
        return found

    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide what stands after the opening brace; everything after the closing one is dropped.

        Raises:
            InputError: The example is none of this task's.
            EnvironmentProblem: The toolchain is missing, or the machine cannot isolate.
        """
        return self.verdict(example, completion).outcome

    def verdict(self, example: Example, completion: str) -> Verdict:
        """Decide like `decide`, and say why."""
        return judge(self._workshop, _asked(example), function_body(completion))

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Decide on all processors."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pairs = list(zip(examples, completions, strict=True))
            return list(pool.map(lambda pair: self.decide(*pair), pairs))

    def score(self, samples: Sequence[tuple[Example, Sequence[str]]], *, k: int = 1) -> list[ParallelScore]:
        """Return build@k, pass@k, speedup_n@k and efficiency_n@k of each execution model that occurs.

        Verdicts use all processors; times are taken after them, one program at a time.

        Args:
            samples: Completions of each example, at least k.
            k: How many samples count as one attempt.
        """
        from ellora_trust.tasks.parallel.scores import score_samples

        asked = [_asked(example) for example, _ in samples]
        bodies = [[function_body(text) for text in texts] for _, texts in samples]
        return score_samples(self._workshop, asked, bodies, k=k, groups=[example.group for example, _ in samples])

    def oracle(self) -> dict[str, str]:
        """Return the versions of the compilers and the isolation of the programs."""
        checker = race_tools()
        names = ("g++", "mpirun", *(checker[:1] if checker else ()))
        versions = {name: _version(name) for name in names if tool(name) is not None}
        return {
            **versions,
            "races": checker[1] if checker else "not looked for",
            "isolation": self._workshop.box.isolation.detail,
        }

    def datasheet(self) -> str:
        """Return what the task asks, how it was built and what it cannot tell."""
        skipped = {(one.model, one.reason) for one in self.skipped}
        reasons = {f"{model} ({reason})" for model, reason in skipped if self.source is None}
        reasons |= {f"{model} ({missing_tool(model)})" for model in ("kokkos", "cuda", "hip")}
        return _DATASHEET.format(
            models=", ".join(dict.fromkeys(model for one in PROBLEMS.values() for model in _models(one))),
            problems=", ".join(PROBLEMS),
            n_problems=len(PROBLEMS),
            base=sum(len(list(_models(one))) for one in PROBLEMS.values()),
            max_size=MAX_SIZE,
            workers=WORKERS,
            races="looked for here" if race_tools() else "not looked for here: no clang with Archer",
            skipped=", ".join(sorted(reasons)),
        )


def _models(problem: Problem) -> Iterator[str]:
    return (model for model in problem.models if missing_tool(model) is None)


def _stream(rng: random.Random) -> Iterator[Example]:
    """Yield the base set, then variants for ever; no prompt occurs twice."""
    seen: set[str] = set()
    turn = 0
    while True:
        for problem in rng.sample(list(PROBLEMS.values()), len(PROBLEMS)):
            for model in problem.models:
                text = prompt_of(problem, model, Wording())
                while turn and text in seen:
                    text = prompt_of(problem, model, Wording.drawn(problem, rng))
                seen.add(text)
                if missing_tool(model) is None:
                    yield _example(Prompt(problem, problem.name, problem.kind, model, text), turn)
        turn += 1


def _example(prompt: Prompt, turn: int) -> Example:
    digest = hashlib.sha256(f"{prompt.model}\0{prompt.text}".encode()).hexdigest()[:12]
    meta = {
        "problem": prompt.problem.name,
        "source_name": prompt.name,
        "problem_type": prompt.kind,
        "model": prompt.model,
        "variant": turn,
    }
    return Example(f"parallel-{digest}", f"parallel-{prompt.problem.name}", prompt.text, meta=meta)


def _asked(example: Example) -> Asked:
    problem, model = example.meta.get("problem"), example.meta.get("model")
    if problem not in PROBLEMS or not isinstance(model, str):
        raise InputError(f"example {example.id!r} names no kernel of ours; use one that ParallelTask made")
    return Asked.of(example.prompt, model, str(problem))


def _version(name: str) -> str:
    done = subprocess.run([tool(name) or name, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()
