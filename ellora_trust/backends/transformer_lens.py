"""A loaded model under TransformerLens' names: attention patterns and circuits, with our weights and sites.

bridge = open_bridge(model)                        # shares the weights; the model itself stays as it was
_, cache = bridge.run_with_cache(ids)
cache[lens_name("resid.3")]                        # what capture(model, texts, "resid.3") reads

Direct logit attribution needs none of this: `attribution.inside.direct` holds the norm's scale for every architecture.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ellora_trust.backends.around import modules_around
from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_HOOKS = {
    "resid": "blocks.{}.hook_resid_post",
    "attn": "blocks.{}.hook_attn_out",
    "mlp": "blocks.{}.hook_mlp_out",
}
_EMBED, _HEADS = "blocks.0.hook_resid_pre", "blocks.{}.attn.hook_z"


def open_bridge(model: CodeModel) -> Any:
    """Return a `TransformerBridge` of the model; parameters are the model's own tensors, not copies.

    TransformerLens puts its own modules in place of the model's, so it gets a copy of the modules around the weights.

    Raises:
        InputError: TransformerLens does not know the architecture.
    """
    from transformer_lens.model_bridge import TransformerBridge

    modules = modules_around(model)
    name, device = str(model.source or model.name), model.device
    try:
        return TransformerBridge.boot_transformers(
            name, hf_model=modules, tokenizer=model.tokenizer, device=device, dtype=modules.dtype
        )
    except ValueError as error:
        raise InputError(f"TransformerLens cannot show {model.name}: {error}; use capture and edit") from error


def lens_name(site: str) -> str:
    """Return the hook of a site; `head.L.H` is `[..., H, :]` of its hook.

    Raises:
        InputError: No such kind of site.
    """
    kind, *numbers = str(site).split(".")
    if site == "embed":
        return _EMBED
    if kind == "head" and len(numbers) == 2:
        return _HEADS.format(numbers[0])
    if kind in _HOOKS and len(numbers) == 1:
        return _HOOKS[kind].format(numbers[0])
    raise InputError(f"site {site!r} has no hook; use embed, resid.L, attn.L, mlp.L or head.L.H")


def site_name(hook: str, head: int | None = None) -> str:
    """Return the site of a hook, the inverse of `lens_name`.

    Args:
        hook: Name of a hook.
        head: Which head, for `hook_z`.

    Raises:
        InputError: A hook that no site names, or `hook_z` without a head.
    """
    if hook == _EMBED:
        return "embed"
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    layer = found.group(1) if found else ""
    if found and head is not None and _HEADS.format(layer) == hook:
        return f"head.{layer}.{head}"
    for kind, pattern in _HOOKS.items():
        if found and pattern.format(layer) == hook:
            return f"{kind}.{layer}"
    known = ", ".join([_EMBED, *(pattern.format("L") for pattern in _HOOKS.values()), _HEADS.format("L")])
    raise InputError(f"hook {hook!r} is no site; use one of {known}, the last with a head")
