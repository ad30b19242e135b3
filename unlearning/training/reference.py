"""What the unedited model says at the places that count: computed once, kept on disk, so no second model is in memory.

    reference = Reference.of(model, forget_rows, kept_rows, need="full")
    reference.bad_labels([0, 3]), reference.bad_full([0, 3]), reference.kept_full([1])

Vocabularies of more than `WHOLE` tokens are stored as their `TOP` likeliest and the mass of the rest, which `*_full`
spreads evenly over the other tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ellora_trust.batching import plan_batches
from ellora_trust.cachedir import cache_dir, replacing
from ellora_trust.errors import EnvironmentProblem
from unlearning.objectives import elm_target, label_logprobs
from unlearning.sources.contexts import Contexts
from unlearning.training.encoding import Row, look
from unlearning.training.representation import look_hidden, random_direction

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Need = Literal["none", "labels", "full", "hidden", "contexts"]
WHOLE = 8192
TOP = 128


@dataclass(frozen=True)
class Reference:
    """Log-probabilities of the unedited model, in nats, by row.

    Attributes:
        tensors: `SIDE.WHAT.ROW`: of side `bad` and `kept`: `labels` (n,), and where needed `top` (n, k) with its `ids`,
            or `hidden` (n, d_model); and the `direction` of misdirection.
        n_vocabulary: Tokens.
    """

    tensors: dict[str, Tensor]
    n_vocabulary: int

    @classmethod
    def of(
        cls,
        model: CodeModel,
        forget: Sequence[Row],
        kept: Sequence[Row],
        *,
        need: Need,
        layer: int = 0,
        contexts: Sequence[Contexts] = (),
        seed: int = 0,
    ) -> Reference:
        """Compute it, or read what was computed for the same model and rows before.

        Args:
            model: As it is now.
            forget: The side whose tokens shall go.
            kept: The side whose tokens shall stay.
            need: What is computed.
            layer: Of `hidden`.
            contexts: Of the forget side, for `contexts`.
            seed: Of the direction that goes with `hidden`.
        """
        weight = model.arch.head.weight
        assert isinstance(weight, Tensor)
        n_vocabulary = weight.shape[0]
        if need == "none":
            return cls({}, n_vocabulary)
        rows = [[[r.ids, r.places, r.targets, r.bad] for r in side] for side in (forget, kept)]
        rows += [[[c.expert.ids, c.novice.ids] for c in contexts]]
        identity = json.dumps([model.fingerprint, rows, need, layer, seed if need == "hidden" else 0, WHOLE, TOP])
        path = cache_dir() / "references" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.safetensors"
        from safetensors.torch import load_file, save_file

        if path.exists():
            return cls(load_file(path, device=str(model.device)), n_vocabulary)
        if need == "hidden":
            tensors = _hidden(model, forget, kept, layer, seed)
        elif need == "contexts":
            tensors = {**_introspected(model, forget, contexts), **_side(model, kept, "kept", "full")}
        else:
            tensors = {**_side(model, forget, "bad", need), **_side(model, kept, "kept", need)}
        try:
            with replacing(path) as beside:
                save_file(tensors, beside)
        except EnvironmentProblem:
            # A cache that can't be written costs time, not correctness.
            pass
        return cls(tensors, n_vocabulary)

    def bad_labels(self, numbers: Sequence[int]) -> Tensor:
        """log p of the tokens to suppress, rows one after the other, (n,)."""
        return torch.cat([self.tensors[f"bad.labels.{i}"] for i in numbers])

    def bad_full(self, numbers: Sequence[int]) -> Tensor:
        """log p of the vocabulary where tokens are suppressed, (n, vocabulary)."""
        return torch.cat([self._full("bad", i) for i in numbers])

    def kept_loss(self, numbers: Sequence[int]) -> Tensor:
        """Mean cross-entropy of the tokens to keep, in nats."""
        return -torch.cat([self.tensors[f"kept.labels.{i}"] for i in numbers]).mean()

    def kept_full(self, numbers: Sequence[int]) -> Tensor:
        """log p of the vocabulary where tokens are kept, (n, vocabulary)."""
        return torch.cat([self._full("kept", i) for i in numbers])

    def kept_hidden(self, numbers: Sequence[int]) -> Tensor:
        """Hidden states where tokens are kept, (n, d_model)."""
        return torch.cat([self.tensors[f"kept.hidden.{i}"] for i in numbers])

    def _full(self, side: str, number: int) -> Tensor:
        top = self.tensors[f"{side}.top.{number}"]
        if top.shape[1] == self.n_vocabulary:
            return top
        rest = (1 - top.exp().sum(1, keepdim=True)).clamp_min(1e-12) / (self.n_vocabulary - top.shape[1])
        ids = self.tensors[f"{side}.ids.{number}"].long()
        return rest.log().expand(-1, self.n_vocabulary).scatter(1, ids, top)


@torch.no_grad()
def _side(model: CodeModel, rows: Sequence[Row], side: str, need: Need) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for batch in plan_batches([len(row.ids) for row in rows], model.token_budget):
        view = look(model, [rows[i] for i in batch])
        logits, labels, where = view.of("bad" if side == "bad" else "targets")
        logprobs = logits.log_softmax(-1)
        for place, number in enumerate(batch):
            chosen = where == place
            found[f"{side}.labels.{number}"] = label_logprobs(logits[chosen], labels[chosen])
            if need == "full":
                found.update(_kept(logprobs[chosen], f"{side}.{{}}.{number}"))
    return found


@torch.no_grad()
def _introspected(model: CodeModel, rows: Sequence[Row], contexts: Sequence[Contexts]) -> dict[str, Tensor]:
    """Targets of ELM, kept as if they were the reference's log-probabilities."""
    found: dict[str, Tensor] = {}
    for number, (row, after) in enumerate(zip(rows, contexts, strict=True)):
        views = [look(model, [one]).of("bad")[0].log_softmax(-1) for one in (row, after.expert, after.novice)]
        found.update(_kept(elm_target(*views), f"bad.{{}}.{number}"))
    return found


@torch.no_grad()
def _hidden(model: CodeModel, forget: Sequence[Row], kept: Sequence[Row], layer: int, seed: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for batch in plan_batches([len(row.ids) for row in kept], model.token_budget):
        view = look_hidden(model, [kept[i] for i in batch], layer)
        found.update({f"kept.hidden.{n}": view.logits[view.rows == place] for place, n in enumerate(batch)})
    first = look_hidden(model, forget[:64], layer)
    return {**found, "direction": random_direction(first.logits, seed=seed)}


def _kept(logprobs: Tensor, name: str) -> dict[str, Tensor]:
    if logprobs.shape[1] <= WHOLE:
        return {name.format("top"): logprobs.clone()}
    top, ids = logprobs.topk(TOP, -1)
    return {name.format("top"): top.contiguous(), name.format("ids"): ids.int().contiguous()}
