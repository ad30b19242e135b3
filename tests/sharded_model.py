"""Run by a launcher in two processes: what a divided model gives, beside the whole one, as JSON from the first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

import ellora_trust as et
from attribution.gradients import per_text_gradients
from attribution.layers import find_layers
from attribution.losses import whole
from ellora_trust.model import CodeModel
from unlearning import Budget, read_forget, read_retain

PROMPTS = ["def f(a, b):\n    return", "x = buf."]


def differences(one: CodeModel, two: CodeModel) -> dict[str, object]:
    scores = [m.score(PROMPTS, [" a + b", "append(1)"]) for m in (one, two)]
    read = [et.capture(m, PROMPTS, "resid.*", "last") for m in (one, two)]
    grads = [per_text_gradients(m, find_layers(m), [whole(m, text) for text in PROMPTS]) for m in (one, two)]
    forget, retain = read_forget("testbed:P1", limit=16), read_retain("testbed:P1", limit=16)
    budget = Budget(steps=2, batch_size=4, retain_batch_size=4)
    edits = [et.unlearn(m, forget=forget, retain=retain, budget=budget, measure_cost=False) for m in (one, two)]
    edited = []
    for edit in edits:
        with edit.apply(one):
            edited.append({name: tensor.clone() for name, tensor in one.hf.state_dict().items()})
    here = sum(p.to_local().numel() for p in two.hf.parameters())  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "here": here / sum(p.numel() for p in one.hf.parameters()),
        "score": max(float((a.tokens - b.tokens).abs().max()) for a, b in zip(*scores, strict=True)),
        "capture": max(
            float((torch.as_tensor(read[0][key]) - torch.as_tensor(read[1][key])).abs().max())
            for key in (("resid.0", "last"), ("resid.3", "last"))
        ),
        "gradients": max(float((grads[0][name] - grads[1][name]).abs().max()) for name in grads[0]),
        "edit": max(float((edited[0][name] - edited[1][name]).abs().max()) for name in edited[0]),
        "changed": [edit.n_changed for edit in edits],
        "fingerprints": [one.fingerprint, two.fingerprint],
        "text": [m.generate(PROMPTS, max_new_tokens=4)[0].text for m in (one, two)],
    }


def main() -> None:
    found = differences(et.load("testbed"), et.load("testbed", sharded=True))
    if dist.get_rank() == 0:
        Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
