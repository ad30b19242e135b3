"""Representation misdirection: hidden states instead of logits; the forward pass ends at the layer that is read.

    hidden = look_hidden(model, rows, layer=1)          # a View whose `logits` are hidden states, (n, d_model)
    misdirection(hidden.logits, direction), stay(hidden.logits, reference)

Source: Li et al. 2024, "The WMDP benchmark", arXiv:2403.03218, section 4.1 (RMU); checked against
src/trainer/unlearn/rmu.py of github.com/locuslab/open-unlearning, which follows the authors'. The constant c there is
the length of the direction and depends on the model (20 by default); here that length is `TIMES` the mean norm of the
hidden states, as in Dang et al. 2024, arXiv:2408.06223 (Adaptive RMU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ellora_trust.architecture import hidden_of
from unlearning.training.encoding import Row, View, padded, placed

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

TIMES = 5.0


class _Enough(BaseException):
    """The layer was read; not an error, so nothing that handles errors may catch it."""


def misdirection(hidden: Tensor, direction: Tensor) -> Tensor:
    """Mean squared distance of hidden states, (n, d_model), from a fixed random direction, (d_model,)."""
    return mse_loss(hidden, direction.expand_as(hidden))


def stay(hidden: Tensor, reference: Tensor) -> Tensor:
    """Mean squared distance of hidden states from the unedited model's, both (n, d_model)."""
    return mse_loss(hidden, reference)


def random_direction(hidden: Tensor, *, seed: int = 0) -> Tensor:
    """Return a direction with non-negative entries, as the paper draws it, `TIMES` as long as the states' mean norm."""
    drawn = torch.rand(hidden.shape[-1], generator=torch.Generator().manual_seed(seed)).to(hidden.device)
    return drawn / drawn.norm() * TIMES * hidden.norm(dim=-1).mean()


def look_hidden(model: CodeModel, rows: Sequence[Row], layer: int) -> View:
    """Return the residual stream after a block at the places of rows, in a View; later blocks do not run."""
    ids, mask = padded(model, rows)
    seen: list[Tensor] = []

    def read(module: Any, args: Any, output: Any) -> None:
        seen.append(hidden_of(output))
        raise _Enough

    handle = model.arch.blocks[layer].module.register_forward_hook(read)
    try:
        model.hf(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Enough:
        pass
    finally:
        handle.remove()
    return placed(seen[0], rows, mask)
