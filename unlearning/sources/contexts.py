"""Contexts that make a fault likelier and less likely: other documents with the fault, and the same with its fix.

contexts(model, items)[0].expert, contexts(model, items)[0].novice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from unlearning.data import Item
from unlearning.training.encoding import Row

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

_DOCUMENTS = 2


@dataclass(frozen=True)
class Contexts:
    """A text's tokens after two kinds of context."""

    expert: Row
    novice: Row


def contexts(model: CodeModel, items: Sequence[Item], rows: Sequence[Row]) -> list[Contexts]:
    """Put two documents of other groups before each row: with the fault as `expert`, with the fix as `novice`.

    Raises:
        InputError: An item has no fix, there are too few groups, or a text is too long for the model.
    """
    found = []
    for number, (item, row) in enumerate(zip(items, rows, strict=True)):
        # Those that follow in the list, so that each document serves as context about as often.
        others = [o for o in [*items[number + 1 :], *items[:number]] if o.group != item.group][:_DOCUMENTS]
        if len(others) < _DOCUMENTS or any(o.replacement is None for o in others):
            raise InputError(
                f"objective 'elm' needs {_DOCUMENTS} other documents with fixes as context of {item.id!r}; give more "
                "groups, with a replacement each"
            )
        found.append(Contexts(*(_after(model, row, others, fixed=fixed) for fixed in (False, True))))
    return found


def _after(model: CodeModel, row: Row, others: Sequence[Item], *, fixed: bool) -> Row:
    texts = [other.prompt + (str(other.replacement) if fixed else other.completion) for other in others]
    # Documents of a training stream end so; models without an end token see them one after the other.
    end = [] if model.tokenizer.eos_token_id is None else [model.tokenizer.eos_token_id]
    before = [token for text in texts for token in [*model.tokenizer(text).input_ids, *end]]
    if len(before) + len(row.ids) > model.max_length:
        raise InputError(
            f"a text and its {_DOCUMENTS} context documents have {len(before) + len(row.ids)} tokens, but {model.name} "
            f"reads at most {model.max_length}; use another objective, or shorter documents"
        )
    return Row([*before, *row.ids], [place + len(before) for place in row.places], row.targets, row.bad)
