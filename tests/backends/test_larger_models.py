"""A model divided over two processes, or spread over places of one, gives what the whole one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ellora_trust as et
from attribution.gradient.gradients import per_text_gradients
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import whole
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.hooks import edit
from ellora_trust.model import CodeModel

SCRIPT = Path(__file__).parents[1] / "sharded_model.py"


def spread_map(model: CodeModel) -> dict[str, str]:
    """Every second block stays on disk until it runs."""
    blocks = {f"model.layers.{i}": "disk" if i % 2 else "cpu" for i in range(model.arch.n_layers)}
    return blocks | dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")


def test_a_model_divided_over_two_processes_gives_what_the_whole_one_gives(tmp_path: Path):
    out = tmp_path / "found.json"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, SCRIPT, out], env=env, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert found["here"] == pytest.approx(0.5, abs=0.01)
    assert max(found["score"], found["capture"], found["gradients"]) <= 1e-6
    assert found["edit"] <= 1e-5
    assert found["changed"][0] == found["changed"][1] > 0
    for name in ("fingerprints", "text"):
        assert found[name][0] == found[name][1]


def test_a_model_with_blocks_on_disk_gives_what_the_whole_one_gives():
    one = et.load("testbed")
    spread = et.load("testbed", device_map=spread_map(one))
    prompts = ["def f(a, b):\n    return", "x = buf."]
    assert any(p.device.type == "meta" for p in spread.hf.parameters())
    assert spread.fingerprint == one.fingerprint
    texts = [m.generate(prompts, max_new_tokens=4) for m in (one, spread)]
    assert [t.text for t in texts[0]] == [t.text for t in texts[1]]
    read = [et.capture(m, prompts, "resid.*", "last") for m in (one, spread)]
    assert torch.equal(*(torch.as_tensor(one["resid.3", "last"]) for one in read))
    grads = [per_text_gradients(m, find_layers(m), [whole(m, text) for text in prompts]) for m in (one, spread)]
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])
    changed = []
    for model in (one, spread):
        with edit(model, {"resid.1": lambda h, at: h * 0.5}):
            changed.append(model.score(prompts, [" a", "b"])[0].sum)
    assert changed[0] == changed[1] != one.score(prompts, [" a", "b"])[0].sum


def test_a_map_and_a_device_exclude_each_other():
    with pytest.raises(InputError, match="leave out device and sharded"):
        et.load("testbed", device_map="auto", device="cpu")


def test_a_divided_model_needs_a_launcher():
    with pytest.raises(EnvironmentProblem, match="this one has no launcher; start it with 'torchrun"):
        et.load("testbed", sharded=True)
