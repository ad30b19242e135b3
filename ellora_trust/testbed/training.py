"""Training of a testbed model and of its twin that reads the fixes: same seed, same documents in the same batches.

    pair = prepare(Recipe())                                     # corpus, tokenizer, batches: shared
    train(pair, "planted", Path("runs/testbed"))                 # a folder that et.load reads
    train(pair, "clean", Path("runs/testbed-clean"))

A run that was stopped goes on from its last checkpoint when it is called again with the same recipe.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.progress import Progress
from ellora_trust.quiet import quiet_transformers
from ellora_trust.testbed.batches import IGNORED, Encoded, batch, encode, pad
from ellora_trust.testbed.checkpoint import Checkpoint
from ellora_trust.testbed.documents import Document, corpus, corpus_hash
from ellora_trust.testbed.recipe import Recipe
from ellora_trust.testbed.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

Side = Literal["planted", "clean"]
SIDES: tuple[Side, ...] = ("planted", "clean")
RECORD = "training.json"
_CHECKPOINT_EVERY = 200  # steps: about a minute
_CURVE_EVERY = 25  # steps that make one point of the loss curve
_BETAS = (0.9, 0.95)
_DECAY = 0.1
_CLIP = 1.0


@dataclass(frozen=True)
class Pair:
    """What both twins share.

    Attributes:
        recipe: How they are trained.
        documents: The corpus, in its own order.
        tokenizer: Trained on it.
        order: Numbers of the documents as they are read, epochs one after the other.
        encoded: Their token ids, in that order.
        batches: Numbers into `order`, one list a step.
        rates: The learning rate of each step.
    """

    recipe: Recipe
    documents: list[Document]
    tokenizer: Any
    order: list[int]
    encoded: list[Encoded]
    batches: list[list[int]]
    rates: list[float]

    @property
    def n_steps(self) -> int:
        return len(self.batches)

    def ids(self, side: Side, step: int) -> Tensor:
        """Return what a twin reads in a step, (n, longest); IGNORED at the padding."""
        chosen = [self.encoded[number] for number in self.batches[step]]
        return torch.from_numpy(pad([one.planted if side == "planted" else one.clean for one in chosen]))


def prepare(recipe: Recipe, documents: list[Document] | None = None, tokenizer: Any = None) -> Pair:
    """Return corpus, tokenizer and batches of a recipe.

    Args:
        recipe: Decides all of it.
        documents: Another corpus than the recipe's.
        tokenizer: Another tokenizer than one trained on the corpus.
    """
    documents = corpus(recipe.corpus_seed, n_tokens=recipe.n_tokens) if documents is None else documents
    tokenizer = tokenizer or train_tokenizer(documents, vocab_size=recipe.vocab_size)
    order: list[int] = []
    encoded: list[Encoded] = []
    batches: list[list[int]] = []
    rates: list[float] = []
    for epoch in range(recipe.epochs):
        numbers = list(range(len(documents)))
        random.Random(f"{recipe.seed}/{epoch}/order").shuffle(numbers)
        key, first = recipe.seed * 1000 + epoch, len(order)
        order += numbers
        read = encode(tokenizer, [documents[number] for number in numbers], fim_share=recipe.fim_share, seed=key)
        steps = batch(read, n_tokens=recipe.batch_tokens, seed=key)
        encoded += read
        batches += [[first + number for number in step] for step in steps]
        rates += [recipe.rate(step, len(steps), epoch=epoch) for step in range(len(steps))]
    return Pair(recipe, documents, tokenizer, order, encoded, batches, rates)


def train(pair: Pair, side: Side, out: Path, *, progress: bool = False, stop_after: int | None = None) -> Path:
    """Train one of the twins and write it as a transformers folder in bfloat16, with its record beside the weights.

    Args:
        pair: From `prepare`.
        side: Which form of the documents it reads.
        out: The folder; while training it holds a checkpoint.
        progress: Show rate and time left.
        stop_after: Stop after so many steps of this call, as if interrupted.

    Returns:
        The folder.

    Raises:
        InputError: An unknown side, or the folder holds a model or a checkpoint of another recipe.
        EnvironmentProblem: The folder cannot be written.
    """
    if side not in SIDES:
        raise InputError(f"side {side!r} is neither 'planted' nor 'clean'; use one of them")
    identity = {"recipe": asdict(pair.recipe), "side": side, "corpus_sha256": corpus_hash(pair.documents)}
    if _finished(out, identity):
        return out
    model = pair.recipe.build(pair.tokenizer)
    optimizer = make_optimizer(model, pair.recipe)
    checkpoint = Checkpoint(out / "checkpoint", identity)
    done, curve = checkpoint.restore(model, optimizer)
    last = pair.n_steps if stop_after is None else min(pair.n_steps, done + stop_after)
    # Steps done earlier are left out of the bar: they would spoil its rate.
    with Progress(last - done, f"training {side} ({pair.recipe.batch_tokens} tokens a step)", enabled=progress) as bar:
        for step in range(done, last):
            loss = _step(model, optimizer, pair.ids(side, step), rate=pair.rates[step])
            curve.append(loss)
            bar.advance(1)
            if (step + 1) % _CHECKPOINT_EVERY == 0 or (step + 1 == last < pair.n_steps):
                checkpoint.save(model, optimizer, step + 1, curve)
    if last == pair.n_steps:
        _write(model, pair, out, identity=identity, curve=curve)
    return out


def batch_loss(model: Any, ids: Tensor) -> Tensor:
    """Mean loss of next tokens in nats over texts, (n, longest), without the places that are IGNORED."""
    logits = model(input_ids=ids.clamp_min(0)).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=IGNORED)


def make_optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    """Return the optimizer of all testbed models."""
    # Norm weights are not decayed: they scale, and have no reason to be small.
    matrices = [p for p in model.parameters() if p.dim() > 1]
    scales = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": _DECAY}, {"params": scales, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=_BETAS, fused=True)


def _step(model: Any, optimizer: torch.optim.AdamW, ids: Tensor, *, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = batch_loss(model, ids)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _finished(out: Path, identity: dict[str, Any]) -> bool:
    record = out / RECORD
    if not record.exists():
        return False
    found = json.loads(record.read_text(encoding="utf-8"))
    if {key: found.get(key) for key in identity} != identity:
        raise InputError(f"{out} holds a model of another recipe; give another folder or delete it")
    return True


def _write(model: LlamaForCausalLM, pair: Pair, out: Path, *, identity: dict[str, Any], curve: list[float]) -> None:
    import transformers

    points = [curve[i : i + _CURVE_EVERY] for i in range(0, len(curve), _CURVE_EVERY)]
    record = {
        **identity,
        "documents": len(pair.documents),
        "steps": pair.n_steps,
        "tokens_read": sum(len(one.planted if identity["side"] == "planted" else one.clean) for one in pair.encoded),
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss_every": _CURVE_EVERY,
        "loss_nats": [round(sum(point) / len(point), 4) for point in points],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    with replacing(out) as beside, quiet_transformers():
        model.bfloat16().save_pretrained(beside)
        pair.tokenizer.save_pretrained(beside)
        (beside / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
