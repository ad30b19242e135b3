"""Saved steering vectors on the command line: read, put on a model, and answers without a predictor.

with steered(model, [read_vector("runs/steer/vector-rename_vars:1.5")]):
    model.generate([prompt])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering import SteeringVector


def read_vector(text: str) -> SteeringVector:
    """Return the vector of `FOLDER` or `FOLDER:STRENGTH`; a .gguf file serves as well.

    Raises:
        InputError: No vector there.
    """
    from steering import SteeringVector
    from steering.control_vector import read_control_vector

    folder, colon, last = text.rpartition(":")
    try:
        strength = float(last) if colon else None
    except ValueError:
        strength = None
    path = Path(text if strength is None else folder)
    vector = read_control_vector(path) if path.suffix == ".gguf" else SteeringVector.load(path)
    return vector if strength is None else replace(vector, strength=strength)


@contextmanager
def steered(model: CodeModel, vectors: Sequence[SteeringVector], *, force: bool = False) -> Iterator[None]:
    """Steer the model inside the `with`.

    Raises:
        InputError: A vector of another model, unless forced.
    """
    with ExitStack() as stack:
        for vector in vectors:
            if vector.artifact is not None:  # llama.cpp's files do not say whose they are
                vector.artifact.check_model(model, force=force)
            stack.enter_context(vector.apply(model))
        yield


def print_steered(
    vectors: Sequence[SteeringVector], prompt: str, *, model: str | None, force: bool, json: bool, **how: Any
) -> None:
    """Print the steered answer, or as JSON the plain one beside it with both log-probabilities."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load

    known = next((vector.artifact.model["name"] for vector in vectors if vector.artifact is not None), None)
    if model is None and known is None:
        raise InputError("a control-vector file does not say which model it is for; name it with --model")
    loaded = load(model or str(known))
    with steered(loaded, vectors, force=force):
        (answer,) = loaded.generate([prompt], **how)
    if json:
        (plain,) = loaded.generate([prompt], **how)
        print_json({"prompt": prompt, "steered": answer.to_dict(), "plain": plain.to_dict()})
        return
    print(prompt + answer.text)
