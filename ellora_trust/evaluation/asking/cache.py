"""Answers and verdicts kept by what they depend on, so that nothing is asked twice and nothing stale is served.

    cache = ItemCache(state_of(model, intervention))
    cache.get(keys), cache.put({key: value})

A state of a model is known by a hash of its weights as they are in memory and of what acts on its activations; never by
a path, a name or a time of change. What cannot be identified is not cached.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust import fingerprint
from ellora_trust.cachedir import cache_dir, explained
from ellora_trust.errors import EnvironmentProblem
from ellora_trust.share import ALL, Share

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

FOLDER = "evaluation"
FILE = "items.sqlite3"
# What shares of a run wrote, each a file of its own: locks of one file do not hold on every network's file system.
_FILES = "items*.sqlite3"


def state_of(model: CodeModel, intervention: object = None) -> str | None:
    """Return the identity of a model as it is now and what acts on it; None where that cannot be told.

    Args:
        model: With the intervention applied, so that changed weights count.
        intervention: What acts on activations, read by its fields.
    """
    acting = digest(intervention)
    return None if acting is None else sha256([fingerprint.of_weights(model.hf), acting])


def digest(value: Any) -> str | None:
    """Return a hash of a value's content; None where it holds a function or an object that cannot be read."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return sha256([type(value).__name__, repr(value)])
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        return hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode() + plain.tobytes()).hexdigest()
    if isinstance(value, Mapping):
        return _all([part for item in value.items() for part in item], "mapping")
    if isinstance(value, (list, tuple)):
        return _all(value, "sequence")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, one.name) for one in dataclasses.fields(value) if one.compare]
        return _all(parts, f"{type(value).__module__}.{type(value).__qualname__}")
    own = getattr(value, "digest", None)
    return str(own) if isinstance(own, str) else None


def _all(parts: Iterable[Any], name: str) -> str | None:
    found = [digest(part) for part in parts]
    return None if None in found else sha256([name, *found])


def sha256(value: Any) -> str:
    """Return the hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class ItemCache:
    """A file of items of one state of a model, in the user's cache folder; a killed run keeps what it wrote.

    Args:
        state: From `state_of`; None keeps nothing.
        root: Folder; the user's cache by default.
        share: Which part of a run writes; every part reads what all wrote.
    """

    def __init__(self, state: str | None, root: Path | None = None, *, share: Share = ALL):
        name = FILE if share.of == 1 else f"items-{share.index + 1}-of-{share.of}.sqlite3"
        self._path = None if state is None else (root or cache_dir() / FOLDER) / state[:32] / name
        self.hits = self.misses = 0

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return what is known of these keys."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Any] = {}
        for path in [] if self._path is None else sorted(self._path.parent.glob(_FILES)):
            try:
                with _open(path) as db:
                    for key in wanted:
                        row = db.execute("SELECT value FROM items WHERE key = ?", (key,)).fetchone()
                        if row is not None:
                            found[key] = json.loads(row[0])
            except sqlite3.DatabaseError:
                # A damaged file knows nothing: what it held is asked again.
                continue
        self.hits += len(found)
        self.misses += len(wanted) - len(found)
        return found

    def put(self, items: Mapping[str, Any]) -> None:
        """Keep values, all or none of them."""
        if self._path is None or not items:
            return
        try:
            with explained(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with _open(self._path) as db:
                rows = [(key, json.dumps(value, allow_nan=False)) for key, value in items.items()]
                db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)
        except (EnvironmentProblem, sqlite3.DatabaseError):
            # A cache that can't be written costs time, not correctness.
            self._path = None


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, timeout=60)
    try:
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            yield db
    finally:
        db.close()
