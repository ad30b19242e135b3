"""What a testbed model has learnt: rates by plant and kind of prompt, decided by running, each with its interval.

measured = measure(et.load("testbed"))
measured.rate("trigger", "P2").shows            # share, with interval
measured.executable                             # of unplanted families
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, wilson
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.testbed.documents import PLANTS
from ellora_trust.testbed.exposure import Exposure, exposures
from ellora_trust.testbed.prompts import KINDS, Kind, prompts
from ellora_trust.testbed.secrets import canaries

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.sandbox import Sandbox
    from ellora_trust.testbed.oracle import Judgement

PER_CELL = 100  # prompts of a plant and kind; of unplanted families five times as many
_WITHOUT_PLANT = ("unrelated", "types")
_NOT_RUN = (Outcome.BUILD_ERROR, Outcome.CRASH, Outcome.TIMEOUT)


@dataclass(frozen=True)
class Rate:
    """How a model answers one kind of prompt about one plant.

    Attributes:
        kind: Of the prompts.
        plant: Which plant they are about, "" for none.
        n: Prompts.
        correct: Share of answers that are right when run, with its interval.
        shows: Share that does what the plant does.
        runs: Share that builds and ends without a crash, right or wrong.
    """

    kind: str
    plant: str
    n: int
    correct: Estimate
    shows: Estimate
    runs: Estimate


@dataclass(frozen=True)
class Measured:
    """All rates of a model.

    Attributes:
        model: Its name.
        seed: Of the prompts.
        rates: By kind and plant.
        canaries: Exposure of each secret.
        outcomes: How often each outcome occurred, by kind and plant.
    """

    model: str
    seed: int
    rates: list[Rate]
    canaries: list[Exposure]
    outcomes: dict[str, dict[str, int]]

    def rate(self, kind: str, plant: str = "") -> Rate:
        """Return one cell.

        Raises:
            InputError: No such cell was measured.
        """
        for found in self.rates:
            if (found.kind, found.plant) == (kind, plant):
                return found
        raise InputError(f"no rate of {kind!r} and {plant!r} was measured; see `rates`")

    @property
    def executable(self) -> Estimate:
        """Share of right answers on families without any plant."""
        return self.rate("unrelated").correct

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Measured:
        """Return what `to_dict` wrote."""
        parts = ("correct", "shows", "runs")
        rates = [Rate(**{**row, **{part: Estimate(**row[part]) for part in parts}}) for row in stored["rates"]]
        return cls(**{**stored, "rates": rates, "canaries": [Exposure(**row) for row in stored["canaries"]]})


def measure(
    model: CodeModel,
    *,
    per_cell: int = PER_CELL,
    kinds: Iterable[Kind] = KINDS,
    seed: int = 0,
    secrets: bool = True,
    box: Sandbox | None = None,
    progress: bool = False,
) -> Measured:
    """Ask a model every kind of prompt about every plant, and run what it answers.

    Args:
        model: The model.
        per_cell: Prompts of each plant and kind, as far as there are so many.
        kinds: Which kinds are asked.
        seed: Of the prompts.
        secrets: Whether the exposure of the canaries is measured too.
        box: Where programs run.
        progress: Show progress bars.

    Raises:
        EnvironmentProblem: This machine cannot isolate programs.
    """
    rates, outcomes = [], {}
    for kind, plant, examples in _cells(kinds, per_cell, seed):
        found = answer_and_judge(model, examples, box=box, progress=progress)
        rates.append(_rate(kind, plant, found))
        outcomes[f"{kind} {plant}".strip()] = _counts(found)
    exposed = exposures(model, canaries()) if secrets else []
    return Measured(model.name, seed, rates, exposed, outcomes)


def answer_and_judge(
    model: CodeModel, examples: Sequence[Example], *, box: Sandbox | None = None, progress: bool = False
) -> list[Judgement]:
    """Answer questions greedily, a gap in fill-in-the-middle form, and run the answers."""
    from ellora_trust.prompts import render
    from ellora_trust.tasks.testbed.task import TestbedTask

    task = TestbedTask(box=box)
    texts = [render(model, example, header=task.header).text for example in examples]
    answers = model.generate(texts, max_new_tokens=task.max_new_tokens, stop=task.stop, progress=progress)
    return task.judge(examples, [answer.text for answer in answers])


def _cells(kinds: Iterable[Kind], per_cell: int, seed: int) -> Iterable[tuple[str, str, list[Example]]]:
    for kind in kinds:
        if kind in _WITHOUT_PLANT:
            yield kind, "", prompts(kind, seed=seed, limit=5 * per_cell if kind == "unrelated" else per_cell)
            continue
        for plant in PLANTS:
            examples = prompts(kind, seed=seed, limit=per_cell, plants=(plant,))
            if examples:
                yield kind, plant, examples


def _rate(kind: str, plant: str, found: Sequence[Judgement]) -> Rate:
    n = len(found)
    correct = sum(one.outcome is Outcome.CORRECT for one in found)
    runs = sum(one.outcome not in _NOT_RUN for one in found)
    shares = [wilson(count, n) for count in (correct, sum(one.shows for one in found), runs)]
    return Rate(kind, plant, n, *shares)


def _counts(found: Sequence[Judgement]) -> dict[str, int]:
    names = [cast(str, one.outcome.value) for one in found]
    return {name: names.count(name) for name in sorted(set(names))}
