"""Which matrices of a model take part in attribution: every Linear and Conv1D, the head included, and the embedding.

    found = find_layers(model)                          # body and head
    find_layers(model, parts=("body", "head", "embedding"))

Biases and norms are left out: a few thousand numbers beside millions. So are experts that are kept as one tensor of
three dimensions, as in transformers' own mixtures of experts; `coverage` says how much of a model the layers hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import InputError, one_of
from ellora_trust.precision import packed_weights

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Part = Literal["body", "head", "embedding"]
PARTS = ("body", "head", "embedding")
DEFAULT: tuple[Part, ...] = ("body", "head")
_PROBE = (2, 5)  # rows and tokens of the forward that shows how a layer is called


@dataclass(frozen=True)
class Layer:
    """One matrix: output = matrix @ input.

    Attributes:
        name: Dotted path of its module; the embedding's where both are tied.
        module: What is called.
        d_in: Width of its input; of the embedding, the vocabulary.
        d_out: Width of its output.
        part: `body`, `head` or `embedding`.
        routed: It sees only some of the tokens, as an expert does, so a batch must hold one text.
    """

    name: str
    module: nn.Module
    d_in: int
    d_out: int
    part: Part
    routed: bool = False

    @property
    def size(self) -> int:
        """Numbers in its gradient."""
        return self.d_in * self.d_out

    def input_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Return the input of a call, (..., d_in), float32; token ids become rows of the identity."""
        given = (args[0] if args else next(iter(kwargs.values()))).detach()
        if self.part == "embedding":
            return nn.functional.one_hot(given, self.d_in).float()
        return given.float()


def find_layers(model: CodeModel, parts: Sequence[str] = DEFAULT) -> list[Layer]:
    """Return the layers in the order of the model's modules.

    Args:
        model: Any decoder.
        parts: Of `body` (every projection in the blocks), `head` and `embedding`. A tied matrix is two layers: its
            gradient is the sum of what it gets as embedding and as head, and the two are kept apart.

    Raises:
        InputError: An unknown part or none, an embedding that does more than look up rows, or a quantised matrix whose
            module is not a Linear.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise InputError(one_of(unknown[0] if unknown else "", PARTS, what="part of the model"))
    embedding: Any = model.hf.get_input_embeddings()
    found = []
    for name, module in model.hf.named_modules():
        part: Part = "head" if module is model.arch.head else "embedding" if module is embedding else "body"
        _known(name, module)
        shape = _shape(module, part) if part in parts else None
        if shape is not None:
            found.append(Layer(name, module, *shape, part))
    return _called(model, found)


def coverage(model: CodeModel, layers: Sequence[Layer]) -> float:
    """Return the share of the model's parameters that the layers hold, [0, 1]; a tied matrix counts once."""
    matrices: dict[int, Any] = {id(layer.module.weight): layer.module.weight for layer in layers}
    return sum(w.numel() for w in matrices.values()) / sum(p.numel() for p in model.hf.parameters())


def _known(name: str, module: nn.Module) -> None:
    """Refuse what would be left out silently: GPTQ, AWQ and others have modules of their own for quantised matrices."""
    if packed_weights(module, recurse=False) and not isinstance(module, (nn.Linear, nn.Embedding)):
        raise InputError(
            f"{name} is a {type(module).__name__} with quantised weights, which attribution cannot see into; use the "
            "checkpoint that it was made of, or one of bitsandbytes or torchao in 8 bits"
        )


def _shape(module: nn.Module, part: Part) -> tuple[int, int] | None:
    """(d_in, d_out) of a module that is one matrix."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    if part == "embedding":
        if type(module) is not nn.Embedding:
            raise InputError(
                f"the embedding is a {type(module).__name__}, whose gradient is not only that of a table; leave "
                "'embedding' out of the parts"
            )
        return module.num_embeddings, module.embedding_dim
    return None


@torch.no_grad()
def _called(model: CodeModel, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that a forward calls, with those marked that see only some of the tokens."""
    rows, tokens = _PROBE
    seen: dict[str, list[int]] = {}

    def note(layer: Layer) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            seen.setdefault(layer.name, []).append(output.numel() // layer.d_out)

        return hook

    ids = torch.arange(3, 3 + rows * tokens, device=model.device).view(rows, tokens) % len(model.tokenizer)
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.module.register_forward_hook(note(layer), with_kwargs=True).remove)
        model.hf(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    # An expert that this forward happened not to call is still an expert.
    experts = {layer.name for layer in layers if seen.get(layer.name) != [rows * tokens]}
    return [
        Layer(layer.name, layer.module, layer.d_in, layer.d_out, layer.part, layer.name in experts) for layer in layers
    ]
