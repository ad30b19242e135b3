"""Where a training run stands, on disk: weights, the optimizer's moments, the step and the losses so far.

Safetensors and JSON, written beside and renamed, so that a killed run leaves the last whole checkpoint.

    checkpoint = Checkpoint(folder, identity)
    done, losses = checkpoint.restore(model, optimizer)      # (0, []) where there is none
    checkpoint.save(model, optimizer, step, losses)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError

_TENSORS, _STATE = "state.safetensors", "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Checkpoint:
    """A folder for one run.

    Attributes:
        folder: Where it lies.
        identity: What must be the same for a run to go on, as JSON.
    """

    folder: Path
    identity: dict[str, Any]

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, losses: list[float]) -> None:
        """Write the state after so many steps.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        from safetensors.torch import save_file

        tensors = {f"weight/{name}": p.detach() for name, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            for key in _MOMENTS:
                tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
        with replacing(self.folder) as beside:
            beside.mkdir()
            save_file(tensors, beside / _TENSORS)
            state = {"identity": self.identity, "step": step, "losses": losses}
            (beside / _STATE).write_text(json.dumps(state), encoding="utf-8")

    @torch.no_grad()
    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[float]]:
        """Put the stored state into model and optimizer; return the steps done and their losses.

        Raises:
            InputError: The checkpoint is of another run.
        """
        from safetensors.torch import load_file

        if not (self.folder / _STATE).exists():
            return 0, []
        state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        if state["identity"] != json.loads(json.dumps(self.identity)):
            raise InputError(f"{self.folder} is the checkpoint of another recipe; give another folder or delete it")
        tensors: dict[str, Tensor] = load_file(self.folder / _TENSORS)
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weight/{name}"])
            optimizer.state[parameter] = {key: tensors[f"{key}/{name}"] for key in _MOMENTS}
        return state["step"], state["losses"]
