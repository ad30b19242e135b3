"""Some rows of a labelled set, and sets whose groups would leak.

kept = subset(labelled, np.flatnonzero(labelled.decided))
refuse_split_duplicates(kept)
"""

from __future__ import annotations

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.store import Activations


def subset(labelled: Labelled, rows: np.ndarray) -> Labelled:
    """Return some rows of a labelled set."""
    pick = rows.tolist()
    return Labelled(
        labelled.name,
        [labelled.examples[i] for i in pick],
        [labelled.generations[i] for i in pick],
        [labelled.outcomes[i] for i in pick],
        Activations({key: labelled.activations.vectors(*key)[rows] for key in labelled.activations}),
        labelled.prompt_format,
        labelled.header,
    )


def refuse_split_duplicates(labelled: Labelled) -> None:
    """Refuse a set in which one prompt belongs to two groups.

    Raises:
        InputError: It does.
    """
    home: dict[str, str] = {}
    for example in labelled.examples:
        if home.setdefault(example.prompt, example.group) != example.group:
            raise InputError(
                f"the prompt of example {example.id!r} is in groups {home[example.prompt]!r} and {example.group!r}, "
                "which leaks its answer between folds; give equal and near-equal prompts one group"
            )
