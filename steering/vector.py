"""`SteeringVector`: directions fitted on contrast pairs, kept with the model they belong to.

vector = SteeringVector.fit(model, [(good_prompt, bad_prompt), ...], sites="resid.*")
with vector.apply(model, sites="resid.12", strength=1.0):
    model.generate(prompts)
vector.save("runs/my-vector", model=model)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust import artifacts
from ellora_trust.artifacts import Artifact
from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.positions import Passage
from ellora_trust.spans import Language, select
from steering.application import Operation, Steering, Strength
from steering.directions import Method, direction
from steering.gating import Gate, Score, depth
from steering.where import NAMES

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.store import Activations

KIND = "steering vector"
Pair = tuple[str | Passage, str | Passage]
# What a selector's tokens are called in a passage while they are read.
_SELECTED = "selected"


@dataclass(frozen=True)
class SteeringVector:
    """A direction at each of some sites.

    Attributes:
        directions: Site to direction, (width,), in activation units; their lengths are kept, not normalised.
        method: How they were fitted.
        position: Where they were read, and are applied unless told otherwise.
        sites: Where they are applied unless told otherwise; empty where nobody has chosen.
        strength: Likewise how strongly.
        artifact: What was recorded of model, data and results when it was saved.
    """

    directions: Mapping[str, Tensor]
    method: str = "mean_difference"
    position: str = "prompt_end"
    sites: tuple[str, ...] = ()
    strength: float = 1.0
    artifact: Artifact | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fit(
        cls,
        model: CodeModel,
        pairs: Sequence[Pair],
        sites: str | Iterable[str] = "resid.*",
        *,
        method: Method = "mean_difference",
        position: str = "prompt_end",
        language: Language = "python",
        progress: bool = False,
    ) -> SteeringVector:
        """Fit a direction at every site from one reading of the pairs.

        Args:
            model: Whose activations are read.
            pairs: (positive, negative) prompts: the vector leads from the second to the first.
            sites: Names as in `ellora_trust.sites`.
            method: Name as in `steering.directions`.
            position: Name as in `ellora_trust.positions`, or a selector of one place, such as `last_use("x")`.
            language: Of the code that a selector is about.
            progress: Show a progress bar.

        Raises:
            InputError: No pair, an unknown name, or a selector that a prompt has no place for.
        """
        if not pairs:
            raise InputError("no pair was given; a steering vector needs at least one")
        texts = [text for pair in pairs for text in pair]
        passages, reading = _readable(texts, position, language)
        seen = capture(model, passages, sites, reading, progress=progress)
        return cls.from_activations(seen, method=method, position=position, reading=reading)

    @classmethod
    def from_activations(
        cls,
        activations: Activations,
        *,
        method: Method = "mean_difference",
        position: str = "prompt_end",
        reading: str | None = None,
    ) -> SteeringVector:
        """Fit from activations already taken: rows are positive, negative, positive, negative ...

        Args:
            activations: At the sites wanted, an even number of rows.
            method: Name as in `steering.directions`.
            position: Where they were read.
            reading: Under which name they lie in `activations`, if another.
        """
        found = {}
        for site, name in activations:
            if name == (reading or position):
                rows = activations.vectors(site, name)
                found[site] = direction(rows[0::2], rows[1::2], method)
        return cls(found, method, position)

    @property
    def norms(self) -> dict[str, float]:
        """Length of the direction at each site, in activation units."""
        return {site: float(vector.norm()) for site, vector in self.directions.items()}

    def chosen(self, sites: Sequence[str], strength: float) -> SteeringVector:
        """Return the vector with these sites and this strength as what is applied unless told otherwise."""
        return replace(self, sites=tuple(sites), strength=strength)

    def steering(
        self,
        sites: str | Sequence[str] | None = None,
        strength: Strength | None = None,
        positions: str | Sequence[str] | None = None,
        *,
        operation: Operation = "add",
        when: Score | None = None,
        threshold: float = 0.5,
        when_site: str | None = None,
        language: Language = "python",
    ) -> Steering:
        """Return the intervention that `apply` enters.

        Args:
            sites: Where; those chosen, or the only one, if left out.
            strength: One number, or one for each prompt of a call (None leaves that prompt alone).
            positions: Names as in `steering.where`; where the vector was fitted, if left out.
            operation: `add`, `ablate`, `clamp` or `project`; see `Steering`.
            when: Steer only the rows for which this score of the activation at the prompt's end reaches `threshold`:
                (n, d_model) to (n,), such as an error predictor's `predict`.
            threshold: In the score's own unit.
            when_site: Where the score reads; the first steered site if left out.
            language: Of the code that selectors are about.

        Raises:
            InputError: A site without a direction, or none chosen where there are several.
        """
        names = (sites,) if isinstance(sites, str) else tuple(sites or self.sites or self._only())
        unknown = [name for name in names if name not in self.directions]
        if unknown:
            raise InputError(f"this vector has no direction at {unknown[0]}; it has {', '.join(self.directions)}")
        gate = Gate(when, threshold, when_site or min(names, key=depth)) if when is not None else None
        where = positions or (self.position if _appliable(self.position) else "prompt_end")
        return Steering(
            {name: self.directions[name] for name in names},
            self.strength if strength is None else strength,
            (where,) if isinstance(where, str) else tuple(where),
            operation,
            gate,
            language,
        )

    def _only(self) -> tuple[str, ...]:
        if len(self.directions) > 1:
            raise InputError(
                f"this vector has directions at {len(self.directions)} sites and none was chosen; name some with sites="
            )
        return tuple(self.directions)

    def apply(self, model: CodeModel, **how: Any) -> AbstractContextManager[None]:
        """Steer every forward of the model inside the `with`; leaving it restores the model.

        Args:
            model: The model, of the widths that the directions have.
            how: As for `steering`.

        Raises:
            InputError: As `steering`, or a site or width that the model does not have.
        """
        return self.steering(**how).apply(model)

    def save(
        self,
        folder: str | Path,
        *,
        model: CodeModel,
        data: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the vector as an artifact.

        Args:
            folder: Where; replaced whole.
            model: The model it was fitted on.
            data: Task, pairs and hash of what it was fitted on.
            metrics: Results, each with interval, n and baseline.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        config = {
            "method": self.method,
            "position": self.position,
            "sites": list(self.sites),
            "strength": self.strength,
            "norms": self.norms,
        }
        site = ", ".join(self.sites) or f"{len(self.directions)} sites"
        described = Artifact(KIND, artifacts.describe_model(model), site, data or {}, config, metrics or {})
        artifacts.write(Path(folder), described, {name: vector.float() for name, vector in self.directions.items()})

    @classmethod
    def load(cls, folder: str | Path, *, model: CodeModel | None = None, force: bool = False) -> SteeringVector:
        """Return a saved vector.

        Args:
            folder: Where it was saved.
            model: What it will be applied to; checked if given.
            force: Accept another model.

        Raises:
            InputError: No vector there, a damaged one, or one of another model.
        """
        artifact, directions = artifacts.read(Path(folder), kind=KIND, model=model, force=force)
        c = artifact.config
        return cls(directions, c["method"], c["position"], tuple(c["sites"]), c["strength"], artifact)


def _appliable(position: str) -> bool:
    return position in NAMES or "(" in position


def _readable(texts: Sequence[str | Passage], position: str, language: Language) -> tuple[list[Passage], str]:
    """Return the passages and the name under which the position is read."""
    passages = [text if isinstance(text, Passage) else Passage(text) for text in texts]
    if position == "fim_middle":
        return passages, "prompt_end"  # the middle token closes the prompt
    if "(" not in position:
        return passages, position
    return [_with_selected(passage, position, language) for passage in passages], f"{_SELECTED}.last"


def _with_selected(passage: Passage, selector: str, language: Language) -> Passage:
    spans = select(passage.prompt, language, selector)
    if not spans:
        raise InputError(f"{selector} is nowhere in the prompt {passage.prompt[:60]!r}...; leave that pair out")
    return replace(passage, spans={**passage.spans, _SELECTED: (spans[-1].start, spans[-1].end)})


def stacked(vector: SteeringVector, sites: Sequence[str]) -> Tensor:
    """Return the directions at some sites, (n_sites, d_model)."""
    return torch.stack([vector.directions[site] for site in sites])
