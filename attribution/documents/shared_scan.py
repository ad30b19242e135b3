"""A question asked of an index by several processes: each compares its share of the shards and leaves the scores there.

place = place_of(folder, {"prompt": prompt, "answer": answer})
complete = scan_share(index, target, share, place)       # in each process; True once all scores are there
scores = kept_scores(index, place)                       # (1, n_documents), or None while some are missing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attribution.gradient.losses import Target
from ellora_trust.cachedir import explained, replacing
from ellora_trust.share import Share

if TYPE_CHECKING:
    from attribution.index import GradientIndex

_FOLDER, _KEY = "asked", "scores"


def place_of(folder: Path, question: Mapping[str, Any]) -> Path:
    """Return where a question's scores lie: known by words and model, since two machines' gradients differ in bits."""
    return folder / _FOLDER / hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]


def any_kept(folder: Path) -> bool:
    """Whether shares ever left scores in an index's folder; which ones takes reading the head of every shard."""
    return (folder / _FOLDER).exists()


def scan_share(index: GradientIndex, target: Target, share: Share, place: Path) -> bool:
    """Score the documents of this share's shards, unless they are; return whether all shards have scores now.

    Raises:
        EnvironmentProblem: The index's folder cannot be written.
    """
    from safetensors.numpy import save_file

    encoding = index.closest
    missing = [n for n in range(index.n_shards) if share.has(n) and not _file(place, n).exists()]
    if missing:
        rows = index.rows([target])[encoding]
        with explained(place):
            place.mkdir(parents=True, exist_ok=True)
        for number in missing:
            with replacing(_file(place, number)) as beside:
                save_file({_KEY: index.scan(rows, encoding, shards=[number])}, beside)
    return all(_file(place, number).exists() for number in range(index.n_shards))


def kept_scores(index: GradientIndex, place: Path) -> NDArray[np.float32] | None:
    """Return the scores that shares left, (1, n_documents); None where some are missing."""
    from safetensors.numpy import load_file

    files = [_file(place, number) for number in range(index.n_shards)]
    if not all(file.exists() for file in files):
        return None
    return np.concatenate([load_file(file)[_KEY] for file in files], axis=1)


def _file(place: Path, number: int) -> Path:
    return place / f"scores-{number:05d}.safetensors"
