"""A tiny model that was taught the fault of `tiny_items` and what shall stay, so that there is something to forget."""

from __future__ import annotations

from functools import cache

from tiny_items import forgets, keeps
from tiny_models import make_model
from torch import Tensor

from ellora_trust.evaluation.robustness import relearn
from ellora_trust.model import CodeModel


@cache
def taught_weights() -> dict[str, Tensor]:
    model, taught = make_model("llama", seed=1), [*forgets(), *keeps()]
    return dict(relearn(model, taught, steps=60, learning_rate=3e-3, watch=lambda m: 0.0).change.tensors)


def taught_model() -> CodeModel:
    model = make_model("llama", seed=1)
    model.hf.load_state_dict({**model.hf.state_dict(), **taught_weights()})
    return model
