"""A divided model beside the whole one, in two processes as torchrun starts them; the first writes JSON.

torchrun's own agent forks them here, so that what takes seconds is imported once and not three times.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import ellora_trust as et
from attribution.gradient.gradients import per_text_gradients
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import whole
from ellora_trust.model import CodeModel
from unlearning import Budget, read_forget, read_retain
from unlearning.checkpoint.delta import Edit

PROMPTS = ["def f(a, b):\n    return", "x = buf."]


@dataclass(frozen=True)
class Given:
    """What one model gives."""

    scores: list[torch.Tensor]
    read: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]
    edit: Edit
    fingerprint: str
    text: str


def given(model: CodeModel) -> Given:
    read = et.capture(model, PROMPTS, "resid.*", "last")
    forget, retain = read_forget("testbed:P1", limit=16), read_retain("testbed:P1", limit=16)
    budget = Budget(steps=2, batch_size=4, retain_batch_size=4)
    return Given(
        [one.tokens for one in model.score(PROMPTS, [" a + b", "append(1)"])],
        {site: torch.as_tensor(read[site, "last"]) for site in ("resid.0", "resid.3")},
        per_text_gradients(model, find_layers(model), [whole(model, text) for text in PROMPTS]),
        et.unlearn(model, forget=forget, retain=retain, budget=budget, measure_cost=False),
        model.fingerprint,
        model.generate(PROMPTS, max_new_tokens=4)[0].text,
    )


def differences(one: Given, two: Given, model: CodeModel) -> dict[str, object]:
    """Largest differences, and what must be equal side by side; the edits are put on `model`, the whole one."""
    edited = []
    for given in (one, two):
        with given.edit.apply(model):
            edited.append({name: tensor.clone() for name, tensor in model.hf.state_dict().items()})
    return {
        "score": max(float((a - b).abs().max()) for a, b in zip(one.scores, two.scores, strict=True)),
        "capture": max(float((one.read[key] - two.read[key]).abs().max()) for key in one.read),
        "gradients": max(float((one.gradients[name] - two.gradients[name]).abs().max()) for name in one.gradients),
        "edit": max(float((edited[0][name] - edited[1][name]).abs().max()) for name in edited[0]),
        "changed": [one.edit.n_changed, two.edit.n_changed],
        "fingerprints": [one.fingerprint, two.fingerprint],
        "text": [one.text, two.text],
    }


def rank(out: str) -> None:
    divided = et.load("testbed", sharded=True)
    two = given(divided)
    here = sum(p.to_local().numel() for p in divided.hf.parameters())  # pyright: ignore[reportAttributeAccessIssue]
    if dist.get_rank() == 0:
        model = et.load("testbed")
        found = differences(given(model), two, model)
        found["here"] = here / sum(p.numel() for p in model.hf.parameters())
        Path(out).write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def main(out: str) -> None:
    """As `torchrun --standalone --nproc-per-node 2`."""
    here = LaunchConfig(
        1, 1, 2, run_id="sharded", rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork"
    )
    elastic_launch(here, rank)(out)


if __name__ == "__main__":
    main(sys.argv[1])
