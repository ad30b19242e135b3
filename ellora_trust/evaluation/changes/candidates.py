"""What can be compared: nothing, a saved vector or edit, a LoRA adapter, another checkpoint, another precision.

    candidate = read_candidate("runs/steer/vector-rename_vars:1.5", model)
    with candidate.entered(model) as state:
        state.generate(prompts)

Written on the command line as `NAME=WHAT` or just `WHAT`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ellora_trust.errors import InputError, is_slip, one_of
from ellora_trust.intervention import Intervention, Nothing, WeightChange
from ellora_trust.precision import need_float

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_BITS = ("int8", "int4")
_NAMED = ("nothing", *_BITS, *_DTYPES)


@dataclass(frozen=True)
class Replacement:
    """Another model in the place of the first: evaluated as it is, in its own precision and shape."""

    model: CodeModel

    def apply(self, model: CodeModel) -> AbstractContextManager[None]:
        """Put its weights into a model of the same shape.

        Raises:
            InputError: A tensor that the model does not have, or another shape.
        """
        return WeightChange(self.model.hf.state_dict()).apply(model)


@dataclass(frozen=True)
class Candidate:
    """One thing to compare with the model as it is.

    Attributes:
        name: In results.
        intervention: What is applied.
        kind: Such as "checkpoint".
        source: What was given.
        revert: How to take it back, in a sentence.
    """

    name: str
    intervention: Intervention
    kind: str
    source: str = ""
    revert: str = "Nothing was changed on disk: leave the `with` block, and the model is what it was."

    @contextmanager
    def entered(self, model: CodeModel) -> Iterator[CodeModel]:
        """Yield the model to evaluate: the given one with the intervention applied, or the one that replaces it."""
        if isinstance(self.intervention, Replacement):
            yield self.intervention.model
            return
        with self.intervention.apply(model):
            yield model


def as_candidate(
    name: str, given: Intervention | Candidate | str, model: CodeModel, *, force: bool = False
) -> Candidate:
    """Return a candidate from an intervention, or from what the command line takes.

    Raises:
        InputError: Neither of them.
    """
    if isinstance(given, str):
        given = read_candidate(given, model, force=force)
    if isinstance(given, Candidate):
        return replace(given, name=name)
    if isinstance(given, Intervention):
        return Candidate(name, given, type(given).__name__)
    raise InputError(f"{name!r} is a {type(given).__name__}; give an intervention (it has apply(model)), or a name")


def read_candidate(text: str, model: CodeModel, *, force: bool = False) -> Candidate:
    """Return the candidate of `NAME=WHAT` or `WHAT`.

    Args:
        text: `nothing`, `int8`, `int4`, `bfloat16`, a folder (steering vector with `:STRENGTH` and `@GATE:THRESHOLD`,
            unlearning edit, LoRA adapter, checkpoint), a built-in model or a hub id.
        model: The base.
        force: Accept what was fitted on another model.

    Raises:
        InputError: Nothing of that kind there, or it does not fit the model.
    """
    name, given = _named(text)
    if what := _fixed(given, model):
        return Candidate(name, what, given, given)
    given, gate = _with_gate(given)
    path, strength = _with_number(given)
    if (path / "artifact.json").is_file():
        return _artifact(name, path, (strength, gate), model, force=force)
    if (path / "adapter_config.json").is_file():
        from ellora_trust.evaluation.changes.lora import read_lora

        return Candidate(name, read_lora(path, model), "LoRA adapter", str(path))
    if strength is not None:
        raise InputError(f"{path} holds no saved vector, so {given!r} has no strength to set; give a vector's folder")
    if is_slip(given, _NAMED) and not path.exists():
        raise InputError(f"{one_of(given, _NAMED, what='candidate')} (or give a folder, a built-in model or a hub id)")
    return _checkpoint(name, given, model)


def _named(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if equals and name and not Path(text).exists():
        return name, rest
    return Path(text).name or text, text


def _fixed(given: str, model: CodeModel) -> Intervention | None:
    if given == "nothing":
        return Nothing()
    if given in _DTYPES:
        return Replacement(in_dtype(model, _DTYPES[given]))
    if given in _BITS:
        from ellora_trust.evaluation.robustness import quantised

        return quantised(model, int(given.removeprefix("int")))
    return None


def in_dtype(model: CodeModel, dtype: torch.dtype) -> CodeModel:
    """Return a copy of a model in another precision. Raises InputError where its weights are quantised."""
    from ellora_trust.model import CodeModel

    need_float(model, f"a copy in {str(dtype).removeprefix('torch.')}")
    hf: Any = copy.deepcopy(model.hf).to(dtype)  # pyright: ignore[reportArgumentType]
    return CodeModel(f"{model.name} in {str(dtype).removeprefix('torch.')}", hf, model.tokenizer)


def _with_gate(given: str) -> tuple[str, str]:
    """Split `VECTOR@GATE` where there is a folder before the @; a hub id with one stays whole."""
    before, _, gate = given.rpartition("@")
    return (before, gate) if before and _with_number(before)[0].is_dir() else (given, "")


def _with_number(given: str) -> tuple[Path, float | None]:
    folder, colon, last = given.rpartition(":")
    try:
        return (Path(folder).expanduser(), float(last)) if colon else (Path(given).expanduser(), None)
    except ValueError:
        return Path(given).expanduser(), None


def _artifact(name: str, path: Path, how: tuple[float | None, str], model: CodeModel, *, force: bool) -> Candidate:
    from ellora_trust.artifacts import read_description

    artifact, (strength, gate) = read_description(path), how
    if artifact.kind == "steering vector":
        return _vector(name, path, strength, gate, model, force=force)
    if gate:
        raise InputError(f"{path} holds a {artifact.kind}, which no gate can open; gates are for steering vectors")
    if artifact.kind == "unlearning-edit":
        from unlearning.checkpoint.delta import Edit

        artifact.check_model(model, force=force)
        revert = f"ellora-trust unlearn revert takes {path} back from a checkpoint that holds it, bit for bit."
        return Candidate(name, Edit.load(path), "unlearning edit", str(path), revert)
    raise InputError(
        f"{path} holds a {artifact.kind}, which changes no model; give a steering vector, an unlearning edit, a LoRA "
        "adapter or a checkpoint"
    )


def _vector(name: str, path: Path, strength: float | None, gate: str, model: CodeModel, *, force: bool) -> Candidate:
    from steering import SteeringVector

    steering = SteeringVector.load(path, model=model, force=force).steering(strength=strength)
    if not gate:
        return Candidate(name, steering, "steering vector", str(path))
    from ellora_trust.evaluation.changes.gated import read_gate

    folder, threshold = _with_number(gate)
    opened = read_gate(folder, threshold=threshold, model=model, force=force)
    return Candidate(name, replace(steering, gate=opened), "gated steering vector", f"{path}@{gate}")


def _checkpoint(name: str, given: str, model: CodeModel) -> Candidate:
    from ellora_trust.loading import load

    other = load(given, device=str(model.device))
    if other.tokenizer.get_vocab() != model.tokenizer.get_vocab():
        raise InputError(
            f"{given} has another vocabulary than {model.name}, so their answers cannot be compared token by token; "
            "give a checkpoint of the same family"
        )
    return Candidate(name, Replacement(other), "checkpoint", given, f"Load {model.name} instead of {given}.")


def adapter_config(path: Path) -> dict[str, Any]:
    """Return a LoRA adapter's settings.

    Raises:
        InputError: The file is damaged.
    """
    try:
        return json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path / 'adapter_config.json'} is damaged ({error}); save the adapter again") from error
