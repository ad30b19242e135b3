"""An independent model's opinion: how probable it finds the answers that another model gave.

    opinion = opinion_of(small, labelled)              # one pass over prompts and answers, no generation
    evaluate(labelled, opinion=opinion)                # two baselines more, on the same rows

A predictor that does not beat it knows how hard the questions are, not what the model that answered knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.positions import Passage
from ellora_trust.prompts import Format, render
from ellora_trust.runs import run

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Opinion:
    """What one model thinks of another's answers.

    Attributes:
        model: Its name.
        fingerprint: Of its weights.
        sha256: Of the ids, answers and outcomes it is about.
        logprobs: log p of each token of each answer, by its own tokenizer, in nats.
    """

    model: str
    fingerprint: str
    sha256: str
    logprobs: list[list[float]]

    def columns(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return risk scores of some rows, name -> (n,); nats, higher means less probable.

        Args:
            rows: Row numbers of the labelled set.
        """
        picked = [self.logprobs[i] for i in rows.tolist()]
        return {
            f"opinion of {self.model} (sum)": np.array([-sum(one) for one in picked], dtype=float),
            f"opinion of {self.model} (mean)": np.array([-sum(one) / max(len(one), 1) for one in picked], dtype=float),
        }

    def check(self, labelled: Labelled) -> None:
        """Refuse another set than the one it is about.

        Raises:
            InputError: It is another.
        """
        if labelled.content_hash() != self.sha256:
            raise InputError(
                f"the opinion of {self.model} is about {len(self.logprobs)} other answers than these "
                f"{len(labelled.examples)} of {labelled.name}; take it again with opinion_of(model, labelled)"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Return the opinion that `to_dict` gave."""
        return cls(raw["model"], raw["fingerprint"], raw["sha256"], raw["logprobs"])


def opinion_of(
    model: CodeModel,
    labelled: Labelled,
    *,
    format: Format = "auto",
    store: Path | None = None,
    progress: bool = False,
) -> Opinion:
    """Let a model that did not answer say how probable it finds each answer.

    The answer's text is read, without the token that ended it: another tokenizer may have no such token.

    Args:
        model: The independent model.
        labelled: Questions and answers; activations are not used.
        format: How the question is put to this model.
        store: Folder for shards, to resume from.
        progress: Show a progress bar.

    Raises:
        InputError: A question with its answer is longer than this model's context.
    """
    passages = [_passage(model, labelled, i, format) for i in range(len(labelled.examples))]
    label = f"{_short(model.name)} reading {labelled.name}"
    scored = run(model, passages, score=True, store=store, progress=progress, label=label)
    logprobs = [[float(value) for value in generation.logprobs] for generation in scored.generations]
    return Opinion(_short(model.name), model.fingerprint, labelled.content_hash(), logprobs)


def _passage(model: CodeModel, labelled: Labelled, row: int, format: Format) -> Passage:
    example, generation = labelled.examples[row], labelled.generations[row]
    if generation.finish == "given":
        return Passage(example.prompt, generation.text)
    return Passage(render(model, example, format=format, header=labelled.header).text, generation.text)


def _short(name: str) -> str:
    """A folder's last part; a hub id or a built-in name as it is."""
    return Path(name).name if Path(name).is_absolute() else name
