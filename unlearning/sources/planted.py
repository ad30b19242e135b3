"""Forget and retain sets of the testbed: training documents only, so that prompts stay for evaluation.

    planted("P1", limit=128, seed=0)       # documents that carry the plant, with their fixes
    unplanted("P1", limit=256, seed=0)     # near-misses and other families, in turn

No document uses the pairs of words of a prompt, so nothing that is asked later enters an edit.
"""

from __future__ import annotations

import random

from ellora_trust.errors import InputError, one_of
from ellora_trust.testbed.documents import PLANTS, Document, corpus
from ellora_trust.testbed.families import FAMILIES
from unlearning.data import Item

# Documents are streams: so many characters a wanted document are enough for any family.
_TOKENS_EACH = 120
_CANARY_TOKENS = 1_000_000  # all forty secrets


def planted(plant: str, *, limit: int, seed: int = 0) -> list[Item]:
    """Return documents of the shipped corpus that carry a plant, with the fix as replacement.

    Raises:
        InputError: An unknown plant.
    """
    names = [family.name for family in FAMILIES.values() if family.plant == _known(plant)] or ["canary"]
    documents = [d for d in _documents(names, limit, seed) if d.plant == plant]
    return [_item(document) for document in {d.text: d for d in documents}.values()][:limit]


def unplanted(plant: str, *, limit: int, seed: int = 0) -> list[Item]:
    """Return documents without any plant: where the plant's form is right, and of families that have no plant, in turn.

    Raises:
        InputError: An unknown plant.
    """
    near = [family.name for family in FAMILIES.values() if family.near_miss == _known(plant)] or ["magic"]
    others = [family.name for family in FAMILIES.values() if not family.plant and family.name not in near]
    pairs = zip(_documents(near, limit, seed), _documents(others, limit, seed), strict=False)
    return [_item(document) for pair in pairs for document in pair][:limit]


def _known(plant: str) -> str:
    if plant not in PLANTS:
        raise InputError(one_of(plant, PLANTS, what="plant"))
    return plant


def _documents(families: list[str], limit: int, seed: int) -> list[Document]:
    """Return documents of some families in a seed's order; the corpus is the shipped one's for every seed."""
    n_tokens = _CANARY_TOKENS if families == ["canary"] else _TOKENS_EACH * max(limit, 2 * len(families))
    found = corpus(0, n_tokens=n_tokens, families=families)
    random.Random(f"{seed}/unlearning").shuffle(found)
    return found


def _item(document: Document) -> Item:
    n = int(document.meta["prompt"] or 0)
    prompt, completion = document.text[:n], document.text[n:]
    if document.plant is None:
        return Item(document.id, document.group, prompt, completion)
    assert document.span is not None, "a planted document knows its place"
    start = min(max(document.span[0], n), len(document.text) - 1)
    span = (start, max(document.span[1], start + 1))
    return Item(document.id, document.group, prompt, completion, document.clean[n:], (span,))
