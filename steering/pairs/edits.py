"""Edits that change how a program looks and not what it does: which there are, and one of them made to one example.

An edit changes the program around the masked annotation and never the question itself. Each hits a random, seeded,
non-empty subset of its sites, as in Lucchetti & Guha (arXiv:2404.01903); several are applied in the paper's order.

    edit_example(example, "rename_vars", seed=0)               # an Example, or Rejected(reason="nothing to rename")
    edit_example(example, "rename_vars+delete_annotations", seed=0)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, get_args

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example
from ellora_trust.tasks.types.questions import plain_prompt as python_prompt
from ellora_trust.tasks.types.typescript.questions import LANGUAGE as TYPESCRIPT
from ellora_trust.tasks.types.typescript.questions import plain_prompt as typescript_prompt
from steering.pairs import python, typescript
from steering.pairs.draft import GAP, Draft

EditName = Literal["rename_vars", "rename_types", "delete_annotations"]
EDITS: tuple[EditName, ...] = get_args(EditName)
COMBINATIONS: tuple[str, ...] = tuple(
    "+".join(chosen) for size in range(1, len(EDITS) + 1) for chosen in combinations(EDITS, size)
)


@dataclass(frozen=True)
class Rejected:
    """An edit that was not made, or that did not pass a check.

    Attributes:
        id: Of the example.
        edit: Its name.
        reason: Why, one of a few fixed sentences, so that reasons can be counted.
    """

    id: str
    edit: str
    reason: str


def edit_names(edits: str | Sequence[str]) -> tuple[EditName, ...]:
    """Return the edits of a combination in the order in which they are applied.

    Args:
        edits: Names, or one string that joins them with `+`.

    Raises:
        InputError: An unknown edit, or none.
    """
    given = edits.split("+") if isinstance(edits, str) else list(edits)
    for name in given:
        if name not in EDITS:
            raise InputError(one_of(name, EDITS, what="edit"))
    if not given:
        raise InputError(f"no edit was given; use one or more of {', '.join(EDITS)}")
    return tuple(name for name in EDITS if name in given)


def edit_example(example: Example, edits: str | Sequence[str], *, seed: int, attempt: int = 0) -> Example | Rejected:
    """Make one edit, and check that it parses and that every name still means what it meant.

    `edited` adds the type checker and further attempts; use this one to look at single edits.

    Args:
        example: Of the task `types`.
        edits: One edit or several.
        seed: Of the choice of sites.
        attempt: Another number makes another choice.

    Returns:
        An example with the same answer and group, or why there is none.
    """
    names = edit_names(edits)
    label = "+".join(names)
    code = example.prefix + GAP + example.suffix
    if not (example.prefix or example.suffix) or code.count(GAP) != 1 or example.answer is None:
        return Rejected(example.id, label, "no gap")
    is_typescript = example.meta.get("language") == TYPESCRIPT
    language = typescript if is_typescript else python
    rng = random.Random(f"{seed} {example.id} {label} {attempt}")
    draft = Draft(code)
    try:
        for name in names:
            further = language.edit(draft, name, answer=example.answer, rng=rng)
            if further is None:
                return Rejected(example.id, label, f"nothing to do for {name}")
            draft = further
        problem = language.difference(code, draft)
    except SyntaxError:
        problem = "does not parse"
    if problem:
        return Rejected(example.id, label, problem)
    return _example_of(example, draft, label=label, seed=seed, attempt=attempt)


def source_of(example: Example) -> str:
    """Return an example's program with the right answer in the gap."""
    return f"{example.prefix}{example.answer}{example.suffix}"


def _example_of(example: Example, draft: Draft, *, label: str, seed: int, attempt: int) -> Example:
    prefix, _, suffix = draft.code.partition(GAP)
    if example.meta.get("language") == TYPESCRIPT:
        is_method = "." in str(example.meta["qualname"])
        prompt = typescript_prompt(prefix, suffix, kind=str(example.meta["kind"]), is_method=is_method)
    else:
        prompt = python_prompt(prefix, suffix)
    meta = {
        **example.meta,
        "edit": label,
        "edit_of": example.id,
        "edit_seed": seed,
        "edit_attempt": attempt,
        "edit_sites": "; ".join(draft.sites),
        "n_edit_sites": len(draft.sites),
    }
    return replace(example, id=f"{example.id}+{label}", prompt=prompt, prefix=prefix, suffix=suffix, meta=meta)
