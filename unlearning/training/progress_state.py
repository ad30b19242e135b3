"""Where an edit stands, on disk: weights, moments, multiplier and checks of the last good look; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.sharded import alike, put, whole

_TENSORS, _STATE = "state.safetensors", "state.json"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Check:
    """One look at the held-out items.

    Attributes:
        step: Steps done.
        forget: Mean probability of the tokens that shall go, [0, 1].
        retain: Rise of the loss on items to keep, nats a token.
        multiplier: Weight of the retain loss in the next step.
    """

    step: int
    forget: float
    retain: float
    multiplier: float


@dataclass(frozen=True)
class ProgressState:
    """A folder for one edit.

    Attributes:
        folder: Where it lies.
        identity: What must be the same for an edit to go on, as JSON.
    """

    folder: Path
    identity: Mapping[str, Any]

    def save(self, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer, history: list[Check]) -> None:
        """Write the state of the last check.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {f"weight/{name}": whole(p.detach()) for name, p in parameters.items()}
        for name, parameter in parameters.items():
            for key in _MOMENTS if parameter in optimizer.state else ():
                tensors[f"{key}/{name}"] = whole(optimizer.state[parameter][key])
        with replacing(self.folder / "last") as beside:
            beside.mkdir()
            save_file(tensors, beside / _TENSORS)
            state = {"identity": dict(self.identity), "history": [asdict(check) for check in history]}
            (beside / _STATE).write_text(json.dumps(state), encoding="utf-8")

    @torch.no_grad()
    def restore(self, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer) -> list[Check]:
        """Put the last good state into weights and optimizer; return its checks, none where there is no state.

        Raises:
            InputError: The state is of another edit.
        """
        from safetensors.torch import load_file

        path = self.folder / "last" / _STATE
        if not path.exists():
            return []
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["identity"] != json.loads(json.dumps(self.identity)):
            raise InputError(f"{self.folder} holds the progress of another edit; use another --out or delete it")
        tensors = load_file(self.folder / "last" / _TENSORS)
        for name, parameter in parameters.items():
            put(parameter, tensors[f"weight/{name}"])
            if f"step/{name}" in tensors:
                found = {key: alike(parameter, tensors[f"{key}/{name}"]) for key in _MOMENTS}
                # They were read into the host's memory; a fused step wants them where the weights are.
                optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in found.items()}
            else:
                optimizer.state.pop(parameter, None)
        return [Check(**check) for check in state["history"]]
