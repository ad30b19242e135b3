"""A model's fingerprint: sha256 over its config and weights, cached so that the second time costs nothing.

The cache is keyed by the identity of the files the weights came from (path, size, time of change), and holds only
while no tensor was written to since loading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn
from transformers import PreTrainedModel

from ellora_trust.cachedir import cache_dir, replacing
from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sharded import whole

# What may differ between two loads of the same weights.
_VOLATILE = ("_name_or_path", "transformers_version", "_attn_implementation", "use_cache", "torch_dtype")


def of_weights(hf: PreTrainedModel) -> str:
    """Return sha256 over config, dtype, and every parameter and buffer by name, shape and bytes."""
    config = {k: v for k, v in hf.config.to_dict().items() if k not in _VOLATILE}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(hf.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        for part in _parts(_values(hf, name, tensor)):
            digest.update(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that hold the bytes: the tensor itself, or what a quantised one is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # pyright: ignore[reportAttributeAccessIssue]  # of torch's subclasses
    for name in names:
        yield from _parts(getattr(tensor, name))


def _values(hf: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of the state, also of a part that lies on disk until it runs or in other processes."""
    if not tensor.is_meta:
        return whole(tensor.detach())
    from accelerate.utils import align_module_device

    parent, _, own = name.rpartition(".")
    module = hf.get_submodule(parent)
    with align_module_device(module, torch.device("cpu")):
        return getattr(module, own).detach().clone()


def tensor_state(hf: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return (storage address, version counter) of every tensor: it changes when a weight is written in place."""
    return tuple((tensor.data_ptr(), tensor._version) for tensor in hf.state_dict(keep_vars=True).values())


def of_files(hf: PreTrainedModel, folder: Path) -> str:
    """Return `of_weights`, remembered for the weight files of this folder and the model's dtype."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".json"))
    identity = json.dumps([(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files] + [str(hf.dtype)])
    key = hashlib.sha256(identity.encode()).hexdigest()
    memory = cache_dir() / "fingerprints.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    if key in known:
        return known[key]
    found = of_weights(hf)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{memory}.lock"), replacing(memory) as beside:
            known = json.loads(memory.read_text()) if memory.exists() else {}
            beside.write_text(json.dumps({**known, key: found}))
    except (EnvironmentProblem, PermissionError, OSError):
        # A cache that can't be written costs time, not correctness.
        return found
    return found
