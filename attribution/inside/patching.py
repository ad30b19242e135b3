"""Two prompts that differ in what decides the answer, and what moving one component between them does.

    pair = Pair(clean, corrupt, answer=" list", foil=" dict", group="tags")
    setting = Setting.of(model, pair)
    patch(model, setting, sites)              # exact: one row of a forward a site
    patch_by_gradient(model, setting, sites)  # all sites by two forwards and one backward

Everything is measured by one number, logit(answer) - logit(foil) after the prompt, which is log p(answer) - log p(foil)
in nats. Tokens that answer and foil share at their beginning are read as prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.hooks import EditFunction, edit
from ellora_trust.inference import State, run_chunk
from ellora_trust.sites import Site

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Pair:
    """A matched pair of prompts.

    Attributes:
        clean: The prompt after which the answer comes.
        corrupt: The prompt that differs in what decides.
        answer: What follows the clean prompt.
        foil: What follows the corrupt one.
        group: Problem and its near-duplicates.
    """

    clean: str
    corrupt: str
    answer: str
    foil: str
    group: str = ""


@dataclass(frozen=True)
class Setting:
    """A pair as token ids.

    Attributes:
        clean: Token ids up to where answer and foil part.
        corrupt: The same of the corrupt prompt.
        answer: The token that the answer goes on with.
        foil: The token that the foil goes on with.
        n_patched: Tokens, counted from the end, whose activations are moved: all where the prompts are equally long,
            else the tokens after the last difference, and at least the last one.
    """

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: int
    foil: int
    n_patched: int

    @classmethod
    def of(cls, model: CodeModel, pair: Pair) -> Setting:
        """Tokenise a pair.

        Raises:
            InputError: The prompts are equal, empty or too long, or answer and foil never part.
        """
        texts = (pair.answer, pair.foil)
        answer, foil = (model.tokenizer(text, add_special_tokens=False).input_ids for text in texts)
        parted = next((i for i, (a, f) in enumerate(zip(answer, foil, strict=False)) if a != f), None)
        if parted is None:
            raise InputError(
                f"answer {pair.answer!r} and foil {pair.foil!r} have no token in which they differ; give two texts of "
                "which neither begins with the other"
            )
        clean, corrupt = (
            (*model.tokenizer(prompt).input_ids, *answer[:parted]) if prompt else ()
            for prompt in (pair.clean, pair.corrupt)
        )
        if clean == corrupt or not clean or not corrupt:
            raise InputError("clean and corrupt prompt must be two texts that differ; change what decides the answer")
        if max(len(clean), len(corrupt)) > model.max_length:
            raise InputError(
                f"a prompt has {max(len(clean), len(corrupt))} tokens, but {model.name} reads at most "
                f"{model.max_length}; shorten it or leave the pair out"
            )
        return cls(clean, corrupt, answer[parted], foil[parted], _n_patched(clean, corrupt))


def _n_patched(clean: Sequence[int], corrupt: Sequence[int]) -> int:
    if len(clean) == len(corrupt):
        return len(clean)
    backwards = zip(reversed(clean), reversed(corrupt), strict=False)
    equal = next((i for i, (a, b) in enumerate(backwards) if a != b), min(len(clean), len(corrupt)))
    return max(equal, 1)


def difference(model: CodeModel, ids: Tensor, setting: Setting) -> Tensor:
    """Return logit(answer) - logit(foil) after rows of one length, (batch,); it can be differentiated."""
    state = State(torch.ones_like(ids), None, None)
    run_chunk(model, ids, state, keep_logits=1, use_cache=False)
    assert state.logits is not None
    return state.logits[:, -1, setting.answer] - state.logits[:, -1, setting.foil]


@torch.no_grad()
def read(
    model: CodeModel, ids: Sequence[int], setting: Setting, sites: Sequence[Site]
) -> tuple[dict[Site, Tensor], float]:
    """Return the activations of one prompt, (tokens, width) at each site, and its logit difference."""
    kept: dict[Site, Tensor] = {}

    def keeper(site: Site) -> EditFunction:
        def keep(hidden: Tensor, at: Tensor) -> None:
            kept[site] = hidden[0].clone()

        return keep

    with edit(model, {site: keeper(site) for site in sites}):
        value = difference(model, torch.tensor([ids], device=model.device), setting)
    return kept, float(value)


@torch.no_grad()
def patch(model: CodeModel, setting: Setting, sites: Sequence[Site], *, together: bool = False) -> list[float]:
    """Run the corrupt prompt with the activations of the clean one at some sites; exact.

    Args:
        model: The model.
        setting: The pair.
        sites: Where.
        together: Patch all sites in one run, instead of each in its own row.

    Returns:
        By how much logit(answer) - logit(foil) rises, in nats: one number a site, or one in all.
    """
    donors, _ = read(model, setting.clean, setting, sites)
    _, start = read(model, setting.corrupt, setting, [])
    if together:
        edits = {site: _moved(donors[site], None, setting.n_patched) for site in sites}
        return [float(_corrupt(model, setting, edits, 1)) - start]
    n_rows, found = max(model.token_budget // len(setting.corrupt), 1), []
    for first in range(0, len(sites), n_rows):
        chosen = sites[first : first + n_rows]
        edits = {site: _moved(donors[site], row, setting.n_patched) for row, site in enumerate(chosen)}
        found += (_corrupt(model, setting, edits, len(chosen)) - start).tolist()
    return found


def _corrupt(model: CodeModel, setting: Setting, edits: dict[Site, EditFunction], n_rows: int) -> Tensor:
    with edit(model, {str(site): function for site, function in edits.items()}):
        return difference(model, torch.tensor([setting.corrupt] * n_rows, device=model.device), setting)


def _moved(donor: Tensor, row: int | None, n_patched: int) -> EditFunction:
    rows = slice(None) if row is None else row

    def move(hidden: Tensor, at: Tensor) -> Tensor:
        new = hidden.clone()
        new[rows, -n_patched:] = donor[-n_patched:].to(hidden.dtype)
        return new

    return move


def patch_by_gradient(model: CodeModel, setting: Setting, sites: Sequence[Site]) -> list[float]:
    """Approximate `patch` to first order: (clean - corrupt activation) x gradient at the corrupt run.

    Returns:
        The estimated rise of logit(answer) - logit(foil), in nats, one number a site.

    Source: Nanda 2023, "Attribution patching: activation patching at industrial scale"; Syed et al. 2023,
    arXiv:2310.10348, whose patches run from corrupt to clean; the roles here are the former's.
    """
    clean, _ = read(model, setting.clean, setting, sites)
    corrupt, _ = read(model, setting.corrupt, setting, sites)
    added = {site: torch.zeros_like(corrupt[site], requires_grad=True) for site in sites}

    def adder(site: Site) -> EditFunction:
        return lambda hidden, at: hidden + added[site]

    with torch.enable_grad(), edit(model, {site: adder(site) for site in sites}):
        value = difference(model, torch.tensor([setting.corrupt], device=model.device), setting)
        gradients = torch.autograd.grad(value.sum(), [added[site] for site in sites])
    n = setting.n_patched
    moved = (clean[site][-n:] - corrupt[site][-n:] for site in sites)
    return [float((step.double() * g[-n:].double()).sum()) for step, g in zip(moved, gradients, strict=True)]
