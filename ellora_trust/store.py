"""Activations in memory or on disk: shards that appear whole, are memory-mapped, and survive a kill.

A store's folder is named by what it holds (model fingerprint, sites, positions, texts), so the same capture finds its
own shards again and another one never does.

    activations["resid.12", "last"]        # (n, d_model), in the order of the prompts
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError

Key = tuple[str, str]  # (site, position)
Values = Tensor | list[Tensor]
SCHEMA = 1


class Activations(Mapping[Key, Values]):
    """(site, position) -> (n, width), or a list of (n_tokens, width) for the position `all`."""

    def __init__(self, values: Mapping[Key, Values]):
        self._values = dict(values)

    def __getitem__(self, key: Key) -> Values:
        if key not in self._values:
            have = sorted({site for site, _ in self}), sorted({position for _, position in self})
            raise InputError(f"no activations at {key}; sites: {', '.join(have[0])}; positions: {', '.join(have[1])}")
        return self._values[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def vectors(self, site: str, position: str) -> Tensor:
        """Return (n, width); refuses the position `all`, which has no single vector."""
        value = self[site, position]
        if isinstance(value, list):
            raise InputError(f"position {position!r} keeps every token; use a reduced one, such as 'mean'")
        return value


class ActivationStore:
    """A folder of shards; each holds some rows at every (site, position), and whatever belongs to them.

    Args:
        root: Folder that holds stores.
        identity: What the content depends on; its hash names the store.
        n: Rows in all.
        order: Row numbers in the order of processing.
        shard_size: Rows in a shard.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], order: Sequence[int], shard_size: int = 64):
        text = json.dumps({"schema": SCHEMA, **identity}, sort_keys=True)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.shards = [list(order[i : i + shard_size]) for i in range(0, len(order), shard_size)]
        manifest = self.folder / "store.json"
        if not manifest.exists():
            with replacing(manifest) as beside:
                beside.write_text(text)
        elif manifest.read_text() != text:
            raise InputError(f"{manifest} describes another capture; delete {self.folder} and run again")

    def path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:05d}.safetensors"

    def done(self, shard: int) -> bool:
        return self.path(shard).exists()

    def write(self, shard: int, values: Mapping[Key, Values], records: Sequence[Any] = ()) -> None:
        """Write one shard, rows in the order of `self.shards[shard]`; `records` are JSON values, one a row."""
        tensors: dict[str, Tensor] = {}
        for (site, position), value in values.items():
            name = f"{site}|{position}"
            if isinstance(value, list):
                tensors[f"{name}|lengths"] = torch.tensor([len(rows) for rows in value])
                value = torch.cat(value)
            tensors[name] = value.cpu().contiguous()
        if not tensors:
            tensors["empty"] = torch.zeros(0)
        with replacing(self.path(shard)) as beside:
            save_file(tensors, beside, metadata={"records": json.dumps(list(records))})

    def records(self) -> list[Any]:
        """Return the records of all rows, in the order of the prompts."""
        found: dict[int, Any] = {}
        for shard, rows in enumerate(self.shards):
            with self._open(shard) as file:
                found.update(zip(rows, json.loads(file.metadata()["records"]), strict=False))
        return [found[row] for row in sorted(found)]

    def activations(self) -> Activations:
        """Return all rows, in the order of the prompts; each key is read from the shards when it is asked for."""
        return _Stored(self)

    def _open(self, shard: int) -> Any:
        try:
            return safe_open(self.path(shard), "pt")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path(shard)} is damaged ({error}); delete it and run again") from error


class _Stored(Activations):
    def __init__(self, store: ActivationStore):
        self._store = store
        with store._open(0) as file:
            names = [name.split("|") for name in file.keys() if name.count("|") == 1]
        super().__init__({(site, position): [] for site, position in names})

    def __getitem__(self, key: Key) -> Values:
        super().__getitem__(key)  # for its message
        name = "|".join(key)
        found: dict[int, Tensor] = {}
        ragged = False
        for shard, rows in enumerate(self._store.shards):
            with self._store._open(shard) as file:
                value = file.get_tensor(name)
                ragged = f"{name}|lengths" in file.keys()
                pieces = value.split(file.get_tensor(f"{name}|lengths").tolist()) if ragged else value
                found.update(zip(rows, pieces, strict=True))
        ordered = [found[row] for row in sorted(found)]
        return ordered if ragged else torch.stack(ordered)
