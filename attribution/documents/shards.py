"""One file of an index: rows of some documents, who they are, and a checksum; whole or absent.

    write_shard(path, stored, records, digest)
    shard = Shard.open(path)                        # memory-mapped; InputError where a byte has changed
    shard.stored["bits"]["codes"], shard.records[0]["id"]

It is a safetensors file, so other tools read it too. Its checksum covers rows and records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError

Stored = Mapping[str, Mapping[str, NDArray]]  # encoding -> name -> rows
_DTYPES = {"U8": np.uint8, "I8": np.int8, "F32": np.float32}
_KEY = "shard"  # one key only: safetensors writes several in no fixed order, and the same build gives the same bytes


@dataclass(frozen=True)
class Shard:
    """What a file holds.

    Attributes:
        path: The file.
        stored: Rows by encoding and name, memory-mapped, (n_documents, ...).
        records: One a document: its id and columns.
        digest: Of the documents that it was made of.
        checksum: sha256 over rows and records.
    """

    path: Path
    stored: Stored
    records: list[dict[str, Any]]
    digest: str
    checksum: str

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Map a file and compute its checksum, which reads all of it.

        Args:
            path: The file.

        Raises:
            InputError: The file is missing, cut short or changed.
        """
        with _whole(path):
            stored, told = _mapped(path)
            shard = cls(path, stored, told["records"], told["digest"], told["sha256"])
        if _checksum(shard.stored, shard.records) != shard.checksum:
            raise InputError(f"{path} is damaged (its checksum differs); delete it and build the index again")
        return shard


def recorded_checksum(path: Path) -> str:
    """Return the checksum that a shard says it has; its rows are not read.

    Raises:
        InputError: As `Shard.open`.
    """
    with _whole(path):
        return str(_mapped(path)[1]["sha256"])


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or missing ({error}); delete it and build the index again") from error


def write_shard(path: Path, stored: Stored, records: Sequence[Mapping[str, Any]], digest: str) -> None:
    """Write a shard beside its place, then put it there.

    Args:
        path: The file.
        stored: Rows by encoding and name, (n_documents, ...).
        records: One a document, JSON.
        digest: Of the documents, so that a build that goes on knows its own shards.

    Raises:
        EnvironmentProblem: The file cannot be written.
    """
    from safetensors.numpy import save_file

    rows = {f"{kind}/{name}": values for kind, named in stored.items() for name, values in named.items()}
    told = {"digest": digest, "sha256": _checksum(stored, records), "records": list(records)}
    with replacing(path) as beside:
        save_file(rows, beside, metadata={_KEY: json.dumps(told)})


def _mapped(path: Path) -> tuple[Stored, dict[str, Any]]:
    """The arrays of a safetensors file, mapped, and what it says of itself."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is cut short")
        header = json.loads(file.read(length))
    told = json.loads(header.pop("__metadata__")[_KEY])
    stored: dict[str, dict[str, NDArray]] = {}
    for full, entry in header.items():
        kind, name = full.split("/")
        start, _ = entry["data_offsets"]
        stored.setdefault(kind, {})[name] = np.memmap(
            path, _DTYPES[entry["dtype"]], "r", 8 + length + start, tuple(entry["shape"])
        )
    return stored, told


def _checksum(stored: Stored, records: Sequence[Mapping[str, Any]]) -> str:
    digest = hashlib.sha256(json.dumps(list(records), sort_keys=True).encode())
    for kind, named in sorted(stored.items()):
        for name, values in sorted(named.items()):
            digest.update(f"{kind}/{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
