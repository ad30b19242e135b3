"""The document on the artifact's format: its example computes the risk, and its table of sites is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ellora_trust import capture
from probes import Calibration, ErrorProbe, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "probe-format.md"


def example() -> Any:
    """The document's `risk_of`."""
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)  # the library's own document
    return names["risk_of"]


@pytest.mark.parametrize("knots", [(), ((-1.0, 0.1), (0.0, 0.4), (2.0, 0.9))])
def test_the_example_gives_the_risk_of_the_library(knots, tiny, tmp_path: Path):
    rng = np.random.default_rng(0)
    x, wrong = rng.normal(size=(200, 32)).astype(np.float32), rng.integers(0, 2, 200)
    probe = ErrorProbe(Settings(strengths=(0.1,), n_components=8)).fit(x + wrong[:, None], wrong, np.arange(200))
    probe.calibration_ = Calibration(probe.calibration_.slope, probe.calibration_.offset, knots)
    probe.save(tmp_path / "probe", model=tiny)
    assert example()(tmp_path / "probe", x) == pytest.approx(probe.predict(x), abs=1e-12)
    assert ErrorProbe.load(tmp_path / "probe").calibration_ == probe.calibration_


def test_the_document_names_every_field_of_a_predictor(tiny, tmp_path: Path):
    from ellora_trust.artifacts import read_description

    rng = np.random.default_rng(0)
    ErrorProbe(Settings(strengths=(0.1,), n_components=8)).fit(
        rng.normal(size=(60, 32)), rng.integers(0, 2, 60), np.arange(60)
    ).save(tmp_path / "probe", model=tiny)
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("site", "position", "bias", "calibration", "risk"):
        assert name in read_description(tmp_path / "probe").config
        assert f"`config.{name}`" in text


def test_sites_are_where_the_document_says_in_transformers(tiny):
    prompt = "def add(a, b):"
    ids = torch.tensor([tiny.tokenizer(prompt).input_ids])
    hidden = tiny.hf(input_ids=ids, output_hidden_states=True).hidden_states
    found = capture(tiny, [prompt], ["embed", "resid.*"], "prompt_end")
    assert torch.allclose(found.vectors("embed", "prompt_end")[0], hidden[0][0, -1], atol=1e-4)
    assert torch.allclose(found.vectors("resid.0", "prompt_end")[0], hidden[1][0, -1], atol=1e-4)
    last = found.vectors("resid.1", "prompt_end")[0]
    assert not torch.allclose(last, hidden[2][0, -1], atol=1e-2)
    assert torch.allclose(tiny.hf.model.norm(last), hidden[2][0, -1], atol=1e-4)
