"""Which weights an edit may change.

Where.parse("all", model)                  # every parameter
Where.parse("layers 1-2 mlp", model)       # a part of some blocks; without a part, all of them
Where.parse("mlp.3,head.1.2", model)       # sites, as attribution names them
Where.parse("components:runs/where:2", model)  # the best two that attribution found
random_like(Where.parse("mlp.3", model), model, seed=0)      # as many parameters of the same kind elsewhere
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

from ellora_trust.errors import InputError
from ellora_trust.sites import Site, resolve
from unlearning.interpreted import interpreted

if TYPE_CHECKING:
    from ellora_trust.architecture import Block
    from ellora_trust.model import CodeModel

_LAYERS = re.compile(r"layers? (\d+)(?:-(\d+))?(?: (mlp|attn))?")
_LORA = re.compile(r"lora:(\d+)(?: (.+))?")
_HELP = (
    "use all, 'layers 3-5', 'layers 3-5 mlp', sites such as mlp.3,attn.2,head.1.0, components:FOLDER:N, vector:FOLDER, "
    "or lora:16, also before a place: 'lora:16 mlp.3'"
)
# Of a parameter: None for all of it, or an index into it.
Part = tuple[slice | list[int], ...] | None


@dataclass(frozen=True)
class Where:
    """Some weights of a model.

    Attributes:
        text: As it was given.
        sites: `resid.L` stands for a whole block; empty for every parameter.
        rank: Of low-rank adapters on the linear layers there, or None where the weights themselves change.
        chosen_by: The run of interpretation that chose the sites, as it was given; None where a person did.
    """

    text: str
    sites: tuple[Site, ...] = ()
    rank: int | None = None
    chosen_by: str | None = None

    @classmethod
    def parse(cls, text: str, model: CodeModel) -> Where:
        """Return the weights a text names.

        Raises:
            InputError: A text that names none, or a layer or head that the model does not have.
        """
        plain = " ".join(text.split())
        if found := _LORA.fullmatch(plain):
            rank = int(found[1])
            if not 1 <= rank <= model.arch.d_model:
                raise InputError(f"rank {rank} is out of range for {model.name}; use 1..{model.arch.d_model}")
            inner = cls.parse(found[2] or "all", model)
            text = plain if inner.chosen_by is None else f"lora:{rank} {inner.text}"
            return cls(text, inner.sites, rank, inner.chosen_by)
        if plain == "all":
            return cls(plain)
        # Not the plain text: a folder's name may hold any blanks.
        if (names := interpreted(text, model)) is not None:
            return cls(",".join(names), tuple(resolve(model, names)), chosen_by=text.strip())
        if found := _LAYERS.fullmatch(plain):
            first, last = int(found[1]), int(found[2] or found[1])
            kind = found[3] or "resid"
            if first > last:
                raise InputError(f"{text!r} names no layer; give the smaller one first")
            return cls(plain, tuple(resolve(model, [f"{kind}.{layer}" for layer in range(first, last + 1)])))
        try:
            sites = resolve(model, [part.strip() for part in plain.split(",")])
        except InputError as error:
            raise InputError(f"cannot read --where {text!r} ({error}); {_HELP}") from error
        if any(site.kind == "embed" for site in sites):
            raise InputError(f"--where {text!r}: the embedding is shared by every token; {_HELP}")
        return cls(plain, tuple(sites))

    def parameters(self, model: CodeModel) -> dict[str, tuple[nn.Parameter, Part]]:
        """Return the parameters by name, each with the part of it that may change; None for all of it."""
        every = dict(model.hf.named_parameters())
        if not self.sites:
            return {name: (parameter, None) for name, parameter in every.items()}
        names = {id(parameter): name for name, parameter in every.items()}
        found: dict[str, tuple[nn.Parameter, Part]] = {}
        for site in self.sites:
            for parameter, part in _of_site(model.arch.blocks[site.layer], site):
                name = names[id(parameter)]
                found[name] = (parameter, _both(found[name][1], part) if name in found else part)
        return found

    def modules(self, model: CodeModel) -> list[str]:
        """Return the names of the linear layers there, for adapters."""
        names = {id(module): name for name, module in model.hf.named_modules()}
        sites = self.sites or tuple(Site("resid", layer) for layer in range(model.arch.n_layers))
        found = [m for site in sites for m in _modules(model.arch.blocks[site.layer], site.kind)]
        linear = [m for top in found for m in top.modules() if isinstance(m, (nn.Linear, Conv1D))]
        return sorted({names[id(module)] for module in linear})

    def last_layer(self, model: CodeModel) -> int:
        """Last block that changes, or the one in the middle where every weight may."""
        return max((site.layer for site in self.sites), default=(model.arch.n_layers - 1) // 2)

    def size(self, model: CodeModel) -> int:
        """Number of weights that may change."""
        pairs = self.parameters(model).values()
        return sum(p.numel() if part is None else p.detach()[part].numel() for p, part in pairs)


def random_like(where: Where, model: CodeModel, seed: int) -> Where:
    """Return as many weights of the same kinds elsewhere: the control of a place that was chosen by interpretation.

    Raises:
        InputError: There is nothing elsewhere.
    """
    n_layers, n_heads = model.arch.n_layers, model.arch.n_heads
    rng = random.Random(f"{seed}/{where.text}")
    taken, found = set(where.sites), []
    for site in where.sites:
        heads = range(n_heads) if site.kind == "head" else (-1,)
        free = [s for layer in range(n_layers) for head in heads if (s := Site(site.kind, layer, head)) not in taken]
        if not free:
            raise InputError(f"{where.text!r} leaves no {site.kind} elsewhere for a random control; name fewer")
        found.append(rng.choice(free))
        taken.add(found[-1])
    if not found:
        raise InputError("'all' leaves nothing elsewhere for a random control; name a place such as mlp.3")
    text = ",".join(str(site) for site in found)
    return Where(f"lora:{where.rank} {text}" if where.rank else text, tuple(found), where.rank)


def _both(one: Part, other: Part) -> Part:
    """Two heads of a layer are columns of one matrix that need not lie beside each other."""
    if one is None or other is None:
        return None
    columns = sorted({number for part in (one, other) for number in _numbers(part[-1])})
    return (*one[:-1], columns)


def _numbers(columns: slice | list[int]) -> list[int]:
    return list(range(columns.start, columns.stop)) if isinstance(columns, slice) else columns


def _of_site(block: Block, site: Site) -> list[tuple[nn.Parameter, Part]]:
    if site.kind == "head":
        assert block.attn_out is not None, "resolve() refuses heads of a block without them"
        columns = slice(site.head * block.head_dim, (site.head + 1) * block.head_dim)
        weight = block.attn_out.weight
        assert isinstance(weight, nn.Parameter)
        # Conv1D keeps its matrix the other way round.
        return [(weight, (columns,) if isinstance(block.attn_out, Conv1D) else (slice(None), columns))]
    return [(p, None) for module in _modules(block, site.kind) for p in module.parameters()]


def _modules(block: Block, kind: str) -> list[nn.Module]:
    """Children of a block that are its attention or its feed-forward part; the block itself for `resid`.

    Not `block.attn` and `block.mlp`: those are what is added to the stream, which may be a norm.
    """
    if kind == "resid":
        return [block.module]
    if kind == "head":
        return [block.attn_out] if block.attn_out is not None else []
    holds = block.attn_out if block.attn_out is not None else block.attn.module
    children = list(block.module.children())
    attention = [child for child in children if any(m is holds for m in child.modules())]
    if kind == "attn":
        return attention
    return [c for c in children if c not in attention and any(p.dim() > 1 for p in c.parameters())]
