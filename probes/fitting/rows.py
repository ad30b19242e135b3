"""`Rows`: what a readout is fitted on and judged by; from a labelled set or from your own arrays.

rows = Rows.of(labelled)                          # decided rows only
rows = Rows(features, wrong, groups)              # features: {(site, position): (n, d)}
rows.take(rows.groups != "types/7")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from probes.error_probe import checked_labels
from probes.fitting.baselines import confidence_columns
from probes.fitting.selection import Candidates, Key
from probes.measuring.subset import refuse_split_duplicates, subset


@dataclass(frozen=True)
class Rows:
    """Answers with activations, verdicts and groups.

    Attributes:
        features: (site, position) -> (n, d).
        wrong: 0 or 1, (n,).
        groups: Problem of each row, (n,).
        prompts: (n,) or None where they are not known.
        logprob: Minus the answer's log-probability, in nats, (n,), the baseline that needs no fit; None if not known.
    """

    features: Mapping[Key, Any]
    wrong: np.ndarray
    groups: np.ndarray
    prompts: np.ndarray | None = None
    logprob: np.ndarray | None = None

    @classmethod
    def of(cls, labelled: Labelled) -> Self:
        """Return the decided rows of a labelled set.

        Raises:
            InputError: It has no activations, or one prompt is in two groups.
        """
        if not labelled.activations:
            raise InputError(f"{labelled.name} has no activations; label it with sites=, such as sites='resid.*'")
        kept = subset(labelled, np.flatnonzero(labelled.decided))
        refuse_split_duplicates(kept)
        return cls(
            {key: kept.activations.vectors(*key) for key in kept.activations},
            kept.wrong.astype(int),
            kept.groups,
            np.array([example.prompt for example in kept.examples], dtype=object),
            confidence_columns(kept)["log-probability (sum)"] if kept.examples else None,
        )

    def __len__(self) -> int:
        return len(self.wrong)

    @cached_property
    def candidates(self) -> Candidates:
        """The features stacked, without those that are constant."""
        return Candidates.stack(self.features)

    def take(self, pick: np.ndarray) -> Self:
        """Return some rows.

        Args:
            pick: Row numbers, or a mask (n,).
        """
        at = np.flatnonzero(pick) if pick.dtype == bool else pick
        index = torch.as_tensor(at)
        return type(self)(
            {key: _tensor(value)[index] for key, value in self.features.items()},
            self.wrong[at],
            self.groups[at],
            None if self.prompts is None else self.prompts[at],
            None if self.logprob is None else self.logprob[at],
        )

    def checked(self) -> tuple[Candidates, np.ndarray, np.ndarray]:
        """Return candidates, labels (n,) and groups (n,).

        Raises:
            InputError: As `ErrorProbe.fit`.
        """
        return self.candidates, *checked_labels(self.candidates, self.wrong, self.groups)


def rows_of(data: Rows | Labelled) -> Rows:
    """Return rows, from either."""
    return data if isinstance(data, Rows) else Rows.of(data)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
