"""`load`: a model from a built-in name, a hub id, a folder or a GGUF file.

model = load("smollm2")
model = load("bigcode/starcoder2-3b", dtype="bfloat16", device="cuda")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ellora_trust.builtin import BUILTIN, convert_gguf, ensure
from ellora_trust.errors import EnvironmentProblem, InputError, is_slip, one_of
from ellora_trust.model import CodeModel
from ellora_trust.quiet import quiet_transformers

Backend = Literal["torch", "nnsight"]
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def load(
    name: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    sharded: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    backend: Backend = "torch",
    remote: bool = False,
) -> CodeModel:
    """Load a causal language model and check that every site in it is what its name says.

    Args:
        name: A built-in one (`smollm2`, `testbed`, `testbed-clean`, `testbed-lds`), a hub id, a folder in transformers'
            format, or a `.gguf` file.
        dtype: Of the weights; float32 on a CPU and the checkpoint's own elsewhere, if None.
        device: `cpu`, `cuda`, ...; a GPU if there is one, if None.
        device_map: Spread one model over the devices of this process, as accelerate does it: `auto`, `balanced`, or a
            module's name to its device, `cpu` or `disk`. In place of `device`.
        sharded: Divide the weights over the processes of torchrun or `accelerate launch`; see `ellora_trust.sharded`.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run code that a hub repository brings. Off: it would run with your rights.
        backend: `nnsight` makes every forward an nnsight trace; capture, edits and steering stay the same.
        remote: Leave the model on NDIF, which serves some hub models, and send traces there; needs an NDIF key.

    Raises:
        InputError: Nothing of that name, options that exclude each other, or an architecture whose sites cannot be
            named.
        EnvironmentProblem: The built-in's wheel is missing, the hub cannot be reached, the cache not written, or the
            process has no launcher.
    """
    if device_map is not None and (device is not None or sharded):
        raise InputError("device_map says where every part lies; leave out device and sharded")
    if backend not in get_args(Backend):
        raise InputError(one_of(backend, get_args(Backend), what="backend"))
    if remote:
        local = {"dtype": dtype, "device": device, "device_map": device_map, "sharded": sharded}
        return _remote(str(name), revision, {**local, "trust_remote_code": trust_remote_code})
    device = device or _default_device()
    # Before the folder: a built-in model may have to be converted first, which takes half a minute.
    weights = {"dtype": _dtype(dtype, device), "device_map": device_map}
    folder = _folder(str(name))
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    hf, tokenizer = _pretrained(str(name), folder, weights, options)
    if device_map is None and not sharded:
        _move(hf, device)
    model = CodeModel(str(name), hf, tokenizer, source=folder)
    if sharded:
        from ellora_trust.sharded import shard

        shard(model, torch.device(device).type)
    if backend == "nnsight":
        from ellora_trust.backends.nnsight import traced

        return traced(model)
    return model


def _pretrained(name: str, folder: Path | None, weights: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Any]:
    """The model and its tokenizer as transformers loads them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = str(folder or name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            return AutoModelForCausalLM.from_pretrained(where, use_safetensors=True, **weights, **options), tokenizer
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _unknown(name, folder, error) from error


def _move(hf: Any, device: str) -> None:
    try:
        hf.to(device)
    except RuntimeError as error:
        raise EnvironmentProblem(f"device {device!r} cannot be used: {error}; use --device cpu") from error


def _default_device() -> str:
    """The GPU that a launcher gave this process, or the first one, or the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def _remote(name: str, revision: str | None, local: dict[str, Any]) -> CodeModel:
    from ellora_trust.backends.nnsight import remote_model

    given = [option for option, value in local.items() if value]
    if given:
        raise InputError(f"remote=True runs where the model is; leave out {', '.join(given)}")
    return remote_model(name, revision=revision)


def _dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype | str:
    if dtype is None:
        return torch.float32 if device == "cpu" else "auto"
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; use one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _folder(name: str) -> Path | None:
    """The local folder a name stands for, or None for a hub id."""
    if name in BUILTIN:
        return ensure(name)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"there is no file {path}; give an existing .gguf file, a folder or a hub id")
        return convert_gguf(path)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(f"{path} has no config.json; give a folder that save_pretrained wrote")
        return path
    if is_slip(name, BUILTIN):
        raise InputError(f"{one_of(name, BUILTIN, what='model')} (or give a hub id as ORGANISATION/NAME, or a folder)")
    return None


def _unknown(name: str, folder: Path | None, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if folder is not None and isinstance(error, ImportError):
        return EnvironmentProblem(
            f"{folder} needs a package that is not installed: {reason}; for quantised weights, pip install "
            "'ellora-trust[bitsandbytes]' or 'ellora-trust[torchao]'"
        )
    if folder is not None:
        return InputError(f"transformers cannot load {folder}: {reason}; give a causal language model in safetensors")
    return EnvironmentProblem(
        f"model {name!r} is not built in ({', '.join(BUILTIN)}), not a folder, and could not be had from the hub "
        f"({reason}); check the name and the network, or give a local folder"
    )
