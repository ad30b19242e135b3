"""What every tool of the comparison is given and has to answer.

    tool = make(material, folder)
    tool.build(); tool.n_bytes; tool.scores(material.targets); tool.ask(target)

A tool reads token ids and labels, so that all see the same tokens and the same loss: minus the log-probability, summed
over a document's tokens or over an answer's.
"""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from attribution.documents.building import Source
from attribution.gradient.losses import Counted
from ellora_trust.model import CodeModel

Scores = NDArray[np.floating]
IGNORED = -100  # the label of a token that is not part of the loss, for transformers and both peers


@dataclass(frozen=True)
class Material:
    """A model and the texts it is asked about.

    Attributes:
        model: The model.
        checkpoint: Its folder.
        sources: Documents.
        documents: The same, tokenised.
        targets: Questions.
    """

    model: CodeModel
    checkpoint: Path
    sources: Sequence[Source]
    documents: Sequence[Counted]
    targets: Sequence[Counted]


class Tool(Protocol):
    """One way of attributing.

    Attributes:
        n_bytes: Stored a document once built; 0 where nothing is kept of single documents.
    """

    n_bytes: int

    def build(self) -> None:
        """Do all that can be done before the first question."""
        ...

    def scores(self, targets: Sequence[Counted]) -> Scores:
        """Return the score of every document for each target, (n_targets, n_documents)."""
        ...

    def ask(self, target: Counted) -> object:
        """Answer one question that comes later."""
        ...


Make = Callable[[Material, Path], Tool]


def missing(package: str) -> str | None:
    """Return in one line why a package cannot be imported, None if it can."""
    try:
        with quiet():
            importlib.import_module(package)
    # A torchvision that does not match torch raises RuntimeError while it is imported.
    except (ImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the peers' own progress out of the tables."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def row(text: Counted) -> dict[str, Any]:
    """Return token ids, labels and length, as the peers take them."""
    labels = [one if weight else IGNORED for one, weight in zip(text.ids, text.weights, strict=True)]
    return {"input_ids": list(text.ids), "labels": labels, "length": len(text.ids)}
