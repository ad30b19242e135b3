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
    """Return the vector of `FOLDER` or `FOLDER:STRENGTH`.

    Raises:
        InputError: No vector there.
    """
    from steering import SteeringVector

    folder, colon, last = text.rpartition(":")
    try:
        strength = float(last) if colon else None
    except ValueError:
        strength = None
    if strength is None:
        return SteeringVector.load(Path(text))
    return replace(SteeringVector.load(Path(folder)), strength=strength)


@contextmanager
def steered(model: CodeModel, vectors: Sequence[SteeringVector], *, force: bool = False) -> Iterator[None]:
    """Steer the model inside the `with`.

    Raises:
        InputError: A vector of another model, unless forced.
    """
    with ExitStack() as stack:
        for vector in vectors:
            assert vector.artifact is not None, "read_vector() sets it"
            vector.artifact.check_model(model, force=force)
            stack.enter_context(vector.apply(model))
        yield


def print_steered(
    vectors: Sequence[SteeringVector], prompt: str, *, model: str | None, force: bool, json: bool, **how: Any
) -> None:
    """Print the steered answer, or as JSON the plain one beside it with both log-probabilities."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.loading import load

    assert vectors[0].artifact is not None, "read_vector() sets it"
    loaded = load(model or vectors[0].artifact.model["name"])
    with steered(loaded, vectors, force=force):
        (answer,) = loaded.generate([prompt], **how)
    if json:
        (plain,) = loaded.generate([prompt], **how)
        print_json({"prompt": prompt, "steered": answer.to_dict(), "plain": plain.to_dict()})
        return
    print(prompt + answer.text)
