"""Changes on disk: bits of one significance lie together and are compressed where that saves a tenth or more.

An edit leaves sign and exponent of most weights alone, so the upper bytes of old xor new are mostly zero.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ellora_trust.errors import InputError

_WORTH = 0.9
_HEADER = "packed"


def pack(delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors to write: compressed bytes, or the change itself where compression does not pay."""
    found: dict[str, Tensor] = {}
    shapes: dict[str, list[object]] = {}
    for name, change in delta.items():
        raw = change.cpu().contiguous()
        planes = np.ascontiguousarray(raw.view(-1).view(torch.uint8).numpy().reshape(-1, raw.element_size()).T)
        small = zlib.compress(planes.tobytes(), 1)
        if len(small) < _WORTH * planes.nbytes:
            found[name] = torch.frombuffer(bytearray(small), dtype=torch.uint8)
            shapes[name] = [str(raw.dtype).removeprefix("torch."), list(raw.shape)]
        else:
            found[name] = raw
    found[_HEADER] = torch.frombuffer(bytearray(json.dumps(shapes).encode()), dtype=torch.uint8)
    return found


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the change that `pack` was given.

    Raises:
        InputError: Damaged bytes.
    """
    try:
        shapes = json.loads(bytes(tensors[_HEADER].numpy()))
        return {n: _one(t, shapes[n]) if n in shapes else t for n, t in tensors.items() if n != _HEADER}
    except (KeyError, ValueError, TypeError, zlib.error, RuntimeError) as error:
        raise InputError(f"the edit's tensors are damaged ({error}); make the edit again") from error


def _one(small: Tensor, described: list) -> Tensor:
    dtype, shape = getattr(torch, described[0]), described[1]
    width = torch.empty((), dtype=dtype).element_size()
    planes = np.frombuffer(zlib.decompress(small.numpy().tobytes()), dtype=np.uint8).reshape(width, -1)
    return torch.from_numpy(np.ascontiguousarray(planes.T)).view(-1).view(dtype).reshape(shape)
