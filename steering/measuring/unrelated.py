"""What a patch does where it is not wanted: divergence of the next token on prompts of another task.

divergence(model, prompts, patch)          # KL in nats, one a prompt
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from steering.sweep import Patch, Reading, patched

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


def divergence(model: CodeModel, prompts: Sequence[str], patch: Patch) -> NDArray[np.float64]:
    """Return KL(plain || patched) of the token after each prompt, in nats, (n,)."""
    nothing = Patch(patch.start, torch.zeros_like(patch.deltas))
    found = []
    for prompt in prompts:
        ids = model.tokenizer(prompt).input_ids
        ((_, logits),) = patched(model, Reading.of(model, ids, ids[-1:]), [nothing, patch])
        plain, steered = torch.log_softmax(logits[:, 0].double(), -1)
        found.append(float((plain.exp() * (plain - steered)).sum()))
    return np.array(found)
