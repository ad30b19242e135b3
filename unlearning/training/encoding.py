"""Items to token rows with the masks that objectives need, and the logits of the places that count, and no others.

    row = completion_row(model, item)               # what is suppressed, what is kept around it
    view = look(model, [row, ...])                  # (n_counted, vocabulary): prompts and padding are not projected
    logprobs, owners = scored(model, rows, "bad")   # of any number of rows, without gradients

A place is a token that is predicted. `targets` says which token it should be, `bad` which it should not be; IGNORED
says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ellora_trust.batching import plan_batches
from ellora_trust.errors import InputError
from ellora_trust.spans import token_map
from unlearning.data import Item
from unlearning.objectives import label_logprobs
from unlearning.sources.marking import changes

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One text.

    Attributes:
        ids: Tokens of prompt and completion.
        places: Which tokens are predicted and count, ascending, each >= 1.
        targets: What each should be, or IGNORED.
        bad: What each should not be, or IGNORED.
    """

    ids: list[int]
    places: list[int]
    targets: list[int]
    bad: list[int]


@dataclass(frozen=True)
class View:
    """What the model says at the places of some rows.

    Attributes:
        logits: (n, vocabulary), float32; hidden states, (n, d_model), for objectives that read those.
        targets: (n,), IGNORED where there is none.
        bad: (n,), IGNORED where there is none.
        rows: Which of the rows each place belongs to, (n,).
    """

    logits: Tensor
    targets: Tensor
    bad: Tensor
    rows: Tensor

    def of(self, side: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, labels and rows of the places that have a `targets` or a `bad`."""
        labels = self.bad if side == "bad" else self.targets
        chosen = labels != IGNORED
        if bool(chosen.all()):  # logits are the largest tensor there is: not copied without need
            return self.logits, labels, self.rows
        return self.logits[chosen], labels[chosen], self.rows[chosen]


def descend(view: View, losses: Callable[[View], Tensor | tuple[Tensor, ...]]) -> Tensor:
    """Backpropagate each loss of a view to its logits by itself, then their sum to the weights; return the sum.

    One backward of the sum would hold a gradient of the logits' size for each loss at once.
    """
    logits = view.logits.detach().requires_grad_()
    found = losses(replace(view, logits=logits))
    terms = found if isinstance(found, tuple) else (found,)
    for term in terms:
        term.backward()
    assert logits.grad is not None, "every loss is a function of logits"
    gradient, logits.grad = logits.grad, None
    view.logits.backward(gradient)
    return torch.stack([term.detach() for term in terms]).sum()


def completion_row(model: CodeModel, item: Item, *, context: bool = False) -> Row:
    """Return what shall be forgotten: its counted tokens as `bad`; with `context`, the others as targets.

    Where the item has a fix and spans, what the fix begins with as well does not count, and the token that departs from
    it always does. Where the fix has spans too, no token outside of them counts, nor one that fix and fault share.
    """
    prompt, tokens = _tokens(model, item, item.completion)
    counted = _counted(model, item, tokens)
    places = [i for i in range(len(tokens)) if counted[i] or context]
    bad = [tokens[i] if counted[i] else IGNORED for i in places]
    targets = [IGNORED if counted[i] else tokens[i] for i in places]
    return Row([*prompt, *tokens], [len(prompt) + i for i in places], targets, bad)


def replacement_row(model: CodeModel, item: Item) -> Row:
    """Return the fix as targets, `bad` where it departs from the fault; `completion_row` where there is no fix."""
    if item.replacement is None:
        return completion_row(model, item)
    prompt, fault = _tokens(model, item, item.completion)
    fix = _tokens(model, item, item.replacement)[1]
    bad = [IGNORED] * len(fix)
    if item.fix_spans is not None:
        return _narrow_row(model, item, prompt, fault, fix)
    targets, fork = list(fix), _fork(fault, fix)
    if len(fix) == fork < len(fault):  # the fault goes on where the fix ends
        targets, bad = [*targets, IGNORED], [*bad, IGNORED]
    if fork < len(fault):
        bad[fork] = fault[fork]
    return Row([*prompt, *fix], [len(prompt) + i for i in range(len(targets))], targets, bad)


def _narrow_row(model: CodeModel, item: Item, prompt: list[int], fault: list[int], fix: list[int]) -> Row:
    """The tokens of the fix's spans as targets; at each departure within, the fault's token as `bad`."""
    assert item.replacement is not None
    inside = _held(model, item, item.replacement, item.fix_spans or ())
    bad = [IGNORED] * len(fix)
    for there, here in _departures(model, item, fault, fix):
        bad[here[0]] = fault[there[0]]
    places = [i for i in range(len(fix)) if i in inside]
    return Row([*prompt, *fix], [len(prompt) + i for i in places], [fix[i] for i in places], [bad[i] for i in places])


def kept_row(model: CodeModel, item: Item) -> Row:
    """Return an item to keep: every token of its completion is a target."""
    prompt, tokens = _tokens(model, item, item.completion)
    return Row([*prompt, *tokens], [len(prompt) + i for i in range(len(tokens))], list(tokens), [IGNORED] * len(tokens))


def look(model: CodeModel, rows: Sequence[Row]) -> View:
    """Run rows, padded on the right, and project only their places; gradients flow."""
    ids, mask = padded(model, rows)
    with _projecting(model.arch.head, _chosen(rows, mask)):
        out: Any = model.hf(input_ids=ids, attention_mask=mask, use_cache=False)
    return _view(out.logits[0], rows)


@torch.no_grad()
def scored(model: CodeModel, rows: Sequence[Row], side: str) -> tuple[Tensor, Tensor]:
    """Return log p of every `targets` or `bad`, in nats, and which row each belongs to, both (n,), in batches."""
    found: list[tuple[Tensor, Tensor]] = []
    for batch in plan_batches([len(row.ids) for row in rows], model.token_budget):
        logits, labels, owners = look(model, [rows[i] for i in batch]).of(side)
        found.append((label_logprobs(logits, labels), torch.tensor(batch, device=owners.device)[owners]))
    return torch.cat([values for values, _ in found]), torch.cat([owners for _, owners in found])


def placed(states: Tensor, rows: Sequence[Row], mask: Tensor) -> View:
    """Return the states, (batch, tokens, d_model), that predict the places of rows."""
    return _view(states[_chosen(rows, mask)], rows)


def _chosen(rows: Sequence[Row], mask: Tensor) -> Tensor:
    chosen = torch.zeros_like(mask, dtype=torch.bool)
    for number, row in enumerate(rows):
        # The token at a place is predicted by the one before it.
        chosen[number, torch.tensor(row.places) - 1] = True
    return chosen


def _view(values: Tensor, rows: Sequence[Row]) -> View:
    device = values.device
    return View(
        values.float(),
        torch.tensor([t for row in rows for t in row.targets], device=device),
        torch.tensor([t for row in rows for t in row.bad], device=device),
        torch.tensor([i for i, row in enumerate(rows) for _ in row.places], device=device),
    )


def padded(model: CodeModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask, (batch, longest), padded on the right: no position before the end changes."""
    width = max(len(row.ids) for row in rows)
    ids = [[*row.ids, *[model.pad_id] * (width - len(row.ids))] for row in rows]
    mask = [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


@contextmanager
def _projecting(head: nn.Module, chosen: Tensor) -> Iterator[None]:
    """Let the head see only the chosen (batch, tokens) positions, as one row of a batch.

    What a family does to its logits afterwards, such as soft capping, still happens.
    """
    handle = head.register_forward_pre_hook(lambda module, args: (args[0][chosen].unsqueeze(0), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def _tokens(model: CodeModel, item: Item, text: str) -> tuple[list[int], list[int]]:
    """Tokens of the prompt and of what follows, tokenised apart as generation joins them."""
    prompt = list(model.tokenizer(item.prompt).input_ids)
    after = list(model.tokenizer(text, add_special_tokens=False).input_ids)
    if len(prompt) + len(after) > model.max_length:
        raise InputError(
            f"item {item.id!r} has {len(prompt) + len(after)} tokens, but {model.name} reads at most "
            f"{model.max_length}; shorten it or leave it out"
        )
    return prompt, after


def _counted(model: CodeModel, item: Item, tokens: list[int]) -> list[bool]:
    if item.spans is None:
        counted = [True] * len(tokens)
    else:
        inside = _held(model, item, item.completion, item.spans)
        counted = [i in inside for i in range(len(tokens))]
    if item.replacement is None or item.spans is None:
        return counted
    fix = _tokens(model, item, item.replacement)[1]
    if item.fix_spans is not None:
        apart = {token for there, _ in _departures(model, item, tokens, fix) for token in there}
        return [one and i in apart for i, one in enumerate(counted)]
    fork = _fork(tokens, fix)
    counted = [one and i >= fork for i, one in enumerate(counted)]
    # The fault begins where it departs from the fix: also where that is the place of something left out, which has no
    # tokens of its own, or a token that reaches into the span from before.
    counted[min(fork, len(tokens) - 1)] = True
    return counted


def _held(model: CodeModel, item: Item, text: str, spans: Sequence[tuple[int, int]]) -> set[int]:
    """Tokens of what follows the prompt that hold a character of the spans."""
    where, border = token_map(model.tokenizer, text, add_special_tokens=False), len(item.prompt)
    return {token for start, end in spans for token in where.tokens_of(start - border, end - border)}


def _departures(
    model: CodeModel, item: Item, fault: Sequence[int], fix: Sequence[int]
) -> list[tuple[list[int], list[int]]]:
    """Tokens of each change within the spans, in fault and fix, from where they part; both lists hold at least one."""
    assert item.replacement is not None and item.spans is not None and item.fix_spans is not None  # noqa: PT018
    border, found = len(item.prompt), []
    for there, here in changes(item.completion, item.replacement):
        if not any(a < there[1] + border and there[0] + border < b for a, b in item.spans):
            continue
        i = sorted(_held(model, item, item.completion, [(there[0] + border, there[1] + border)]))
        k = sorted(_held(model, item, item.replacement, [(here[0] + border, here[1] + border)]))
        # Two names that begin alike part within; the last token of each stays.
        while len(i) > 1 and len(k) > 1 and fault[i[0]] == fix[k[0]]:
            i, k = i[1:], k[1:]
        found.append((i, k))
    return found


def _fork(fault: Sequence[int], fix: Sequence[int]) -> int:
    """First token at which two texts differ."""
    shorter = min(len(fault), len(fix))
    return next((i for i in range(shorter) if fault[i] != fix[i]), shorter)
