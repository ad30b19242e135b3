"""The setting of the linear datamodelling score: a reduced corpus, its random halves, and its questions.

setting = Setting()
setting.documents(), setting.subsets(len(documents)), queries(setting)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ellora_trust.testbed.documents import Document, corpus
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import held_pairs
from ellora_trust.testbed.recipe import Recipe
from ellora_trust.testbed.secrets import canaries
from ellora_trust.testbed.sketch import draw

BoolArray = NDArray[np.bool_]
_SKETCHES = 4  # questions of each family
_QUERY_SEED = 1  # unlike the corpus's own


@dataclass(frozen=True)
class Setting:
    """What the retrained models have in common."""

    n_tokens: int = 70_000
    """Size of the corpus."""
    corpus_seed: int = 0
    """Of the corpus."""
    n_subsets: int = 32
    """Random subsets."""
    n_seeds: int = 3
    """Models of each subset; the truth is their mean, and how far they agree says how much of a loss is chance."""
    alpha: float = 0.5
    """Share of the documents in a subset."""
    d_model: int = 96
    """Width of the models."""
    n_layers: int = 2
    """Blocks of the models."""
    batch: int = 32
    """Documents in a step of the full corpus."""
    epochs: int = 6
    """How often a document is read."""
    learning_rate: float = 4e-3
    """Peak; the schedule of the testbed's recipe."""

    def documents(self) -> list[Document]:
        """Return the reduced corpus."""
        return corpus(self.corpus_seed, n_tokens=self.n_tokens)

    def subsets(self, n_documents: int) -> BoolArray:
        """Return which documents are in which subset, (n_subsets, n_documents); each holds exactly a share `alpha`."""
        rng = np.random.default_rng([self.corpus_seed, self.n_subsets])
        size = round(self.alpha * n_documents)
        order = np.stack([rng.permutation(n_documents) for _ in range(self.n_subsets)])
        return order < size

    def recipe(self, seed: int, vocab_size: int) -> Recipe:
        """Return the recipe of one model."""
        return Recipe(
            seed=seed,
            n_tokens=self.n_tokens,
            corpus_seed=self.corpus_seed,
            d_model=self.d_model,
            n_layers=self.n_layers,
            vocab_size=vocab_size,
            learning_rate=self.learning_rate,
            fim_share=0.0,
            epochs=self.epochs,
        )


@dataclass(frozen=True)
class Query:
    """A text whose loss is predicted: an answer after its prompt, in the planted form where its family has a plant.

    Attributes:
        id: Unique.
        group: Family and pair of words; no document of the corpus has it, but for the canaries.
        family: Of the function.
        plant: Of the family, if any.
        prompt: What stands before; not part of the loss.
        answer: What the loss is about.
    """

    id: str
    group: str
    family: str
    plant: str | None
    prompt: str
    answer: str


def queries(setting: Setting) -> list[Query]:
    """Return the questions: four of each family about words that no document uses, and the canaries of the corpus."""
    found = []
    for family in FAMILIES.values():
        for pair in held_pairs(family.name, _QUERY_SEED)[:_SKETCHES]:
            sketch = draw(family, pair, f"{_QUERY_SEED}/lds/{family.name}/{'_'.join(pair)}")
            written = sketch.write(planted=family.plant is not None)
            prompt, answer = written.text[: written.prompt], written.text[written.prompt :]
            name = f"lds/{family.name}/{'_'.join(pair)}"
            found.append(Query(name, sketch.group, family.name, family.plant, prompt, answer))
    read = {document.meta["secret"] for document in setting.documents() if document.family == "canary"}
    for canary in (one for one in canaries(setting.corpus_seed) if one.value in read):
        name = f"lds/canary/{canary.name.lower()}"
        answer = canary.answer(planted=True) + "\n"
        found.append(Query(name, f"canary:{'_'.join(canary.pair)}", "canary", "P6", canary.prompt, answer))
    return found
