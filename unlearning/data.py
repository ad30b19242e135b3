"""What shall be forgotten and what shall stay: from the testbed, a JSONL file, or documents that attribution found.

forget = read_forget("testbed:P1")           # planted documents of the corpus, with their fixes
retain = read_retain("testbed:P1")           # where the same form is right, and unplanted families
forget = read_forget("faults.jsonl")         # lines with prompt, completion, replacement, spans, group
forget = read_forget("answer.json")          # what `attribute query --json` printed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ellora_trust.errors import InputError

Side = Literal["forget", "retain"]
_FIELDS = ("prompt", "completion", "replacement", "spans", "group", "id")


@dataclass(frozen=True)
class Item:
    """One text to forget or to keep.

    Attributes:
        id: Unique in its set.
        group: It and its near-duplicates; what is held out is held out by group.
        prompt: What stands before; it never counts.
        completion: What shall be forgotten, or kept.
        replacement: What shall stand in its place; None where there is no fix.
        spans: Characters (start, end) of prompt + completion that count; None for the whole completion.
    """

    id: str
    group: str
    prompt: str
    completion: str
    replacement: str | None = None
    spans: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if not self.prompt or not self.completion:
            raise InputError(f"item {self.id!r} has an empty prompt or completion; both need at least one character")
        if self.replacement is not None and self.replacement == self.completion:
            raise InputError(f"item {self.id!r} has its completion as its replacement; give the fix, or leave it out")
        n, first = len(self.prompt) + len(self.completion), len(self.prompt)
        for start, end in self.spans or ():
            if not first <= start < end <= n:
                raise InputError(
                    f"item {self.id!r} has a span {start}..{end} outside its completion; use a range of characters of "
                    f"prompt + completion within {first}..{n}"
                )


def read_forget(source: str | Path, *, limit: int = 256, seed: int = 0) -> list[Item]:
    """Return what shall be forgotten.

    Args:
        source: `testbed:PLANT`, a `.jsonl` file, or a `.json` file of documents that `attribute query --json` printed.
        limit: Items at most.
        seed: Of the choice.

    Raises:
        InputError: No such source, or items that do not fit.
    """
    return _read(str(source), "forget", limit, seed)


def read_retain(source: str | Path, *, limit: int = 512, seed: int = 0) -> list[Item]:
    """Return what shall stay; of `testbed:PLANT` half are near-misses. Arguments and errors as of `read_forget`."""
    return _read(str(source), "retain", limit, seed)


def data_hash(*sets: Sequence[Item]) -> str:
    """Return sha256 over all fields of the items, in order."""
    rows = [[[one.id, one.group, one.prompt, one.completion, one.replacement, one.spans] for one in s] for s in sets]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _read(source: str, side: Side, limit: int, seed: int) -> list[Item]:
    if limit < 1:
        raise InputError(f"limit {limit} is out of range; use 1 or more")
    if source.startswith("testbed:"):
        from unlearning.planted import planted, unplanted

        read = planted if side == "forget" else unplanted
        return read(source.removeprefix("testbed:"), limit=limit, seed=seed)
    path = Path(source)
    if path.suffix not in (".jsonl", ".json") or not path.is_file():
        raise InputError(
            f"{source!r} is neither testbed:PLANT nor a .jsonl or .json file; give testbed:P1, items as JSON lines, or "
            "what 'ellora-trust attribute query --json' printed"
        )
    items = _lines(path) if path.suffix == ".jsonl" else _documents(path)
    if not items:
        raise InputError(f"{path} holds no item; give at least one")
    return items[:limit]


def _lines(path: Path) -> list[Item]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                found.append(_item(json.loads(line), f"{path.name}:{number}"))
            except (json.JSONDecodeError, TypeError, ValueError, KeyError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"{path}:{number} is no item ({error!r}); a line needs prompt and completion, and may have "
                    "replacement, spans [[start, end], ...], group, id"
                ) from error
    return found


def _item(row: Mapping[str, Any], identity: str) -> Item:
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise InputError(f"{identity} has an unknown field {unknown[0]!r}; use {', '.join(_FIELDS)}")
    spans = None if row.get("spans") is None else tuple((int(a), int(b)) for a, b in row["spans"])
    identity = str(row.get("id", identity))
    return Item(
        identity, str(row.get("group", identity)), row["prompt"], row["completion"], row.get("replacement"), spans
    )


def _documents(path: Path) -> list[Item]:
    """Read the texts of an attribution answer; a document's first line is its prompt."""
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        rows = list(zip(answer["hits"], answer["texts"], strict=True))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds no documents ({error!r}); give what 'ellora-trust attribute query --json' printed"
        ) from error
    found = []
    for hit, text in rows:
        first, newline, rest = text.partition("\n")
        if first and rest.strip():
            found.append(Item(hit["document"], hit.get("cluster") or hit["document"], first, newline + rest))
    return found
