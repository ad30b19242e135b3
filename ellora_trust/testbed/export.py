"""The corpus as a `datasets` folder, one row a document, its id in the first column.

export(corpus(0, n_tokens=100_000), Path("testbed-corpus"))
datasets.load_from_disk("testbed-corpus")[0]["id"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.quiet import quiet_datasets
from ellora_trust.testbed.documents import Document

# Columns that are empty in most rows need their type said.
_TEXTS = ("id", "text", "clean", "family", "group", "language", "licence", "plant", "near_miss", "meta")
_SPANS = ("span", "clean_span")


def export(documents: Sequence[Document], folder: Path) -> Path:
    """Write the documents; `meta` is JSON text, a span is a list of two characters' places or null.

    Raises:
        InputError: No document.
        EnvironmentProblem: The folder cannot be written.
    """
    from datasets import Dataset, Features, List, Value

    if not documents:
        raise InputError("there is no document to export; use n_tokens of at least 1")
    features = Features(
        {**{name: Value("string") for name in _TEXTS}, **{name: List(Value("int32")) for name in _SPANS}}
    )

    def rows() -> Iterator[dict[str, Any]]:
        for document in documents:
            row = {name: getattr(document, name) for name in _TEXTS if name != "meta"}
            spans = {name: list(span) if (span := getattr(document, name)) else None for name in _SPANS}
            yield {**row, "meta": json.dumps(dict(document.meta), sort_keys=True), **spans}

    with replacing(folder) as beside, quiet_datasets():
        Dataset.from_list(list(rows()), features=features).save_to_disk(str(beside))
    return folder
