"""Probes with known weights, for tests that need no fit."""

from __future__ import annotations

import torch

from ellora_trust.model import CodeModel
from probes.error_probe import Calibration, ErrorProbe
from probes.fitting.selection import Settings


def made_probe(
    model: CodeModel, *, site: str = "resid.1", position: str = "answer", scale: float = 1.0, bias: float = 0.3
) -> ErrorProbe:
    """A probe of random weights, as long as the activation at its site allows scores of some logits."""
    probe = ErrorProbe(Settings())
    probe.site_, probe.position_ = site, position
    generator = torch.Generator().manual_seed(1)
    probe.weight_ = torch.randn(model.arch.d_model, generator=generator) * scale
    probe.bias_, probe.calibration_ = bias, Calibration(0.8, 0.1)
    probe.strength_, probe.inner_auroc_ = 0.1, 0.7
    return probe
