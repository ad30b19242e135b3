"""A steering vector at work: which sites, which tokens, how strongly, in which rows.

    with vector.apply(model, sites="resid.12", strength=1.0, positions="prompt_end"):
        model.generate(prompts)

It works in the library's own runs and in the transformers model's `generate`, padded on either side, in batches, with a
key-value cache or without. Nothing is kept in the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from ellora_trust.errors import InputError, one_of
from ellora_trust.hooks import EditFunction, edit
from ellora_trust.intervention import Chain
from ellora_trust.layout import Layout
from ellora_trust.sites import Site, resolve
from ellora_trust.spans import Language
from steering.gating import Gate
from steering.where import Where

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# One for all prompts, or one for each; None leaves a prompt alone.
Strength = float | Sequence[float | None]
Operation = Literal["add", "ablate", "clamp", "project"]


@dataclass(frozen=True)
class Steering:
    """An intervention: directions applied at their sites.

    Attributes:
        directions: Site to direction, (width,), in activation units.
        strength: One number, or one for each prompt of a call, None to leave that prompt alone. `add` adds the
            direction that many times; `ablate` takes away that share of the component along it; `clamp` sets the
            component to that many lengths of the direction; `project` multiplies the component by it (0 removes, 1
            leaves, -1 reflects).
        positions: Names as in `steering.where`.
        operation: What is done.
        gate: Steer only the rows it opens for; None steers all.
        language: Of the code that selectors are about.
    """

    directions: Mapping[str, Tensor]
    strength: Strength = 1.0
    positions: tuple[str, ...] = ("prompt_end",)
    operation: Operation = "add"
    gate: Gate | None = None
    language: Language = "python"

    def __post_init__(self) -> None:
        if self.operation not in get_args(Operation):
            raise InputError(one_of(self.operation, get_args(Operation), what="steering operation"))
        if not self.directions:
            raise InputError("no site is steered; name at least one, such as 'resid.12'")

    def strength_of(self, number: int) -> float | None:
        """Strength for prompt `number` of a call; None where it is left alone.

        Raises:
            InputError: There are fewer strengths than prompts.
        """
        if isinstance(self.strength, (int, float)):
            return float(self.strength)
        if number >= len(self.strength):
            raise InputError(f"{len(self.strength)} strengths were given for more prompts; give one for each prompt")
        return self.strength[number]

    @contextmanager
    def apply(self, model: CodeModel) -> Iterator[None]:
        """Steer every forward inside the `with`.

        Raises:
            InputError: A site or width the model does not have; or, during a forward, as many strengths as there are
                no prompts.
        """
        sites = {resolve(model, name)[0]: self._checked(model, name) for name in self.directions}
        where = Where(self.positions, model.tokenizer, self.language)
        plan = _Plan(where, self)
        edits: dict[str | Site, EditFunction] = {
            site: _editor(plan, vector.to(model.device), self.operation) for site, vector in sites.items()
        }
        with ExitStack() as stack:
            if not where.only_prompt_end or self.gate is not None:
                stack.enter_context(_no_shared_prefixes(model))
            stack.enter_context(plan.follow(Layout(model)))
            if self.gate is not None:
                self.gate.check(model, list(sites))
                stack.enter_context(edit(model, {self.gate.site: plan.read_gate}))
            stack.enter_context(edit(model, edits))
            yield

    def _checked(self, model: CodeModel, name: str) -> Tensor:
        (site,) = resolve(model, name)
        vector = self.directions[name]
        if tuple(vector.shape) != (site.width(model.arch),):
            raise InputError(
                f"the direction for {name} has shape {tuple(vector.shape)}, but {model.name} has width "
                f"{site.width(model.arch)} there; use a vector that was fitted on it"
            )
        return vector


@contextmanager
def _no_shared_prefixes(model: CodeModel) -> Iterator[None]:
    before, model.may_share_prefixes = model.may_share_prefixes, False
    try:
        yield
    finally:
        model.may_share_prefixes = before


class _Plan:
    """What is to be done in the running forward; made once, used at every site.

    Attributes:
        rows: Rows and columns that are steered, (k,) each; empty where there are none.
        everywhere: Whether they are all that there is, as while an answer is written: then none need be picked out.
        amounts: Strength at each of them, (k, 1).
    """

    def __init__(self, where: Where, steering: Steering):
        self._where, self._steering, self._gate = where, steering, steering.gate
        self.rows: tuple[Tensor, Tensor] | None = None
        self.everywhere = False
        self.amounts: Tensor | float = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Travel light: a model that is elsewhere gets what this forward needs, not tokenizer and layout.

        Raises:
            InputError: A gate, which asks more than that.
        """
        if self._gate is not None:
            raise InputError("a gate does not travel to a remote model; steer it without, or load the model here")
        return {"rows": self.rows, "everywhere": self.everywhere, "amounts": self.amounts}

    @contextmanager
    def follow(self, layout: Layout) -> Iterator[None]:
        self._layout = layout
        with layout.attached():
            layout.on_tick = self._tick
            yield

    def _tick(self) -> None:
        layout = self._layout
        self.rows = None
        # A step of decoding concerns nobody who steers the prompt only; finding that out must cost nothing.
        if (
            layout.positions.shape[1] == 1
            and not self._where.while_writing
            and not bool((layout.positions < layout.ends).any())
        ):
            return
        if self._gate is None:
            self._aim(self._where.mask(layout))

    def _aim(self, mask: Tensor) -> None:
        strengths = self._steering.strength
        if isinstance(strengths, (int, float)):
            rows, columns = mask.nonzero(as_tuple=True)
            self.amounts = float(strengths)
        else:
            each = [self._steering.strength_of(n) for n in self._layout.numbers]
            steered = torch.tensor([one is not None for one in each], device=mask.device)
            rows, columns = (mask & steered[:, None]).nonzero(as_tuple=True)
            self.amounts = torch.tensor([one or 0.0 for one in each], device=mask.device)[rows, None]
        self.rows = (rows, columns) if len(rows) else None
        self.everywhere = len(rows) == mask.numel()

    def read_gate(self, hidden: Tensor, at: Tensor) -> None:
        """Ask the gate about the rows whose prompt ends in this forward, and aim at those it is open for."""
        assert self._gate is not None, "only registered where there is one"
        is_open = self._gate.read(hidden, at, self._layout)
        self._aim(self._where.mask(self._layout) & is_open[:, None])


def _editor(plan: _Plan, vector: Tensor, operation: Operation) -> EditFunction:
    length = vector.norm().clamp_min(1e-12)
    unit = vector / length

    def change(hidden: Tensor, amount: Tensor | float) -> Tensor:
        if operation == "add":
            return hidden + amount * vector.to(hidden.dtype)
        along = (hidden.float() @ unit)[:, None]
        wanted = {
            "ablate": lambda: (1 - amount) * along,
            "clamp": lambda: amount * length,
            "project": lambda: amount * along,
        }
        return (hidden.float() + (wanted[operation]() - along) * unit).to(hidden.dtype)

    def edit_function(hidden: Tensor, at: Tensor) -> Tensor | None:
        if plan.rows is None:
            return None
        if plan.everywhere:
            return change(hidden.flatten(0, 1), plan.amounts).view_as(hidden)
        new = hidden.clone()
        new[plan.rows] = change(hidden[plan.rows], plan.amounts)
        return new

    return edit_function


def per_row(steerings: Sequence[Steering | None]) -> Chain:
    """Return one intervention: the i-th steering for prompt i of a call, and for no other."""
    n = len(steerings)
    return Chain(
        [
            replace(steering, strength=[steering.strength_of(i) if j == i else None for j in range(n)])
            for i, steering in enumerate(steerings)
            if steering is not None
        ]
    )
