"""The bytes between this process and a driver: arguments there, a nonce and outputs back.

given = request(found, [[x, y]])                            # `found` is a Signature
replies(found, given, reply, n_cases=1)                     # {0: [[numpy.array([0.5])]]}
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ellora_trust.tasks.parallel.cases import COO, Values
from ellora_trust.tasks.parallel.signature import Signature, element, is_container

_DTYPES = {"double": "<f8", "float": "<f4", "int": "<i4", "size_t": "<u8", "bool": "?", "COOElement": COO}
_NONCE = 16  # bytes


@dataclass(frozen=True)
class Request:
    """What a driver reads.

    Attributes:
        nonce: Of one run; every reply must begin with it.
        payload: The number of cases and their arguments.
    """

    payload: bytes
    nonce: bytes = field(default_factory=lambda: secrets.token_bytes(_NONCE))

    def encode(self, *, prepares: int = 1, calls: int = 1, collects: int = 1) -> bytes:
        """Return the bytes that a driver reads.

        Args:
            prepares: How often each case is prepared.
            calls: After how many of the last preparations the kernel is called.
            collects: After how many of the last ones its outputs are sent.
        """
        return self.nonce + struct.pack("<III", prepares, calls, collects) + self.payload


def request(found: Signature, cases: Sequence[Values]) -> Request:
    """Return a run over `cases` with a nonce of its own."""
    kinds = [one.kind for one in found.parameters]
    packed = [_pack(kind, value) for case in cases for kind, value in zip(kinds, case, strict=True)]
    return Request(struct.pack("<I", len(cases)) + b"".join(packed))


def _pack(kind: str, value: Any) -> bytes:
    array = np.asarray(value, _DTYPES[element(kind)])
    return (struct.pack("<Q", array.size) if is_container(kind) else b"") + array.tobytes()


def replies(found: Signature, given: Request, data: bytes, n_cases: int) -> dict[int, list[Values]] | None:
    """Return each rank's outputs, one list a case, or None where the bytes are not what a driver would write."""
    ranks: dict[int, list[Values]] = {}
    reader = _Reader(data)
    try:
        while reader.at < len(data):
            if reader.take(_NONCE) != given.nonce:
                return None
            rank = int(reader.values("<u4", 1)[0])
            ranks[rank] = [[reader.output(kind) for kind in found.outputs] for _ in range(n_cases)]
    except EOFError:
        return None
    return ranks


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise EOFError
        self.at += size
        return self.data[self.at - size : self.at]

    def values(self, dtype: Any, count: int) -> np.ndarray:
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def output(self, kind: str) -> Any:
        count = int(self.values("<u8", 1)[0]) if is_container(kind) else 1
        if _DTYPES[element(kind)] == "?":
            return np.frombuffer(self.take(count), np.uint8) != 0  # any byte is a bool here
        return self.values(_DTYPES[element(kind)], count)
