"""Direct logit attribution: what each component writes straight into the logit difference of answer and foil.

    direct(model, setting, sites)      # in logits of the output projection, one number a site

The stream before the final norm is a sum of what the components add. With the norm's scale held at what it was in the
run, the logit difference is a sum over the same terms. A component's effect here is its term in the clean run minus
that in the corrupt run, so what both runs have in common (a prior for one token, biases) drops out, and embed + every
attn.L + every mlp.L add up to the whole change exactly.

Source: Elhage et al. 2021, "A mathematical framework for transformer circuits", section on the logit lens of residual
terms; departure: the difference of two runs instead of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from attribution.inside.patching import Setting, read
from ellora_trust.errors import InputError
from ellora_trust.sites import Site

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Relative error below which the norm counts as linear at a fixed scale: above fp32 rounding.
_TOLERANCE = 1e-3


@torch.no_grad()
def direct(model: CodeModel, setting: Setting, sites: Sequence[Site]) -> list[float]:
    """Return each site's direct effect on logit(answer) - logit(foil): clean run minus corrupt run.

    Args:
        model: The model.
        setting: The pair.
        sites: `embed`, `attn.L`, `mlp.L` or `head.L.H`.

    Raises:
        InputError: A site that adds nothing to the stream, or a norm whose scale cannot be held.
    """
    if any(site.kind == "resid" for site in sites):
        raise InputError("resid.L is the sum of what components add; use embed, attn.L, mlp.L or head.L.H")
    weight: Any = model.arch.head.weight
    direction = (weight[setting.answer] - weight[setting.foil]).float()
    clean = _terms(model, setting.clean, setting, sites, direction)
    corrupt = _terms(model, setting.corrupt, setting, sites, direction)
    return (clean - corrupt).tolist()


def _terms(model: CodeModel, ids: Sequence[int], setting: Setting, sites: Sequence[Site], direction: Tensor) -> Tensor:
    """Each site's term of the logit difference in one run, (n_sites,), float64."""
    end = Site("resid", model.arch.n_layers - 1)
    kept, _ = read(model, ids, setting, [*dict.fromkeys([*sites, end])])
    norm = HeldNorm.of(model.arch.final_norm, kept[end][-1].float())
    rows = torch.stack([written(model, site, kept[site][-1]) for site in sites])
    return norm(rows).double() @ direction.double()


def written(model: CodeModel, site: Site, activation: Tensor) -> Tensor:
    """Return what a site adds to the residual stream at one token, (d_model,), float32.

    Args:
        model: The model.
        site: `embed`, `attn.L`, `mlp.L`, or `head.L.H`, whose part of the output projection is applied.
        activation: At the site, (width,).

    Raises:
        InputError: A head of a block that normalises the sum of its heads.
    """
    if site.kind != "head":
        return activation.float()
    block = model.arch.blocks[site.layer]
    projection: Any = block.attn_out
    if not any(module is projection for module in block.attn.module.modules()):
        raise InputError(
            f"block {site.layer} of {model.name} normalises the sum of its heads, so no head has a term of its own; "
            "use attn.L, or patching"
        )
    columns = slice(site.head * block.head_dim, (site.head + 1) * block.head_dim)
    matrix = projection.weight[columns].T if isinstance(projection, Conv1D) else projection.weight[:, columns]
    return block.attn.scale * (matrix.float() @ activation.float())


@dataclass(frozen=True)
class HeldNorm:
    """A layer norm or RMS norm with its scale held: a linear map, found from what the module does.

    Attributes:
        gain: Factor of each dimension, times the held scale, (d_model,).
        centres: Whether the mean is taken off first.
    """

    gain: Tensor
    centres: bool

    @classmethod
    def of(cls, norm: nn.Module | None, stream: Tensor) -> HeldNorm:
        """Hold a norm at what it did to one token's stream, (d_model,).

        Raises:
            InputError: At a held scale the module is not linear.
        """
        if norm is None:
            return cls(torch.ones_like(stream), False)
        # A vector of +1 and -1 has mean 0 and length 1 a dimension: both norms return only their gain and bias.
        signs = torch.ones_like(stream)
        signs[1::2] = -1
        bias = _apply(norm, torch.zeros_like(stream))
        gain = (_apply(norm, signs) - bias) * signs
        centres = bool((_apply(norm, torch.ones_like(stream)) - bias).norm() < 0.1 * gain.norm())
        seen = _apply(norm, stream) - bias
        plain = gain * (stream - stream.mean() if centres else stream)
        scale = (seen @ plain) / (plain @ plain)
        if (seen - scale * plain).norm() > _TOLERANCE * seen.norm():
            raise InputError(
                f"the final norm ({type(norm).__name__}) is neither a layer norm nor an RMS norm, so its scale "
                "cannot be held; use patching"
            )
        return cls(gain * scale, centres)

    def __call__(self, rows: Tensor) -> Tensor:
        """Map terms of the stream, (n, d_model)."""
        return self.gain * (rows - rows.mean(-1, keepdim=True) if self.centres else rows)


def _apply(norm: nn.Module, row: Tensor) -> Tensor:
    dtype = next((p.dtype for p in norm.parameters()), row.dtype)
    return norm(row[None, None].to(dtype))[0, 0].float()
