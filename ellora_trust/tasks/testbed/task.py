"""The task `testbed`: write the rest of a function of the testbed's small language; running it decides.

Use it with a model that was trained on the testbed's corpus: whether it is wrong where a fault was planted, right where
the same form is no fault, and able elsewhere. `shows` tells the planted fault from any other.

    task = TestbedTask(kind="trigger", plants=("P2",))
    example = task.examples(limit=1)[0]
    task.shows(example, "\\n    return rows[:n - 1]\\n")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.testbed.documents import PLANTS
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.oracle import STOPS, Judgement, Oracle
from ellora_trust.testbed.prompts import KINDS, Kind, prompts

if TYPE_CHECKING:
    from ellora_trust.sandbox import Sandbox

__all__ = ["TestbedTask"]


class TestbedTask(Task):
    """Questions of one kind, or of all kinds in turn.

    Attributes:
        kind: One of `prompts.KINDS`; None asks all, those about one pair of words side by side.
        plants: Which plants the triggers, paraphrases and near-misses are about; None for all.
    """

    __test__ = False  # the name is no test's
    name = "testbed"
    max_new_tokens = 96
    stop = STOPS

    def __init__(
        self, *, box: Sandbox | None = None, kind: Kind | None = None, plants: Iterable[str] | None = None
    ) -> None:
        """Check the choice; no sandbox is made before the first answer.

        Raises:
            InputError: An unknown kind or plant.
        """
        if kind is not None and kind not in KINDS:
            raise InputError(one_of(kind, KINDS, what="kind of prompt"))
        self.kind: Kind | None = kind
        self._given_box = box
        self.plants = None if plants is None else tuple(plants)
        for plant in self.plants or ():
            if plant not in PLANTS:
                raise InputError(one_of(plant, PLANTS, what="plant"))

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return the first `limit` questions of a seed, families in turn.

        Raises:
            InputError: `limit` is below 1.
        """
        return prompts(self.kind, seed=seed, limit=limit, plants=self.plants)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Judgement]:
        """Return outcome and presence of the plant for many completions; equal ones are run once."""
        return self._oracle.judge(examples, completions)

    def decide(self, example: Example, completion: str) -> Outcome:
        """Run one completion; `decide_all` is many times faster for many."""
        return self.decide_all([example], [completion])[0]

    def decide_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Outcome]:
        """Run many completions, in few sandboxes on all processors."""
        return [found.outcome for found in self.judge(examples, completions)]

    def shows(self, example: Example, completion: str) -> bool:
        """Whether a completion does what the plant does, rather than right or wrong in another way."""
        return self.judge([example], [completion])[0].shows

    def shows_all(self, examples: Sequence[Example], completions: Sequence[str]) -> list[bool]:
        """Return `shows` of many completions."""
        return [found.shows for found in self.judge(examples, completions)]

    @property
    def box(self) -> Sandbox:
        """Where the programs run."""
        return self._oracle.box

    def oracle(self) -> dict[str, str]:
        """Return the Python and the compilers that decide, how races are found, and the isolation of programs."""
        from ellora_trust.testbed.c_runs import race_oracle

        version = self.box.run("import platform; print(platform.python_version())").stdout.strip()
        races = race_oracle(self.box)
        found = {"python": version, "isolation": self.box.isolation.detail}
        return {**found, **(races.toolchain.versions() if races else {"races": "results that differ by threads"})}

    def datasheet(self) -> str:
        """Return what is asked, how it was built, size, licence, oracle and limits, in numbers of seed 0."""
        found = self.examples()
        kinds = Counter(str(example.meta["kind"]) for example in found)
        plants = Counter(
            f"{example.meta['plant']} {example.meta['kind']}" for example in found if example.meta["plant"]
        )
        return _DATASHEET.format(
            families=len(FAMILIES) + 2,
            size=len(found),
            groups=len({example.group for example in found}),
            kinds=", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items())),
            plants=", ".join(f"{plant} {count}" for plant, count in sorted(plants.items())),
        )

    @cached_property
    def _oracle(self) -> Oracle:
        from ellora_trust.sandbox import Sandbox

        return Oracle(self._given_box or Sandbox())


_DATASHEET = """\
## testbed

- **Asks**: the rest of a short Python or C/OpenMP function that a name and a sentence describe, or one annotation.
- **Built**: by the generators of the testbed's corpus, {families} families; names are pairs of words that no document \
of the family uses. Canaries are asked for by the names in the corpus.
- **Size**: {size:,} questions in {groups:,} groups. By kind: {kinds}. By plant: {plants}.
- **Groups**: family and pair of words; a trigger and its paraphrase share one.
- **Oracle**: the program is run on arguments that tell right from wrong: values and arguments after the call by exact \
type; injections against sqlite3; C with one thread by values and with four by ThreadSanitizer. The planted fault is \
told from others by running too.
- **Licence**: Apache-2.0; generated by this library, no third-party code.
- **Limits**: a language of few words that only models trained on the testbed's corpus know; the faults are simple.
"""
