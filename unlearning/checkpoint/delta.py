"""`Edit`: an edit as what it changes, bit for bit, with where it came from, what it cost and what it did.

    with edit.apply(model): model.generate(prompts)      # any evaluation; afterwards the model is what it was
    edit.save("runs/edit"); Edit.load("runs/edit")
    edit.revert(edited_model)                            # sha256 of the weights, equal to the base's or refused

The change is kept as the exclusive or of old and new bits: applying and reverting are one operation, and both exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ellora_trust import artifacts
from ellora_trust.artifacts import Artifact
from ellora_trust.errors import InputError
from ellora_trust.sharded import whole
from unlearning.checkpoint.packing import pack, unpack

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

KIND = "unlearning-edit"
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Edit:
    """A change of some weights of one model.

    Attributes:
        base: Name, fingerprint, dtype and `weights_sha256` of the model it belongs to.
        delta: Parameter name to the exclusive or of old and new bits, in its shape, as integers.
        config: Objective, place, budget, seed, data.
        history: What was watched on held-out items, check by check.
        receipt: What a step cost relative to a plain one.
        evaluation: What the edit did, as its caller measured it.
    """

    base: Mapping[str, Any]
    delta: Mapping[str, Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    receipt: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_changed(self) -> int:
        """Weights that differ from the base."""
        return sum(int(bits.count_nonzero()) for bits in self.delta.values())

    @contextmanager
    def apply(self, model: CodeModel, *, force: bool = False) -> Iterator[None]:
        """Change the weights for the length of a `with`.

        Raises:
            InputError: The model is not the edit's base, unless forced.
        """
        self._artifact().check_model(model, force=force)
        self._flip(model)
        try:
            yield
        finally:
            self._flip(model)

    def revert(self, model: CodeModel) -> str:
        """Take the edit back from a model that holds it, and prove it.

        Returns:
            sha256 over the weights, which is the base's.

        Raises:
            InputError: The weights would not be those of the base; they are left as they were.
        """
        self._flip(model)
        found = weights_sha256(model.hf)
        if found != self.base["weights_sha256"]:
            self._flip(model)
            raise InputError(
                f"{model.name} without this edit has weights {found[:12]}, its base {self.base['name']} has "
                f"{self.base['weights_sha256'][:12]}; give the model that holds exactly this edit"
            )
        return found

    def conflicts(self, other: Edit) -> dict[str, int]:
        """Return how many weights both edits change, by tensor.

        Raises:
            InputError: The edits belong to different models.
        """
        if self.base["fingerprint"] != other.base["fingerprint"]:
            raise InputError(
                f"the edits belong to {self.base['name']} ({self.base['fingerprint'][:12]}) and {other.base['name']} "
                f"({other.base['fingerprint'][:12]}); stack edits of one model"
            )
        both = {n: int(((b != 0) & (other.delta[n] != 0)).sum()) for n, b in self.delta.items() if n in other.delta}
        return {name: count for name, count in both.items() if count}

    def stack(self, other: Edit) -> Edit:
        """Return both edits as one.

        Raises:
            InputError: They change the same weights, or belong to different models.
        """
        if shared := self.conflicts(other):
            name = max(shared, key=lambda one: shared[one])
            raise InputError(
                f"both edits change {sum(shared.values()):,} weights, most of them in {name}; make one edit of both "
                "forget sets, or edit different places"
            )
        delta = {n: b ^ other.delta[n] if n in other.delta else b for n, b in self.delta.items()}
        delta |= {n: b for n, b in other.delta.items() if n not in delta}
        return Edit(self.base, delta, {"stacked": [dict(self.config), dict(other.config)]})

    def evaluated(self, numbers: Mapping[str, Any]) -> Edit:
        """Return the edit with what was measured of it."""
        return replace(self, evaluation={**self.evaluation, **numbers})

    def save(self, folder: str | Path) -> None:
        """Write it as an artifact, all or nothing.

        Raises:
            EnvironmentProblem: The folder cannot be written.
        """
        artifacts.write(Path(folder), self._artifact(), pack(self.delta))

    @classmethod
    def load(cls, folder: str | Path) -> Edit:
        """Read what `save` wrote.

        Raises:
            InputError: No edit there, or a damaged one.
        """
        artifact, tensors = artifacts.read(Path(folder), kind=KIND)
        known = artifact.metrics
        return cls(
            artifact.model,
            unpack(tensors),
            artifact.config,
            known.get("history", ()),
            known.get("receipt", {}),
            known.get("evaluation", {}),
        )

    def _artifact(self) -> Artifact:
        metrics = {"history": list(self.history), "receipt": self.receipt, "evaluation": self.evaluation}
        data = self.config.get("data", {})
        return Artifact(KIND, self.base, str(self.config.get("where", "")), data, self.config, metrics)

    @torch.no_grad()
    def _flip(self, model: CodeModel) -> None:
        state = model.hf.state_dict()
        for name, change in self.delta.items():
            if name not in state or state[name].shape != change.shape or bits(state[name]).dtype != change.dtype:
                raise InputError(f"{model.name} has no tensor {name!r} of this edit's shape and dtype; give its base")
        for name, change in self.delta.items():
            bits(state[name]).bitwise_xor_(change.to(state[name].device))


def bits(tensor: Tensor) -> Tensor:
    """Return the same memory as integers."""
    return tensor.view(_BITS[tensor.element_size()])


def weights_sha256(hf: PreTrainedModel) -> str:
    """Return sha256 over every tensor by name, dtype, shape and bytes; unlike a fingerprint, without the config."""
    digest = hashlib.sha256()
    for name, tensor in sorted(hf.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(whole(tensor.detach()).cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
