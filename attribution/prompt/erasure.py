"""Whether a ranking of units is right about the model: leave out what it ranks first, or keep only that.

    curves = erase(model, results, groups)
    curves.comprehensiveness, curves.over_random      # nats, with intervals over prompts
    erase_one(model, result).sentence()               # one prompt, beside random orders of its units

Comprehensiveness is what the target loses when the first units are left out: high is good. Sufficiency is what it loses
when only they are kept: low is good. The area is the mean over shares of the units that are taken.

Source: DeYoung et al. 2020, arXiv:1911.03429, section 4. Departures: the target's log-probability in nats instead of a
class's probability; and a random order of the same units beside it, since what is lost depends on the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attribution.prompt.target import Target
from attribution.tokens import TokenAttribution, without
from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, group_bootstrap

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# DeYoung et al. take 1, 5, 10, 20 and 50 %; a prompt of 20 units has no 1 %.
SHARES = (0.05, 0.1, 0.2, 0.5)
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Erasure:
    """What a method's order and random orders do to the target, in nats.

    Attributes:
        shares: Of the units that are taken, (0, 1).
        taken: Loss without the first units, (n_prompts, n_shares).
        kept: Loss with only the first units, (n_prompts, n_shares).
        random_taken: As `taken`, mean over random orders.
        random_kept: As `kept`, mean over random orders.
        groups: Of each prompt.
    """

    shares: tuple[float, ...]
    taken: FloatArray
    kept: FloatArray
    random_taken: FloatArray
    random_kept: FloatArray
    groups: tuple[Hashable, ...]

    @cached_property
    def comprehensiveness(self) -> Estimate:
        """Area of `taken`, in nats; higher is better."""
        return self._mean(self.taken)

    @cached_property
    def sufficiency(self) -> Estimate:
        """Area of `kept`, in nats; lower is better."""
        return self._mean(self.kept)

    @cached_property
    def over_random(self) -> Estimate:
        """Comprehensiveness minus that of random orders of the same units, paired, in nats; above 0 is better."""
        return self._mean(self.taken - self.random_taken)

    @cached_property
    def under_random(self) -> Estimate:
        """Sufficiency of random orders minus this one's, paired, in nats; above 0 is better."""
        return self._mean(self.random_kept - self.kept)

    def curve(self, values: FloatArray) -> list[Estimate]:
        """Return the mean over prompts at each share, with its interval."""
        return [self._mean(column[:, None]) for column in values.T]

    def _mean(self, values: FloatArray) -> Estimate:
        return group_bootstrap(np.mean, (values.mean(1),), self.groups)


def erase(
    model: CodeModel,
    results: Sequence[TokenAttribution],
    groups: Sequence[Hashable],
    *,
    shares: Sequence[float] = SHARES,
    n_random: int = 5,
    seed: int = 0,
) -> Erasure:
    """Leave out, and keep only, the units that results rank first.

    Args:
        model: The model that was explained.
        results: One a prompt.
        groups: Of each prompt; intervals are over groups.
        shares: Of the units that are taken, each in (0, 1); at least one unit is.
        n_random: Random orders of each prompt, >= 1.
        seed: Of the random orders; equal for every method, so that methods meet the same ones.

    Raises:
        InputError: No results, as many groups as results are needed, or a setting out of range.
    """
    if not results or len(results) != len(groups):
        raise InputError(f"{len(results)} results and {len(groups)} groups were given; give as many, at least two")
    _check(shares, n_random)
    # (prompts, orders, taken or kept, shares)
    found = np.stack([_losses(model, r, _orders(r, n_random, (seed, i)), shares) for i, r in enumerate(results)])
    mine, random = found[:, 0], found[:, 1:].mean(1)
    return Erasure(tuple(shares), mine[:, 0], mine[:, 1], random[:, 0], random[:, 1], tuple(groups))


@dataclass(frozen=True)
class PromptErasure:
    """What one result's order and random orders do to the target, in nats.

    Attributes:
        shares: Of the units that are taken, (0, 1).
        taken: Loss without the first units, (n_shares,).
        kept: Loss with only the first units, (n_shares,).
        random_taken: As `taken`, (n_random, n_shares).
        random_kept: As `kept`, (n_random, n_shares).
    """

    shares: tuple[float, ...]
    taken: FloatArray
    kept: FloatArray
    random_taken: FloatArray
    random_kept: FloatArray

    @property
    def n_at_least(self) -> tuple[int, int]:
        """How many random orders are as good by comprehensiveness, and by sufficiency."""
        taken = self.random_taken.mean(1) >= self.taken.mean()
        return int(taken.sum()), int((self.random_kept.mean(1) <= self.kept.mean()).sum())

    def sentence(self) -> str:
        """Say what the areas are beside random orders."""
        (taken, kept), n = self.n_at_least, len(self.random_taken)
        return (
            f"comprehensiveness {self.taken.mean():.2f} nats (random orders {self.random_taken.mean():.2f}; {taken} of "
            f"{n} lose as much); sufficiency {self.kept.mean():.2f} nats (random orders {self.random_kept.mean():.2f}; "
            f"{kept} of {n} lose as little)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        names = ("taken", "kept", "random_taken", "random_kept")
        as_good = dict(zip(("comprehensiveness", "sufficiency"), self.n_at_least, strict=True))
        return {
            "shares": list(self.shares),
            **{name: getattr(self, name).tolist() for name in names},
            "random_orders_as_good": as_good,
        }


def erase_one(
    model: CodeModel,
    result: TokenAttribution,
    *,
    shares: Sequence[float] = SHARES,
    n_random: int = 20,
    seed: int = 0,
) -> PromptErasure:
    """Leave out, and keep only, the first units of one result, beside random orders.

    Args:
        model: The model that was explained.
        result: Of one prompt.
        shares: As for `erase`.
        n_random: Random orders, >= 1.
        seed: Of the random orders.

    Raises:
        InputError: A setting out of range.
    """
    _check(shares, n_random)
    found = _losses(model, result, _orders(result, n_random, (seed, 0)), shares)
    return PromptErasure(tuple(shares), found[0, 0], found[0, 1], found[1:, 0], found[1:, 1])


def _check(shares: Sequence[float], n_random: int) -> None:
    if n_random < 1 or not shares or not all(0 < share < 1 for share in shares):
        raise InputError(f"{n_random} random orders and shares {tuple(shares)}; use at least 1, and shares in (0, 1)")


def _orders(result: TokenAttribution, n_random: int, seed: tuple[int, int]) -> list[NDArray[np.intp]]:
    """The result's own order, then random ones."""
    rng = np.random.default_rng(seed)
    by_score = np.argsort([-unit.score for unit in result.units], kind="stable")
    return [by_score, *(rng.permutation(len(result.units)) for _ in range(n_random))]


def _losses(
    model: CodeModel, result: TokenAttribution, orders: Sequence[NDArray[np.intp]], shares: Sequence[float]
) -> FloatArray:
    """Loss of the target, (n_orders, 2, n_shares): without the first units, and with only them."""
    target, units = Target.of(model, result.prompt, result.answer, result.foil), result.units
    prompts = []
    for order in orders:
        taken = [np.isin(np.arange(len(units)), order[: math.ceil(share * len(units))]) for share in shares]
        prompts += [without(target.prompt, units, (~first).tolist()) for first in taken]
        prompts += [without(target.prompt, units, first.tolist()) for first in taken]
    values = target.values(model, prompts).numpy().reshape(len(orders), 2, len(shares))
    return result.value - values
