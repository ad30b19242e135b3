"""Proof, at load, that a model's sites are what they are called.

At each site a zero edit must leave the logits bit-identical, and a change must move them. All sites are tried in one
forward: row i of the batch edits site i only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.sites import Site, resolve, visit

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# One token a row is enough to see an effect, and keeps the check of 90 sites under a second.
_TOKEN = 5


@dataclass(frozen=True)
class SiteCheck:
    """What an edit at one site did.

    Attributes:
        site: The place.
        zero_is_exact: A zero edit left the logits bit-identical.
        change: Largest change of a logit after adding a vector as long as the activation.
    """

    site: Site
    zero_is_exact: bool
    change: float

    @property
    def ok(self) -> bool:
        return self.zero_is_exact and self.change > 0


def check_sites(model: CodeModel, sites: list[Site]) -> list[SiteCheck]:
    """Edit each site of a tiny forward and report what it did to the logits."""
    n = len(sites)
    plain = _logits(model, sites, None)
    zero = _logits(model, sites, lambda row, hidden: hidden + 0.0)
    moved = _logits(model, sites, _disturb)
    changes = (moved - plain).abs().amax(-1)
    exact = (zero == plain).all(-1)
    return [SiteCheck(sites[i], bool(exact[i]), float(changes[i])) for i in range(n)]


def validate(model: CodeModel) -> None:
    """Check every layer's stream and parts, and one head of the first block; `models check` tries all heads.

    Raises:
        InputError: A site does nothing, or cannot be left alone.
    """
    names = ["embed", "resid.*", "attn.*", "mlp.*"]
    names += ["head.0.0"] if model.arch.blocks[0].attn_out is not None else []
    sites = [site for name in names for site in resolve(model, name)]
    bad = [check for check in check_sites(model, sites) if not check.ok]
    if bad:
        reasons = [f"{c.site} ({'has no effect' if c.zero_is_exact else 'changes when left alone'})" for c in bad[:5]]
        raise InputError(
            f"{model.name}: {len(bad)} of {len(sites)} sites are not what their names say: {', '.join(reasons)}; "
            "please report the model's architecture"
        )


def _disturb(row: int, hidden: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(row)
    noise = torch.randn(hidden.shape, generator=generator).to(hidden)
    return hidden + noise * (hidden.norm() / noise.norm()).clamp_min(1e-3)


@torch.no_grad()
def _logits(model: CodeModel, sites: list[Site], change: Callable[[int, Tensor], Tensor] | None) -> Tensor:
    """Logits of the last token, (n_sites, vocabulary), with `change` applied to row i at site i."""
    vocabulary = int(model.hf.config.get_text_config(decoder=True).vocab_size)
    ids = torch.full((len(sites), 1), _TOKEN % vocabulary, device=model.device)
    with ExitStack() as stack:
        for row, site in enumerate(sites if change else []):
            handle = visit(model.arch, site, _row_editor(row, len(sites), change))
            stack.callback(handle.remove)
        out = model.hf(input_ids=ids, use_cache=False)
    return out.logits[:, -1].float()


def _row_editor(row: int, n_rows: int, change: Callable[[int, Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
    assert change is not None

    def editor(hidden: Tensor) -> Tensor:
        # Some families flatten batch and tokens before their MLP.
        rows = hidden.clone().view(n_rows, -1, hidden.shape[-1])
        rows[row] = change(row, rows[row])
        return rows.view(hidden.shape)

    return editor
