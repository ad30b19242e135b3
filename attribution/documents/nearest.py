"""The documents of the highest influence: counted by the short rows, the best compared again by the longer ones.

nearest(index, index.rows(targets), k=10)[0][0].id
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from attribution.gradient.encoding import Encoding, products

if TYPE_CHECKING:
    from attribution.index import GradientIndex

# Rows that the second, closer comparison looks at, for each hit asked for and at the least.
_CANDIDATES, _AT_LEAST = 8, 64


@dataclass(frozen=True)
class Hit:
    """A training document that an answer comes from.

    Attributes:
        id: The document's.
        score: Influence, in units that are comparable within one target.
        sign: `proponent` where reading it made the target likelier, else `opponent`.
        columns: What the corpus says of it: path, licence and the like.
    """

    id: str
    score: float
    sign: Literal["proponent", "opponent"]
    columns: Mapping[str, Any]


def nearest(
    index: GradientIndex, rows: Mapping[Encoding, NDArray[np.float32]], k: int, *, opponents: bool
) -> list[list[Hit]]:
    """Return the k best documents of each target, (n_targets, width) rows by encoding; best first."""
    side = -1.0 if opponents else 1.0
    first: Encoding = "bits" if index.plan.bits else "int8"
    hits = []
    for number, scores in enumerate(index.scan(rows[first], first)):
        n_kept = min(max(_CANDIDATES * k, _AT_LEAST), len(scores))
        best = np.argpartition(-side * scores, n_kept - 1)[:n_kept]
        if first != index.closest:
            scores = scores.copy()
            scores[best] = _closer(index, best, rows[index.closest][number])
        ranked = best[np.argsort(-side * scores[best], kind="stable")][:k]
        hits.append([_hit(index, int(place), float(scores[place])) for place in ranked])
    return hits


def _closer(index: GradientIndex, places: NDArray[np.intp], row: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of some documents by the rows that tell more."""
    found = np.empty(len(places), np.float32)
    for number, place in enumerate(places):
        shard, within = index.found(int(place))
        stored = {name: values[within : within + 1] for name, values in shard.stored[index.closest].items()}
        found[number] = products(stored, row, index.closest)[0]
    return found


def _hit(index: GradientIndex, place: int, score: float) -> Hit:
    shard, within = index.found(place)
    record = shard.records[within]
    return Hit(record["id"], score, "proponent" if score > 0 else "opponent", record["columns"])
