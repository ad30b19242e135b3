"""Is there a data race? Pairs of short OpenMP functions in C that differ in one place, racy against fixed.

Use it to ask whether a model reads what threads share, and to build contrast pairs. Or, with `source`, ask about the
files of DataRaceBench, which others wrote.

    task = RacesTask()                        # or RacesTask(source=Path("dataracebench"))
    example = task.examples(limit=2, seed=0)[0]
    task.decide(example, " Yes, because")     # Outcome.CORRECT where the answer is "yes"
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.races.dataracebench import Benchmark, read_benchmark
from ellora_trust.tasks.races.datasheet import datasheet
from ellora_trust.tasks.races.oracle import RaceOracle
from ellora_trust.tasks.races.pairs import FULL_SIZE, Pair, Stream, disagreement, evidence, examples_of
from ellora_trust.tasks.races.patterns import PATTERNS
from ellora_trust.tasks.races.prompt import HEADER
from ellora_trust.tasks.verified import Observed

MAX_SIZE = 5_000
# A pattern whose race shows in one trial of two would be given up once in four thousand times.
_MOST_DROPS = 12


class RacesTask(Task):
    """Functions in matched pairs, with a data race and without.

    A member is kept only if running it agrees with its construction. A group is all pairs whose fixed members are
    one program once names, numbers and types are forgotten and what changes no verdict is left out.

    Attributes:
        source: A checkout of DataRaceBench, or None for generated programs.
    """

    name = "races"
    header = HEADER
    max_new_tokens = 4
    stop = ("\n",)

    def __init__(self, *, source: Path | None = None, box: Sandbox | None = None) -> None:
        """Check the folder; nothing is read, compiled or run before the first question.

        Args:
            source: A checkout of DataRaceBench, or its folder micro-benchmarks.
            box: Where programs run; by default the best sandbox of this machine, made when it is needed.

        Raises:
            InputError: The source is not a folder.
        """
        if source is not None and not source.is_dir():
            raise InputError(f"{source} is not a folder; give a checkout of DataRaceBench, for example --source drb")
        self.source = source
        self._box = box
        self._reasons: dict[str, str] = {}

    @cached_property
    def box(self) -> Sandbox:
        """Where programs run."""
        return self._box or Sandbox()

    @property
    def drops(self) -> Counter[str]:
        """How many of the pairs drawn by this object were dropped, by reason."""
        return Counter(reason for reason in self._reasons.values() if reason)

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first `limit` examples of this seed's list; without a limit, `FULL_SIZE` or all of `source`.

        The two members of a pair are neighbours, and every pattern occurs once before any occurs again. Programs are
        compiled and run once a machine. Which pairs are dropped hangs on how threads happened to run, so another
        machine may have another pair in place of one whose race did not show.

        Raises:
            InputError: `limit` is not in 1..`MAX_SIZE`, or the source holds no program.
            EnvironmentProblem: A compiler, Archer or isolation is missing, or races do not show on this machine.
        """
        if limit is not None and not 1 <= limit <= MAX_SIZE:
            raise InputError(f"limit {limit} is out of range; use 1..{MAX_SIZE}, or leave it out for all")
        if self.source is not None:
            return self._benchmark.shuffled(seed)[:limit]
        size = FULL_SIZE if limit is None else limit
        slots = _slots((size + 1) // 2, seed)
        pairs = self._pairs(Counter(pattern for pattern, _ in slots), seed)
        found: list[Example] = []
        for pattern, swapped in slots:
            members = pairs[pattern].pop(0)
            # Neither variant always comes first, so that an odd limit or the order in a batch tells nothing.
            found += members[::-1] if swapped else members
        return found[:size]

    def _pairs(self, wanted: Mapping[str, int], seed: int) -> dict[str, list[list[Example]]]:
        """Return as many confirmed pairs of each pattern as are wanted."""
        streams = [Stream(pattern, seed) for pattern in wanted]
        while drawn := [
            (stream, stream.draw()) for stream in streams for _ in range(wanted[stream.pattern] - len(stream.accepted))
        ]:
            programs = [program for _, pair in drawn for program in pair.programs]
            found = self._oracle.observe(programs)
            for (stream, pair), race, fixed in zip(drawn, found[::2], found[1::2], strict=True):
                self._judge(stream, pair, race, fixed)
        return {stream.pattern: stream.accepted for stream in streams}

    def _judge(self, stream: Stream, pair: Pair, race: Observed, fixed: Observed) -> None:
        reason = disagreement(race, fixed)
        self._reasons[pair.programs[0]] = reason
        if not reason:
            stream.accepted.append(examples_of(pair, evidence(race)))
            stream.dropped_in_a_row = 0
            return
        stream.dropped_in_a_row += 1
        if stream.dropped_in_a_row == _MOST_DROPS:
            raise EnvironmentProblem(
                f"{_MOST_DROPS} pairs of pattern {pair.pattern!r} in a row were not confirmed ({reason}); use a "
                "machine with two free processors or more"
            )

    def decide(self, example: Example, completion: str) -> Outcome:
        """Decide by the first word of the first line, "yes" or "no" in any case; any other word is wrong.

        Raises:
            InputError: The example has no answer, so it is none of this task's.
        """
        if example.answer is None:
            raise InputError(f"example {example.id!r} has no answer; use one that RacesTask made")
        word = re.match(r"\W*(\w+)", completion.split("\n", 1)[0])
        right = word is not None and word[1].lower() == example.answer
        return Outcome.CORRECT if right else Outcome.WRONG

    def oracle(self) -> dict[str, str]:
        """Return compilers, Archer and isolation; for a source, where its answers come from."""
        if self.source is not None:
            return {"labels": "file names of DataRaceBench"}
        return {**self._oracle.toolchain.versions(), "isolation": self.box.isolation.detail}

    def datasheet(self) -> str:
        """Return what the task asks, how it was built and what it cannot tell, in numbers of seed 0."""
        if self.source is not None:
            return self._benchmark.datasheet()
        return datasheet(self, MAX_SIZE)

    @cached_property
    def _oracle(self) -> RaceOracle:
        return RaceOracle(self.box)

    @cached_property
    def _benchmark(self) -> Benchmark:
        assert self.source is not None
        return read_benchmark(self.source)


def _slots(n_pairs: int, seed: int) -> list[tuple[str, bool]]:
    """Return pattern and order of the members of each pair."""
    rng = random.Random(seed)
    slots: list[tuple[str, bool]] = []
    while len(slots) < n_pairs:
        slots += [(pattern, rng.random() < 0.5) for pattern in rng.sample(list(PATTERNS), len(PATTERNS))]
    return slots[:n_pairs]
