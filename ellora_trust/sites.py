"""Names of places in a decoder, and the hook that reads or replaces what flows through one.

    resolve(model, "resid.*")             # every layer's residual stream
    resolve(model, ["embed", "head.3.7"])

`embed` is the stream entering block 0. `resid.L` is the output of block L (0-based), before any final norm. `attn.L`
and `mlp.L` are what that part adds to the stream, after a post-norm and a residual multiplier where there is one.
`head.L.H` is head H's slice of the input of block L's attention output projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ellora_trust.architecture import Architecture, Part, hidden_of
from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

KINDS = ("embed", "resid", "attn", "mlp", "head")

# Reads (batch, tokens, width); returns None to leave it, or a tensor of the same shape to replace it.
Visitor = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, order=True)
class Site:
    """A place in the network.

    Attributes:
        kind: One of `KINDS`.
        layer: 0-based; -1 for `embed`.
        head: 0-based; -1 unless `kind` is `head`.
    """

    kind: str
    layer: int = -1
    head: int = -1

    def __str__(self) -> str:
        numbers = [str(n) for n in (self.layer, self.head) if n >= 0]
        return ".".join([self.kind, *numbers])

    def width(self, arch: Architecture) -> int:
        """Size of the activation's last dimension."""
        return arch.blocks[self.layer].head_dim if self.kind == "head" else arch.d_model


def resolve(model: CodeModel, sites: str | Site | Iterable[str | Site]) -> list[Site]:
    """Return validated sites in the order given; `*` stands for every layer or head.

    Raises:
        InputError: A name that no site has, or a layer or head out of range for this model.
    """
    if isinstance(sites, (str, Site)):
        sites = [sites]
    found = [site for given in sites for site in _expand(str(given), model.arch)]
    if not found:
        raise InputError("no site was given; name at least one, such as 'resid.*' or 'resid.3'")
    return list(dict.fromkeys(found))


def _expand(name: str, arch: Architecture) -> list[Site]:
    kind, *numbers = name.split(".")
    wanted = {"embed": 0, "head": 2}.get(kind, 1)
    if kind not in KINDS or len(numbers) != wanted:
        raise InputError(
            f"unknown site {name!r}; use embed, resid.L, attn.L, mlp.L or head.L.H, with * for every layer or head"
        )
    if kind == "embed":
        return [Site("embed")]
    layers = _numbers(numbers[0], arch.n_layers, f"layer in site {name!r}", "layer")
    if kind != "head":
        return [Site(kind, layer) for layer in layers]
    headed = [layer for layer in layers if arch.blocks[layer].attn_out is not None]
    if not headed:
        raise InputError(f"site {name!r}: block {layers[0]} has no attention heads; use attn.{layers[0]}")
    heads = _numbers(numbers[1], arch.n_heads, f"head in site {name!r}", "head")
    return [Site("head", layer, head) for layer in headed for head in heads]


def _numbers(text: str, count: int, what: str, noun: str) -> range:
    if text == "*":
        return range(count)
    if not text.removeprefix("-").isdigit() or not 0 <= int(text) < count:
        raise InputError(f"{what} is out of range for a model with {count} {noun}s; use 0..{count - 1} or *")
    return range(int(text), int(text) + 1)


def visit(arch: Architecture, site: Site, visitor: Visitor, *, reads: bool = False) -> RemovableHandle:
    """Call `visitor` on the activation at `site` in every forward, until the handle is removed.

    Args:
        arch: Of the model.
        site: Where.
        visitor: Called with the activation.
        reads: It never replaces anything; where the model is elsewhere, it may be called after the forward.
    """
    if site.kind == "embed":
        return _before(arch.blocks[0].module, visitor, reads)
    block = arch.blocks[site.layer]
    if site.kind == "resid":
        return _after(Part(block.name, block.module), visitor, reads)
    if site.kind == "head":
        assert block.attn_out is not None, "resolve() refuses heads of a block without them"
        columns = slice(site.head * block.head_dim, (site.head + 1) * block.head_dim)
        return _before(block.attn_out, _sliced(visitor, columns), reads)
    return _after(block.attn if site.kind == "attn" else block.mlp, visitor, reads)


def _after(part: Part, visitor: Visitor, reads: bool) -> RemovableHandle:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        new = visitor(hidden if part.scale == 1.0 else hidden * part.scale)
        if new is None:
            return None
        new = (new if part.scale == 1.0 else new / part.scale).to(hidden.dtype)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    hook.reads = reads  # pyright: ignore[reportFunctionMemberAccess]  # `ellora_trust.backends.nnsight` asks
    return part.module.register_forward_hook(hook)


def _before(module: nn.Module, visitor: Visitor, reads: bool) -> RemovableHandle:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        new = visitor(hidden)
        if new is None:
            return None
        new = new.to(hidden.dtype)
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    hook.reads = reads  # pyright: ignore[reportFunctionMemberAccess]
    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _sliced(visitor: Visitor, columns: slice) -> Visitor:
    def on_slice(hidden: Tensor) -> Tensor | None:
        new = visitor(hidden[..., columns])
        if new is None:
            return None
        whole = hidden.clone()
        whole[..., columns] = new.to(hidden.dtype)
        return whole

    return on_slice
