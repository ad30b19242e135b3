"""Steering only where it is needed: a score of the activation at the prompt's end opens or closes a row's gate.

The score is any function of activations: an error predictor, a direction's dot product. Each row is decided by its own
activation, once, and stays so for its whole answer.

    with vector.apply(model, sites="resid.14", when=probe.predict, threshold=0.5, when_site="resid.12"): ...

Conditional activation steering is by Lee et al. 2024, arXiv:2409.05907; there the first row decides for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.sites import Site, resolve

if TYPE_CHECKING:
    from ellora_trust.layout import Layout
    from ellora_trust.model import CodeModel

# Activations at the prompts' ends, (n, d_model), to one number each, (n,); higher means "steer".
Score = Callable[[Tensor], Tensor | np.ndarray]
# In the order in which a block reaches them.
_DEPTH = {"embed": 0, "head": 1, "attn": 2, "mlp": 3, "resid": 4}


@dataclass(frozen=True)
class Gate:
    """Opens for rows whose score reaches a threshold.

    Attributes:
        score: Of the activation at a row's prompt end.
        threshold: From which score on a row is steered.
        site: Where the activation is read; not behind the first steered site.
    """

    score: Score
    threshold: float
    site: str
    _open: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)

    def check(self, model: CodeModel, steered: Sequence[Site]) -> None:
        """Refuse a gate that would be read after what it decides.

        Raises:
            InputError: The gate's site lies behind a steered one.
        """
        (site,) = resolve(model, self.site)
        first = min(steered, key=depth)
        if depth(site) > depth(first):
            raise InputError(f"the gate reads {site}, which lies behind {first}; read it at {first} or before")
        self._open.clear()

    def read(self, hidden: Tensor, at: Tensor, layout: Layout) -> Tensor:
        """Return which rows of the running forward are steered, (batch,) bool; a row not yet decided is not."""
        rows, columns = (at == layout.ends - 1).nonzero(as_tuple=True)
        if len(rows):
            scores = torch.as_tensor(self.score(hidden[rows, columns])).reshape(-1)
            if len(scores) != len(rows):
                raise InputError(f"the gate's score gave {len(scores)} numbers for {len(rows)} rows; give one a row")
            verdicts = (scores >= self.threshold).tolist()
            self._open.update(zip((layout.numbers[r] for r in rows.tolist()), verdicts, strict=True))
        return torch.tensor([self._open.get(n, False) for n in layout.numbers], device=hidden.device)


def depth(site: Site | str) -> tuple[int, int]:
    """Return a key that sorts sites by when a forward reaches them."""
    kind, *numbers = str(site).split(".")
    return (int(numbers[0]) if numbers else -1, _DEPTH[kind])
