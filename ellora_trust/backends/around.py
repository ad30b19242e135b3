"""Other modules around the same weights, for libraries that put theirs in the place of a model's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ellora_trust.model import CodeModel


def modules_around(model: CodeModel) -> PreTrainedModel:
    """Return a copy of the modules with the model's own parameters and buffers; what is done to it stays there."""
    shared = {id(tensor): tensor for tensor in (*model.hf.parameters(), *model.hf.buffers())}
    return copy.deepcopy(model.hf, shared)
