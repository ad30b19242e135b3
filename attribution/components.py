"""Which heads and MLPs carry an answer: a ranked table, from matched pairs of prompts.

    found = attribute_components(model, pairs, method="attribution_patching")
    found.ranked()[:3]                     # site, effect in nats with its interval over groups of pairs
    found.best(3)                          # ["mlp.2", "head.1.3", "mlp.3"]: where to steer or to unlearn

| method | what an effect is | cost a pair |
|---|---|---|
| `activation_patching` | rise of the logit difference with the clean activation in the corrupt run | a row a site |
| `attribution_patching` | the same to first order, by a gradient | 2 forwards, 1 forward + backward |
| `direct` | the component's own term of the logits, clean minus corrupt | 2 forwards |

An effect of patching goes through everything after the site; a direct one through nothing but the output projection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from attribution.inside.direct import direct
from attribution.inside.patching import Pair, Setting, patch, patch_by_gradient, read
from ellora_trust.errors import InputError, one_of
from ellora_trust.intervention import ActivationEdit
from ellora_trust.progress import Progress
from ellora_trust.sites import Site, resolve
from ellora_trust.stats import Estimate, group_bootstrap

if TYPE_CHECKING:
    from torch import Tensor

    from ellora_trust.hooks import EditFunction
    from ellora_trust.model import CodeModel

Method = Literal["activation_patching", "attribution_patching", "direct"]
METHODS: tuple[Method, ...] = get_args(Method)
COMPONENTS = ("head.*.*", "mlp.*")
FloatArray = NDArray[np.float64]
_RUN: dict[Method, Callable[[CodeModel, Setting, Sequence[Site]], list[float]]] = {
    "activation_patching": patch,
    "attribution_patching": patch_by_gradient,
    "direct": direct,
}


@dataclass(frozen=True)
class Component:
    """One site and its effect.

    Attributes:
        site: Name of the site.
        value: Mean effect over pairs, in nats.
        effect: The same with its interval over groups of pairs; None where there is only one group.
    """

    site: str
    value: float
    effect: Estimate | None

    def __format__(self, spec: str) -> str:
        """Format the effect with its interval, or alone where it has none."""
        return format(self.value, spec) if self.effect is None else format(self.effect, spec)


@dataclass(frozen=True)
class ComponentAttribution:
    """What each component does for the answers of some pairs.

    Attributes:
        method: Which method.
        sites: Names of sites.
        effects: In nats, (n_pairs, n_sites).
        totals: logit(answer) - logit(foil) of the clean prompt minus that of the corrupt one, in nats, (n_pairs,).
        groups: Of each pair.
        shape: (n_layers, n_heads) of the model.
    """

    method: Method
    sites: tuple[str, ...]
    effects: FloatArray
    totals: FloatArray
    groups: tuple[str, ...]
    shape: tuple[int, int]

    @cached_property
    def mean(self) -> FloatArray:
        """Mean effect of each site over pairs, in nats, (n_sites,)."""
        return self.effects.mean(0)

    @property
    def order(self) -> list[int]:
        """Numbers of sites, those that do most for the answer first."""
        return np.argsort(-self.mean, kind="stable").tolist()

    def ranked(self, n: int | None = None) -> list[Component]:
        """Return the first n sites with their intervals over groups of pairs; all if None."""
        return [self.at(i) for i in self.order[:n]]

    def at(self, number: int) -> Component:
        """Return one site by its number in `sites`."""
        several = len(set(self.groups)) > 1
        effect = group_bootstrap(np.mean, (self.effects[:, number],), self.groups) if several else None
        return Component(self.sites[number], float(self.mean[number]), effect)

    def best(self, n: int) -> list[str]:
        """Return the names of the n sites that do most for the answer.

        Raises:
            InputError: n is not in 1..n_sites.
        """
        if not 1 <= n <= len(self.sites):
            raise InputError(f"the best {n} of {len(self.sites)} sites were asked for; use 1..{len(self.sites)}")
        return [self.sites[i] for i in self.order[:n]]

    def to_dict(self) -> dict[str, Any]:
        """Return method, mean change and the ranked table as JSON values."""
        table = [
            {"site": one.site, "value": one.value, **(one.effect.to_dict() if one.effect else {})}
            for one in self.ranked()
        ]
        return {
            "method": self.method,
            "n_pairs": len(self.effects),
            "total": float(self.totals.mean()),
            "components": table,
        }


def attribute_components(
    model: CodeModel,
    pairs: Sequence[Pair],
    *,
    method: Method = "attribution_patching",
    sites: str | Iterable[str] = COMPONENTS,
    progress: bool = False,
) -> ComponentAttribution:
    """Score components by what they do for the clean prompt's answer.

    Args:
        model: The model.
        pairs: Matched prompts; intervals need two groups at least.
        method: See the module's table.
        sites: Names of sites, with `*` for every layer or head.
        progress: Show a progress bar over pairs.

    Raises:
        InputError: No pairs, an unknown method or site, or a pair that cannot be compared.
    """
    if method not in METHODS:
        raise InputError(one_of(method, METHODS, what="method"))
    if not pairs:
        raise InputError("no pair was given; give at least one clean and one corrupt prompt")
    chosen = resolve(model, sites)
    settings = [_setting(model, pair, number) for number, pair in enumerate(pairs)]
    effects, totals = [], []
    with Progress(len(pairs), method.replace("_", " "), enabled=progress) as bar:
        for setting in settings:
            effects.append(_RUN[method](model, setting, chosen))
            ends = [read(model, ids, setting, [])[1] for ids in (setting.clean, setting.corrupt)]
            totals.append(ends[0] - ends[1])
            bar.advance(1)
    groups = tuple(pair.group or str(number) for number, pair in enumerate(pairs))
    shape = (model.arch.n_layers, model.arch.n_heads)
    return ComponentAttribution(method, tuple(map(str, chosen)), np.array(effects), np.array(totals), groups, shape)


def _setting(model: CodeModel, pair: Pair, number: int) -> Setting:
    try:
        return Setting.of(model, pair)
    except InputError as error:
        raise InputError(f"pair {number}: {error}") from error


def ablation(model: CodeModel, sites: str | Iterable[str], prompts: Sequence[str]) -> ActivationEdit:
    """Return the intervention that replaces some sites by their mean over prompts, at every token but the first.

    The first token is an attention sink whose activations no mean stands for.

    Args:
        model: The model.
        sites: What is ablated.
        prompts: What the mean is over.

    Raises:
        InputError: No prompt, or an unknown site.
    """
    from ellora_trust.hooks import capture

    names = [str(site) for site in resolve(model, sites)]
    seen = capture(model, prompts, names, "mean")
    return ActivationEdit({name: _replacing(seen.vectors(name, "mean").mean(0)) for name in names})


def _replacing(mean: Tensor) -> EditFunction:
    def replace(hidden: Tensor, at: Tensor) -> Tensor:
        new = hidden.clone()
        new[at > 0] = mean.to(hidden)
        return new

    return replace
