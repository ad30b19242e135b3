"""A gate from disk: when a steering vector acts, by a saved gate or by an error predictor.

    gate = read_gate(Path("runs/probe"), threshold=0.6, model=model)      # steer where the risk is 0.6 or more
    replace(vector.steering(), gate=gate)

On the command line it stands behind the vector: `FOLDER:STRENGTH@GATE:THRESHOLD`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from probes import Calibration
    from steering.gating import Gate

# Of a risk, where nothing else was said.
_LIKELY = 0.5
_PLACES = ("prompt_end", "prompt.last")


@dataclass(frozen=True)
class Risk:
    """An error predictor's risk as a gate's score; plain values, so that answers under it can be kept.

    Attributes:
        weight: Of the activation, (d_model,).
        bias: Added to it.
        calibration: From score to risk.
    """

    weight: Tensor
    bias: float
    calibration: Calibration

    def __call__(self, hidden: Tensor) -> np.ndarray:
        """Return the risk of each activation, [0, 1], (n,).

        Args:
            hidden: Activations, (n, d_model).
        """
        scores = hidden.detach().cpu().double().numpy() @ self.weight.double().numpy() + self.bias
        return self.calibration(scores)


def read_gate(path: Path, *, threshold: float | None, model: CodeModel, force: bool = False) -> Gate:
    """Return the gate in a folder.

    Args:
        path: Of a saved gate or an error predictor that reads the prompt's end.
        threshold: From which score on a row is steered; if None, the gate's own, the one that an error predictor
            was certified with, or 0.5.
        model: The model that it will read.
        force: Accept one of another model.

    Raises:
        InputError: Neither of them, one of another model, or a predictor that reads elsewhere.
    """
    from ellora_trust.artifacts import read_description
    from steering.gating import KIND, Gate

    kind = read_description(path).kind
    if kind == KIND:
        gate = Gate.load(path, model=model, force=force)
        return gate if threshold is None else replace(gate, threshold=threshold)
    if kind != "error-probe":
        raise InputError(f"{path} holds a {kind}, which opens no gate; give a saved gate or an error predictor")
    from probes import ErrorProbe

    probe = ErrorProbe.load(path, model=model, force=force)
    if probe.position_ not in _PLACES:
        raise InputError(
            f"the error predictor {path} reads {probe.position_!r}; a gate decides before the answer, so give one that "
            "reads 'prompt_end'"
        )
    risk = Risk(probe.weight_, float(probe.bias_), probe.calibration_)
    if threshold is None:
        threshold = float(probe.artifact_.config.get("threshold", _LIKELY))
    return Gate(risk, threshold, probe.site_)
