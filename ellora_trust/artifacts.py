"""One on-disk form for everything fitted: a folder with `artifact.json` and tensors as safetensors. Never pickle.

write(Path("runs/probe"), Artifact(kind="error-probe", model=..., config=..., metrics=...), {"weight": w})
artifact, tensors = read(Path("runs/probe"), kind="error-probe")
artifact.check_model(model)
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ellora_trust.model import CodeModel

SCHEMA = 1
DESCRIPTION = "artifact.json"
TENSORS = "tensors.safetensors"


@dataclass(frozen=True)
class Artifact:
    """What a fitted thing says of itself.

    Attributes:
        kind: Such as `error-probe`.
        model: Name, fingerprint, dtype of the model it was fitted on.
        site: Where it reads or writes, if anywhere.
        data: Task, number of examples, hash of their ids and outcomes.
        config: Everything the fit was given and chose, enough to apply it elsewhere.
        metrics: Numbers with their intervals, n and baselines.
        versions: Of the packages it was made with.
        schema: Of this file.
    """

    kind: str
    model: Mapping[str, Any]
    site: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    schema: int = SCHEMA

    def check_model(self, model: CodeModel, *, force: bool = False) -> None:
        """Refuse a model other than the one this was fitted on, unless forced.

        Raises:
            InputError: Another fingerprint.
        """
        expected = self.model["fingerprint"]
        if not force and model.fingerprint != expected:
            raise InputError(
                f"this {self.kind} was fitted on {self.model['name']} (fingerprint {expected[:12]}), but the model "
                f"given is {model.name} (fingerprint {model.fingerprint[:12]}); load that one, or use --force"
            )


def versions() -> dict[str, str]:
    """Return the versions that decide numbers."""
    packages = ("ellora-trust", "torch", "transformers", "scikit-learn", "numpy", "tokenizers")
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_model(model: CodeModel) -> dict[str, Any]:
    """Return what an artifact records of a model."""
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "dtype": str(model.hf.dtype).removeprefix("torch."),
        "n_layers": model.arch.n_layers,
        "d_model": model.arch.d_model,
    }


def write(folder: Path, artifact: Artifact, tensors: Mapping[str, Tensor]) -> None:
    """Write an artifact, all or nothing.

    Raises:
        EnvironmentProblem: The folder cannot be written.
    """
    from safetensors.torch import save_file

    with replacing(folder) as beside:
        beside.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside / TENSORS)
        (beside / DESCRIPTION).write_text(json.dumps(asdict(artifact), indent=2, allow_nan=False) + "\n")


def read_description(folder: Path) -> Artifact:
    """Return what an artifact says of itself, without its tensors.

    Raises:
        InputError: No artifact there, a damaged one, or one of a newer schema.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{folder} is not an artifact (it has no {DESCRIPTION}); give a folder that ellora-trust wrote"
        )
    try:
        raw = json.loads(path.read_text())
        schema = raw["schema"]
        if schema > SCHEMA:
            raise InputError(f"{path} has schema {schema}, this version reads up to {SCHEMA}; upgrade ellora-trust")
        return Artifact(**raw)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); make the artifact again") from error


def read(
    folder: Path, *, kind: str, model: CodeModel | None = None, force: bool = False
) -> tuple[Artifact, dict[str, Tensor]]:
    """Return an artifact of a kind with its tensors.

    Args:
        folder: Where it was written.
        kind: What it has to be.
        model: What it will be used on; checked if given.
        force: Accept another model.

    Raises:
        InputError: As `read_description`; or another kind, another model, or damaged tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    artifact = read_description(folder)
    if artifact.kind != kind:
        raise InputError(f"{folder} holds a {artifact.kind}, not a {kind}; give the right folder")
    if model is not None:
        artifact.check_model(model, force=force)
    try:
        return artifact, load_file(folder / TENSORS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / TENSORS} is damaged or missing ({error}); make the artifact again") from error
