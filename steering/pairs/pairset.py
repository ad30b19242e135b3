"""Contrast pairs and sets of them: saved as JSON lines, split by group, thinned to caps.

pairs = compile_pairs(model, task, ["rename_vars"], limit=300, seed=0)
parts = pairs.split(0, {"train": 0.6, "validation": 0.2, "test": 0.2})
parts["train"].save(Path("runs/pairs.jsonl"))
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError, one_of
from ellora_trust.prompts import Format, render
from ellora_trust.tasks.base import Example, Task
from steering.pairs.splits import assigned, components

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

KIND, SCHEMA = "steering-pairs", 1
Item = TypeVar("Item")


@dataclass(frozen=True)
class Pair:
    """A question that the model answers rightly, and one like it that it answers wrongly.

    Attributes:
        positive: The question answered rightly.
        negative: The question answered wrongly, with something and not with nothing.
        edit: What made the one into the other: an edit, or a direction such as `alias->copy`.
        positive_answer: What the model said to the first.
        negative_answer: What it said to the second.
    """

    positive: Example
    negative: Example
    edit: str
    positive_answer: str = ""
    negative_answer: str = ""

    @property
    def groups(self) -> frozenset[str]:
        """The groups of both; no split separates them."""
        return frozenset({self.positive.group, self.negative.group})

    @property
    def type(self) -> str:
        """What the negative's answer should be, for the cap per type."""
        return self.negative.answer or ""


@dataclass(frozen=True)
class PairSet:
    """Pairs, the edited questions that stayed right, and how many were lost at each step.

    Attributes:
        task: Whose questions they are.
        model: Name and fingerprint of the model that answered.
        pairs: The pairs.
        stayed_right: Questions that the model answers rightly and that belong to no pair as negatives: edited ones that
            stayed right. A vector's corruption rate is measured on them.
        counts: By edit: what happened, and how often.
        seed: Of the choice of questions, sites and members.
        config: Limits, caps and the prompt format.
    """

    task: str
    model: Mapping[str, str]
    pairs: tuple[Pair, ...]
    stayed_right: tuple[Example, ...] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def positives(self) -> list[Example]:
        return [pair.positive for pair in self.pairs]

    @property
    def negatives(self) -> list[Example]:
        return [pair.negative for pair in self.pairs]

    @property
    def edits(self) -> tuple[str, ...]:
        """The edits there are, in the order in which they were asked for."""
        return tuple(dict.fromkeys([*self.counts, *(pair.edit for pair in self.pairs)]))

    def texts(self, model: CodeModel, task: Task, *, format: Format = "auto") -> list[tuple[str, str]]:
        """Return (positive, negative) prompts as the task puts them: what a vector is fitted on."""

        def text(example: Example) -> str:
            return render(model, example, format=format, header=task.header).text

        return [(text(pair.positive), text(pair.negative)) for pair in self.pairs]

    def of(self, edit: str) -> PairSet:
        """Return the pairs of one edit.

        Raises:
            InputError: An edit that this set was not made with.
        """
        if edit not in self.edits:
            raise InputError(one_of(edit, list(self.edits), what="edit"))
        return replace(
            self,
            pairs=tuple(pair for pair in self.pairs if pair.edit == edit),
            stayed_right=tuple(one for one in self.stayed_right if one.meta.get("edit") == edit),
            counts={name: count for name, count in self.counts.items() if name == edit},
        )

    def capped(self, *, max_per_program: int | None = None, max_per_type: int | None = None) -> PairSet:
        """Return at most so many pairs of a program and of a type, chosen at random within each edit.

        The paper's caps are 25 a program and 4 a type. A program is what one question was cut from: its file.
        """
        kept: set[int] = set()
        for edit in self.edits:
            order = [at for at, pair in enumerate(self.pairs) if pair.edit == edit]
            random.Random(f"{self.seed} caps {edit}").shuffle(order)
            order = _at_most(order, lambda at: self.pairs[at].positive.group, max_per_program)
            kept |= set(_at_most(order, lambda at: self.pairs[at].type, max_per_type))
        counts = {name: {**count, "pairs": 0} for name, count in self.counts.items()}
        for at in kept:
            counts.setdefault(self.pairs[at].edit, {"pairs": 0})["pairs"] += 1
        config = {**self.config, "max_per_program": max_per_program, "max_per_type": max_per_type}
        pairs = tuple(pair for at, pair in enumerate(self.pairs) if at in kept)
        return replace(self, pairs=pairs, counts=counts, config=config)

    def split(self, seed: int, shares: Mapping[str, float]) -> dict[str, PairSet]:
        """Return disjoint parts; groups stay whole, and so do groups that a pair joins.

        Args:
            seed: Of the assignment.
            shares: Name of each part with its share of the pairs, positive; they are scaled to sum to 1.

        Raises:
            InputError: No part, a share that is not positive, or fewer groups than parts.
        """
        if not shares or min(shares.values()) <= 0:
            raise InputError(f"shares {dict(shares)} are out of range; give each part a positive share")
        of = components([*(pair.groups for pair in self.pairs), *({one.group} for one in self.stayed_right)])
        sizes: Counter[str] = Counter({component: 0 for component in of.values()})
        sizes.update(of[pair.positive.group] for pair in self.pairs)
        if len(sizes) < len(shares):
            raise InputError(f"{len(sizes)} groups cannot make {len(shares)} parts; give more questions or fewer parts")
        part_of = assigned(sizes, shares, seed)
        return {name: self._part(lambda group, name=name: part_of[of[group]] == name) for name in shares}

    def _part(self, holds: Callable[[str], bool]) -> PairSet:
        pairs = tuple(pair for pair in self.pairs if holds(pair.positive.group))
        n_pairs = Counter(pair.edit for pair in pairs)
        right = tuple(one for one in self.stayed_right if holds(one.group))
        n_right = Counter(str(one.meta.get("edit")) for one in right)
        counts = {edit: {"pairs": n_pairs[edit], "stayed right": n_right[edit]} for edit in self.edits}
        return replace(self, pairs=pairs, stayed_right=right, counts=counts)

    def content_hash(self) -> str:
        """sha256 over both questions of every pair and over what stayed right: what a vector records of its data."""
        rows = [[p.edit, p.positive.id, p.positive.prompt, p.negative.id, p.negative.prompt] for p in self.pairs]
        rows += [["", one.id, one.prompt] for one in self.stayed_right]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the set as JSON lines, all or nothing: what it says of itself first, then a row each.

        Raises:
            EnvironmentProblem: The file cannot be written.
        """
        head = {name: getattr(self, name) for name in ("task", "model", "counts", "seed", "config")}
        rows = [{"kind": KIND, "schema": SCHEMA, **head, "content_hash": self.content_hash()}]
        rows += [{"pair": asdict(pair)} for pair in self.pairs]
        rows += [{"stayed_right": asdict(one)} for one in self.stayed_right]
        with replacing(path) as beside:
            beside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PairSet:
        """Read a set that `save` wrote.

        Raises:
            InputError: Not such a file, one of a newer schema, or a damaged one.
        """
        try:
            head, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
            if head.get("kind") != KIND:
                raise InputError(f"{path} holds no pairs; give a file that PairSet.save wrote")
            if head["schema"] > SCHEMA:
                raise InputError(f"{path} has schema {head['schema']}, this version reads {SCHEMA}; upgrade")
            found = cls(
                head["task"],
                head["model"],
                tuple(_pair(row["pair"]) for row in rows if "pair" in row),
                tuple(Example(**row["stayed_right"]) for row in rows if "stayed_right" in row),
                head["counts"],
                head["seed"],
                head["config"],
            )
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read as pairs ({error}); make them again") from error
        if found.content_hash() != head["content_hash"]:
            raise InputError(f"{path} is damaged: its rows are not those it was written with; make the pairs again")
        return found


def _pair(row: Mapping[str, Any]) -> Pair:
    return Pair(**{**row, "positive": Example(**row["positive"]), "negative": Example(**row["negative"])})


def _at_most(items: Sequence[Item], key: Callable[[Item], Hashable], limit: int | None) -> list[Item]:
    if limit is not None and limit < 1:
        raise InputError(f"a cap of {limit} leaves nothing; use 1 or more, or None")
    seen: Counter[Hashable] = Counter()
    kept = []
    for item in items:
        seen[key(item)] += 1
        if limit is None or seen[key(item)] <= limit:
            kept.append(item)
    return kept
