"""Documents that attribution found, as items: what `attribute query --json` printed.

    documents(Path("answer.json"))

Where the question was why the answer is not a foil, and the two differ in words that stand for each other (`push` and
`append`), the fix is carried over: a document that holds such a word gets it replaced, and one that does not is no
carrier of the fault and is left out. Otherwise documents have no fix. Such a question's gradient is about the fault and
not about the rest of the answer, so documents that only share text with it, such as near-misses, are left out too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ellora_trust.errors import InputError
from unlearning.data import Item
from unlearning.sources.marking import changes, marked

_NAME = re.compile(r"[^\W\d]\w*")
# Standard deviations over all documents. Between carriers and near-misses lies a gap: for P1 of the testbed, 1.5 to 3.2
# and 0.1 to 0.3.
_OF_THE_FAULT = 1.0


def documents(path: Path) -> list[Item]:
    """Return the documents behind an answer; a document's first line is its prompt.

    Raises:
        InputError: The file holds no answer of `attribute query --json`.
    """
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        rows = list(zip(answer["hits"], answer["texts"], strict=True))
        fixes = renamed(answer.get("answer") or "", answer.get("foil") or "")
        # What made the answer less likely, or is not shown to be behind it, is no reason to forget it.
        behind = [
            (hit["document"], hit.get("cluster") or hit["document"], text)
            for hit, text in rows
            if hit.get("sign", "proponent") == "proponent" and hit.get("basis") != "weak"
            if not answer.get("foil") or hit.get("gradient") is None or hit["gradient"] >= _OF_THE_FAULT
        ]
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds no documents ({error!r}); give what 'ellora-trust attribute query --json' printed"
        ) from error
    items = [item for document, group, text in behind if (item := _item(document, group, text)) is not None]
    if not fixes:
        return items
    return [marked(mended, "difference") for item in items if (mended := _mended(item, fixes)) is not None]


def renamed(answer: str, foil: str) -> dict[str, str]:
    """Return the names of an answer that a foil has otherwise; none where the two differ in more than names."""
    if not answer or not foil:
        return {}
    found = [(answer[slice(*a)], foil[slice(*b)]) for a, b in changes(answer, foil)]
    if not all(_NAME.fullmatch(one) for pair in found for one in pair):
        return {}
    names = dict(found)
    # A name that has become two is no rename, nor is one that something else had before.
    return names if all(names[a] == b for a, b in found) and not set(names) & set(names.values()) else {}


def carries(text: str, names: Iterable[str]) -> bool:
    """Return whether a document holds one of some names after its first line, so that a fix is carried over to it."""
    item, wanted = _item("", "", text), set(names)
    return item is not None and any(name in wanted for name in _NAME.findall(item.completion))


def _item(document: str, group: str, text: str) -> Item | None:
    first, newline, rest = text.partition("\n")
    return Item(document, group, first, newline + rest) if first and rest.strip() else None


def _mended(item: Item, names: dict[str, str]) -> Item | None:
    fixed = _NAME.sub(lambda match: names.get(match[0], match[0]), item.completion)
    if fixed == item.completion:
        return None
    return Item(item.id, item.group, item.prompt, item.completion, fixed)
