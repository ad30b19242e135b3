"""What a comparison asks: tasks by the part they play, text, attacks, and the difference that does not matter.

    Suite.named("quick", model)
    Suite.from_toml(Path("suite.toml"))

A task is written `name`, or for the testbed `testbed:KIND` or `testbed:KIND:P1+P2`; in TOML also as a table:

    margin = 0.02
    targets = ["testbed:trigger:P1"]
    near_misses = ["testbed:near_miss:P1"]
    collateral = [{ task = "types", source = "src", limit = 100 }]
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ellora_trust.errors import InputError, one_of

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.tasks.base import Task

# What `ellora_trust.evaluation.lasting.battery` does.
ATTACKS = (
    "few-shot",
    "paraphrase",
    "leak",
    "prefix",
    "int8",
    "int4",
    "relearn-same",
    "relearn",
    "relearn-unrelated",
    "relearn-lora-same",
    "relearn-lora",
)
Role = Literal["target", "near_miss", "collateral"]


@dataclass(frozen=True)
class Asked:
    """One task of a suite.

    Attributes:
        task: Name as in `ellora_trust.tasks`.
        kind: Of the testbed's prompts; empty for all.
        plants: Of the testbed; empty for all.
        source: What the questions are taken from, for tasks that can.
        limit: Questions at most; the suite's own if None.
    """

    task: str
    kind: str = ""
    plants: tuple[str, ...] = ()
    source: str = ""
    limit: int | None = None

    @classmethod
    def parse(cls, given: str | Mapping[str, Any]) -> Asked:
        """Read `name`, `testbed:KIND:P1+P2` or a table.

        Raises:
            InputError: An unknown key, or no task.
        """
        if isinstance(given, str):
            name, _, rest = given.partition(":")
            kind, _, plants = rest.partition(":")
            return cls(name, kind, tuple(one for one in plants.split("+") if one))
        _known(given, [one.name for one in fields(cls)], "key of a task")
        if "task" not in given:
            raise InputError(f"the task {dict(given)} of a suite has no name; add task = 'types', for example")
        return cls(**{**given, "plants": tuple(given.get("plants", ()))})

    @property
    def name(self) -> str:
        """What it is called in results."""
        return ":".join(part for part in (self.task, self.kind, "+".join(self.plants)) if part)

    def load(self) -> Task:
        """Return the task.

        Raises:
            InputError: An unknown task, kind or plant, or options that the task does not have.
        """
        if self.task == "testbed":
            from ellora_trust.tasks.testbed.task import TestbedTask

            return TestbedTask(kind=self.kind or None, plants=self.plants or None)  # pyright: ignore[reportArgumentType]
        if self.kind or self.plants:
            raise InputError(f"task {self.task!r} has no kinds or plants, the testbed has; write {self.task!r} alone")
        from ellora_trust.tasks import load_task

        return load_task(self.task, source=Path(self.source) if self.source else None)


@dataclass(frozen=True)
class Suite:
    """What is asked before and after.

    Attributes:
        name: Of the suite.
        targets: Where the intervention is meant to help.
        near_misses: Where the form that it removes is right.
        collateral: Anything else that must stay.
        text: Unrelated text: `stdlib` (the running Python's own), `testbed`, a folder or file; empty for none.
        attacks: Names of `ellora_trust.evaluation.lasting.battery`: does it last?
        margin: Largest difference of a rate of right answers that does not matter, (0, 1).
        confidence: Of intervals, (0, 1).
        limit: Questions of each task.
        pieces: Of unrelated text.
        noise: Questions of each task that the unchanged model answers again, three ways; 0 measures no noise floor.
        seed: Of the choice of questions and text.
        lm_eval: Tasks of lm-evaluation-harness, which must stay as they are.
        lm_eval_include: Folder with the harness's task files of your own; empty for none.
    """

    name: str
    targets: tuple[Asked, ...] = ()
    near_misses: tuple[Asked, ...] = ()
    collateral: tuple[Asked, ...] = ()
    text: str = ""
    attacks: tuple[str, ...] = ()
    margin: float = 0.02
    confidence: float = 0.95
    limit: int = 200
    pieces: int = 64
    noise: int = 60
    seed: int = 0
    lm_eval: tuple[str, ...] = ()
    lm_eval_include: str = ""

    def __post_init__(self) -> None:
        for name in ("margin", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; use a number between 0 and 1, such as 0.02 or 0.95")
        if self.confidence <= 0.5:
            raise InputError(f"confidence is {self.confidence}; tests of equivalence need more than 0.5, such as 0.95")
        if self.limit < 2:
            raise InputError(f"limit is {self.limit}; use at least 2 questions of each task")
        for attack in self.attacks:
            if attack not in ATTACKS:
                raise InputError(one_of(attack, ATTACKS, what="attack"))
        if not self.tasks and not self.lm_eval:
            raise InputError(f"suite {self.name!r} asks nothing; name targets, near_misses or collateral tasks")

    @property
    def tasks(self) -> list[tuple[Role, Asked]]:
        """Return every task with its part, targets first."""
        parts: list[tuple[Role, tuple[Asked, ...]]] = [
            ("target", self.targets),
            ("near_miss", self.near_misses),
            ("collateral", self.collateral),
        ]
        return [(role, one) for role, asked in parts for one in asked]

    @classmethod
    def named(cls, name: str | Path, model: CodeModel) -> Suite:
        """Return a built-in suite, for models of the testbed's language or for any other, or one from a TOML file.

        Raises:
            InputError: Neither a suite nor a file.
        """
        if Path(name).suffix == ".toml":
            return cls.from_toml(Path(name))
        from ellora_trust.evaluation.asking.shipped import GENERAL, TESTBED

        suites = TESTBED if speaks_testbed(model) else GENERAL
        if str(name) not in suites:
            raise InputError(f"{one_of(name, list(suites), what='suite')}, or give a .toml file")
        return suites[str(name)]

    @classmethod
    def from_toml(cls, path: Path) -> Suite:
        """Read a suite of your own.

        Raises:
            InputError: No such file, no TOML, or an unknown key.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is no readable TOML ({error}); give a file as docs/compare.md shows") from error
        _known(raw, [one.name for one in fields(cls)], "key of a suite")
        asked = {
            name: tuple(Asked.parse(one) for one in raw.get(name, ()))
            for name in ("targets", "near_misses", "collateral")
        }
        names = {name: tuple(raw.get(name, ())) for name in ("attacks", "lm_eval")}
        return cls(**{"name": path.stem, **raw, **asked, **names})

    def changed(self, **values: Any) -> Suite:
        """Return the suite with some values replaced; None leaves one alone."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON would give it back: lists, no tuples."""
        return json.loads(json.dumps(asdict(self)))


def _known(given: Mapping[str, Any], allowed: list[str], what: str) -> None:
    for name in given:
        if name not in allowed:
            raise InputError(one_of(name, allowed, what=what))


def speaks_testbed(model: CodeModel) -> bool:
    """Whether a model reads the testbed's language: its vocabulary is the testbed's."""
    from ellora_trust.builtin import ensure

    shipped = json.loads((ensure("testbed") / "tokenizer.json").read_text())["model"]["vocab"]
    return model.tokenizer.get_vocab().keys() >= shipped.keys() and len(shipped) * 2 > len(model.tokenizer)
