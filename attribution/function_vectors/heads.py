"""Which heads carry the task: what each does for the answer where its output is put into an uninformed prompt.

    outputs = head_outputs(model, prompts)                       # (n_prompts, n_sites, head_dim)
    effects = indirect_effects(model, query, sites, means)       # nats, (n_sites,)

Only the prompt's last token is replaced, so everything before it is run once for all heads.

Source: Todd et al. 2024, arXiv:2310.15213, equations 2 to 4. Departure: the effect is on log p of the answer's first
tokens in nats, not on the probability of its first token, which in a function's body is a line break.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attribution.function_vectors.queries import Query
from ellora_trust.errors import InputError
from ellora_trust.hooks import EditFunction, capture, edit
from ellora_trust.inference import SharedPrefix, State, forward, run_chunk
from ellora_trust.sites import Site, resolve

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Tokens of the answer that count: what comes later is the text's affair more than the task's.
ANSWER_TOKENS = 12


def head_sites(model: CodeModel) -> list[Site]:
    """Return all heads.

    Raises:
        InputError: The heads of the model's layers are of different sizes.
    """
    sites = resolve(model, "head.*.*")
    if len({site.width(model.arch) for site in sites}) > 1:
        raise InputError(f"the heads of {model.name} differ in size, so their outputs cannot be compared; use attn.L")
    return sites


def head_outputs(model: CodeModel, prompts: Sequence[str], sites: Sequence[Site], *, progress: bool = False) -> Tensor:
    """Return heads' outputs at the last token of each prompt, (n_prompts, n_sites, head_dim), float32."""
    seen = capture(model, prompts, [str(site) for site in sites], "last", progress=progress)
    return torch.stack([seen.vectors(str(site), "last").float() for site in sites], 1)


@torch.no_grad()
def indirect_effects(model: CodeModel, query: Query, sites: Sequence[Site], means: Tensor) -> Tensor:
    """Return by how much log p of the answer rises after the uninformed prompt with one head's output replaced.

    Args:
        model: The model.
        query: With an uninformed prompt.
        sites: Heads.
        means: Their mean outputs at the last token over prompts that tell the query's task, (n_sites, head_dim).

    Returns:
        In nats, (n_sites,).
    """
    ids = model.tokenizer(query.uninformed).input_ids
    answer = model.tokenizer(query.answer, add_special_tokens=False).input_ids[:ANSWER_TOKENS]
    prefix = _prefix(model, ids[:-1])
    row = [*ids[len(prefix.ids) :], *answer[:-1]]
    n_rows = max(model.token_budget // (len(ids) + len(answer)), 1)
    (plain,) = _answered(model, [row], prefix, answer)
    found = []
    for first in range(0, len(sites), n_rows):
        chosen = range(first, min(first + n_rows, len(sites)))
        edits = {sites[n]: _replaced(means[n], n - first, len(ids) - 1) for n in chosen}
        with edit(model, edits):  # pyright: ignore[reportArgumentType]  # dict keys are invariant
            found.append(_answered(model, [row] * len(chosen), prefix, answer))
    return torch.cat(found) - plain


def first_order_effects(model: CodeModel, query: Query, sites: Sequence[Site], means: Tensor) -> Tensor:
    """Return `indirect_effects` to first order, by one backward for all heads: (mean - output) x gradient, (n_sites,).

    It tells which heads are worth the exact effect, which costs a row of a forward each.
    """
    ids = model.tokenizer(query.uninformed).input_ids
    answer = model.tokenizer(query.answer, add_special_tokens=False).input_ids[:ANSWER_TOKENS]
    outputs = head_outputs(model, [query.uninformed], sites)[0]
    moved = [torch.zeros(site.width(model.arch), device=model.device, requires_grad=True) for site in sites]
    rows = torch.tensor([[*ids, *answer[:-1]]], device=model.device)
    edits = {site: _moved(move, len(ids) - 1) for site, move in zip(sites, moved, strict=True)}
    with torch.enable_grad(), edit(model, edits):  # pyright: ignore[reportArgumentType]  # dict keys are invariant
        state = State(torch.ones_like(rows), None, None)
        run_chunk(model, rows, state, len(answer), False)
        assert state.logits is not None
        targets = torch.tensor(answer, device=model.device)
        value = torch.log_softmax(state.logits[0], -1).gather(-1, targets[:, None]).sum()
        gradients = torch.stack(torch.autograd.grad(value, moved))
    return ((means - outputs) * gradients.float().cpu()).sum(-1)


def _moved(move: Tensor, position: int) -> EditFunction:
    return lambda hidden, at: hidden + (at == position)[..., None] * move.to(hidden)


def _prefix(model: CodeModel, ids: list[int]) -> SharedPrefix:
    if not ids or not model.shares_prefixes(len(ids)):
        return SharedPrefix([])
    return SharedPrefix(ids, forward(model, [ids], keep_logits=0, use_cache=True).cache)


def _answered(model: CodeModel, rows: list[list[int]], prefix: SharedPrefix, answer: list[int]) -> Tensor:
    """log p of the answer after each row, in nats, (n_rows,)."""
    state = forward(model, rows, keep_logits=len(answer), use_cache=False, prefix=prefix)
    assert state.logits is not None
    targets = torch.tensor(answer, device=state.logits.device).expand(len(rows), -1)
    return torch.log_softmax(state.logits, -1).gather(-1, targets[..., None])[..., 0].sum(-1).cpu()


def _replaced(mean: Tensor, row: int, position: int) -> EditFunction:
    def replace(hidden: Tensor, at: Tensor) -> Tensor:
        new = hidden.clone()
        new[row, at[row] == position] = mean.to(hidden)
        return new

    return replace
