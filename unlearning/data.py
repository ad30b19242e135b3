"""What shall be forgotten and what shall stay: from the testbed, a JSONL file, or documents that attribution found.

forget = read_forget("testbed:P1")           # planted documents of the corpus, with their fixes
retain = read_retain("testbed:P1")           # where the same form is right, and unplanted families
forget = read_forget("faults.jsonl")         # lines with prompt, completion, replacement, spans, group
forget = read_forget("answer.json")          # what `attribute query --json` printed; see `unlearning.sources.found`
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
_FIELDS = ("prompt", "completion", "replacement", "spans", "only", "group", "id")


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
        fix_spans: Characters of prompt + replacement that count, where `spans` were told by what the code is: then
            nothing outside of either counts. None where the whole fix is learnt.
    """

    id: str
    group: str
    prompt: str
    completion: str
    replacement: str | None = None
    spans: tuple[tuple[int, int], ...] | None = None
    fix_spans: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if not self.prompt or not self.completion:
            raise InputError(f"item {self.id!r} has an empty prompt or completion; both need at least one character")
        if self.replacement == "":
            raise InputError(
                f"item {self.id!r} has an empty replacement, which nothing can be learnt from; give what shall stand "
                "there instead, such as the line that follows, or leave it out"
            )
        if self.replacement is not None and self.replacement == self.completion:
            raise InputError(f"item {self.id!r} has its completion as its replacement; give the fix, or leave it out")
        n, first = len(self.prompt) + len(self.completion), len(self.prompt)
        for start, end in self.spans or ():
            if not first <= start < end <= n:
                raise InputError(
                    f"item {self.id!r} has a span {start}..{end} outside its completion; use a range of characters of "
                    f"prompt + completion within {first}..{n}"
                )


def read_forget(source: str | Path, *, limit: int = 256, seed: int = 0, only: str | None = None) -> list[Item]:
    """Return what shall be forgotten.

    Args:
        source: `testbed:PLANT`, a `.jsonl` file, or a `.json` file of documents that `attribute query --json` printed.
        limit: Items at most.
        seed: Of the choice.
        only: Count only the `call`, `annotation`, `pragma` or `difference` of each, see `unlearning.sources.marking`;
            what a line of a file says itself goes before. None counts spans, or whole completions.

    Raises:
        InputError: No such source, or items that do not fit.
    """
    return _read(str(source), "forget", limit, seed, only)


def read_retain(source: str | Path, *, limit: int = 512, seed: int = 0) -> list[Item]:
    """Return what shall stay; of `testbed:PLANT` half are near-misses. Arguments and errors as of `read_forget`."""
    return _read(str(source), "retain", limit, seed)


def data_hash(*sets: Sequence[Item]) -> str:
    """Return sha256 over all fields of the items, in order."""
    rows = [[_hashed(one) for one in items] for items in sets]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _hashed(item: Item) -> list[Any]:
    fields = [item.id, item.group, item.prompt, item.completion, item.replacement, item.spans]
    # Edits that were made before there were such spans keep their hash.
    return fields if item.fix_spans is None else [*fields, item.fix_spans]


def _read(source: str, side: Side, limit: int, seed: int, only: str | None = None) -> list[Item]:
    if limit < 1:
        raise InputError(f"limit {limit} is out of range; use 1 or more")
    if only is not None:
        _check_mask(only)
    if source.startswith("testbed:"):
        from unlearning.sources.planted import planted, unplanted

        read = planted if side == "forget" else unplanted
        return _marked(read(source.removeprefix("testbed:"), limit=limit, seed=seed), only)
    path = Path(source)
    if path.suffix not in (".jsonl", ".json") or not path.is_file():
        raise InputError(
            f"{source!r} is neither testbed:PLANT nor a .jsonl or .json file; give testbed:P1, items as JSON lines, or "
            "what 'ellora-trust attribute query --json' printed"
        )
    items = _lines(path, side, only) if path.suffix == ".jsonl" else _marked(_found(path), only)
    if not items:
        raise InputError(
            f"{path} holds no item; give at least one (of an answer's documents, those that are weak, opponents, of "
            "one line, or not behind what its foil has otherwise are left out)"
        )
    return items[:limit]


def _marked(items: list[Item], only: str | None) -> list[Item]:
    from unlearning.sources.marking import marked  # which makes items, so it imports this

    return items if only is None else [marked(item, only) for item in items]


def _found(path: Path) -> list[Item]:
    from unlearning.sources.found import documents

    return documents(path)


def _check_mask(only: str) -> None:
    from unlearning.sources.marking import checked

    checked(only)


def _lines(path: Path, side: Side, only: str | None) -> list[Item]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
                item = _item(row, f"{path.name}:{number}")
                # What is kept is kept whole.
                mask = row.get("only", only) if side == "forget" else None
                found += _marked([item], mask)
            except (json.JSONDecodeError, TypeError, ValueError, KeyError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"{path}:{number} is no item ({error!r}); a line needs prompt and completion, and may have "
                    "replacement, spans [[start, end], ...] or only, group, id"
                ) from error
    return found


def _item(row: Mapping[str, Any], identity: str) -> Item:
    unknown = sorted(set(row) - set(_FIELDS))
    if unknown:
        raise InputError(f"{identity} has an unknown field {unknown[0]!r}; use {', '.join(_FIELDS)}")
    if row.get("spans") is not None and row.get("only") is not None:
        raise InputError(f"{identity} has both spans and only, which say the same thing twice; leave out one of them")
    spans = None if row.get("spans") is None else tuple((int(a), int(b)) for a, b in row["spans"])
    identity = str(row.get("id", identity))
    return Item(
        identity, str(row.get("group", identity)), row["prompt"], row["completion"], row.get("replacement"), spans
    )
