"""What might mend it: saved steering vectors tried on this prompt, each beside a random direction.

trials = try_vectors(model, said, {"runs/steer/vector-rename_vars": vector}, foil, asking)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ellora_trust.errors import InputError
from ellora_trust.explaining.said import Said

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering import SteeringVector

# From prompt to answer, by the same length and stop strings as the answer that is explained.
Asking = Callable[[str], str]


@dataclass(frozen=True)
class Trial:
    """One vector on one prompt.

    Attributes:
        name: What it was given as.
        answer: What the model then says; None where the vector does not fit the model.
        random: What it says with a random direction of the same length at the same place.
        gain: By how much log p(foil) - log p(answer) rises, in nats; None without a foil.
        random_gain: The same with the random direction.
        note: Why it was not tried; empty where it was.
    """

    name: str
    answer: str | None = None
    random: str | None = None
    gain: float | None = None
    random_gain: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def try_vectors(
    model: CodeModel,
    said: Said,
    vectors: Mapping[str, SteeringVector],
    foil: str | None,
    asking: Asking,
    *,
    force: bool = False,
) -> tuple[Trial, ...]:
    """Ask again with each vector that was fitted on this model.

    Args:
        model: The model.
        said: What it says unsteered.
        vectors: Name to vector.
        foil: What it should have said.
        asking: Asks the model.
        force: Also try vectors of other models.

    Raises:
        InputError: A vector for which no site was chosen.
    """
    return tuple(_trial(model, said, name, vector, foil, asking, force) for name, vector in vectors.items())


def _trial(
    model: CodeModel, said: Said, name: str, vector: SteeringVector, foil: str | None, asking: Asking, force: bool
) -> Trial:
    try:
        if vector.artifact is not None:
            vector.artifact.check_model(model, force=force)
    except InputError as error:
        return Trial(name, note=str(error))
    plain = _preference(model, said, foil)
    found = []
    for one in (vector, _random_like(vector)):
        with one.apply(model):
            answer, preference = asking(said.prompt), _preference(model, said, foil)
        found.append((answer, None if preference is None or plain is None else preference - plain))
    (answer, gain), (random, random_gain) = found
    return Trial(name, answer, random, gain, random_gain)


def _preference(model: CodeModel, said: Said, foil: str | None) -> float | None:
    """log p(foil) - log p(answer), in nats."""
    if foil is None:
        return None
    instead, own = model.score([said.prompt] * 2, [foil, said.answer])
    return instead.sum - own.sum


def _random_like(vector: SteeringVector, seed: int = 0) -> SteeringVector:
    """The same places and lengths, another direction."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for site, direction in vector.directions.items():
        noise = torch.randn(direction.shape, generator=generator)
        drawn[site] = noise * (direction.float().norm().cpu() / noise.norm())
    return replace(vector, directions=drawn)
