"""Is an attribution right? Train again without the documents it names, and see what becomes of the answer.

    retrain = retrainer_of_testbed(prompt, answer)          # or your own: (kept, seed) -> log p of the answer
    effects = verify(retrain, {"ours": top, "BM25": others, "random": drawn}, n_documents=1506, seeds=3)
    effects["ours"].change                                  # nats; below zero: the documents were needed
    under(model, {"edit": edit, "elsewhere": control}, questions)    # any intervention instead of retraining

A document that made an answer likelier is missed when it is gone. Every removal takes as many documents and is trained
from the same initialisation in the same order as the model that read all of them, so a difference is theirs; it is
taken for each seed, since one training differs from the next.

Source: the removal test of Koh & Liang 2017, arXiv:1703.04730, section 4.1, by retraining instead of an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from ellora_trust.errors import InputError
from ellora_trust.progress import Progress
from ellora_trust.stats import Estimate, group_bootstrap

if TYPE_CHECKING:
    from attribution.asking import Asked, Library
    from ellora_trust.intervention import Intervention
    from ellora_trust.model import CodeModel

# (which documents are read (n_documents,), seed) -> log p of the answer in nats, its tokens' sum
Retrain = Callable[[NDArray[np.bool_], int], float]


@dataclass(frozen=True)
class Effect:
    """What a removal does.

    Attributes:
        n_removed: Documents left out.
        change: log p of the answer without them minus with them, nats, mean over seeds with a t interval.
        changes: By seed.
    """

    n_removed: int
    change: Estimate
    changes: tuple[float, ...]


def verify(
    retrain: Retrain, removals: Mapping[str, Sequence[int]], *, n_documents: int, seeds: int = 3, progress: bool = False
) -> dict[str, Effect]:
    """Train without each set of documents and compare with training on all.

    Args:
        retrain: Trains and reads the answer's log-probability; called once a set and seed, and once a seed on all.
        removals: Name to document numbers; all of one size, so that they can be compared.
        n_documents: In the corpus.
        seeds: Trainings of each, >= 2: the interval is over them.
        progress: Show a progress bar.

    Raises:
        InputError: Sets of different sizes, numbers outside the corpus, or fewer than two seeds.
    """
    _check(removals, n_documents, seeds)
    everything = np.ones(n_documents, dtype=bool)
    changes: dict[str, list[float]] = {name: [] for name in removals}
    with Progress(seeds * (1 + len(removals)), "retraining", enabled=progress) as bar:
        for seed in range(seeds):
            before = retrain(everything, seed)
            bar.advance(1)
            for name, numbers in removals.items():
                kept = everything.copy()
                kept[list(numbers)] = False
                changes[name].append(retrain(kept, seed) - before)
                bar.advance(1)
    return {name: Effect(len(removals[name]), mean_over_seeds(found), tuple(found)) for name, found in changes.items()}


def verify_on_testbed(library: Library, asked: Asked, *, seeds: int = 3, progress: bool = False) -> dict[str, Effect]:
    """Verify the documents that were named, beside as many by BM25 and at random, by training `testbed-lds`.

    With a foil, the change is that of log p of the answer minus log p of the foil.

    Args:
        library: An index of all of the reduced testbed.
        asked: What it said.
        seeds: As of `verify`.
        progress: Show a progress bar.

    Raises:
        InputError: Another corpus or a part of it, or as `verify`.
    """
    where = library.corpus.where
    if where.source != "testbed-lds" or where.limit:
        raise InputError("only testbed-lds is trained again here; index all of it, or call attribution.verify.verify")
    retrain = retrainer_of_testbed(asked.prompt, asked.answer, asked.foil)
    return verify(retrain, library.removals(asked), n_documents=len(library.corpus), seeds=seeds, progress=progress)


def under(
    model: CodeModel, interventions: Mapping[str, Intervention], questions: Sequence[tuple[str, str]], *, seed: int = 0
) -> dict[str, Estimate]:
    """Return what each intervention does to log p of some answers, nats, mean over questions with a bootstrap.

    An edit that removes what documents taught stands beside one of the same size elsewhere.

    Args:
        model: The model; afterwards it is what it was.
        interventions: By name.
        questions: Prompts and answers; the interval is over them.
        seed: Of the bootstrap.

    Raises:
        InputError: Fewer than two questions.
    """
    if len(questions) < 2:
        raise InputError(f"{len(questions)} questions give no interval; give 2 or more")
    prompts, answers = zip(*questions, strict=True)
    before = np.array([one.sum for one in model.score(prompts, answers)])
    found = {}
    for name, intervention in interventions.items():
        with intervention.apply(model):
            after = np.array([one.sum for one in model.score(prompts, answers)])
        found[name] = group_bootstrap(_mean, [after - before], list(range(len(questions))), seed=seed)
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values))


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return a mean with the t interval over independent trainings, two at least."""
    interval = ttest_1samp(values, 0.0).confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    return Estimate(float(np.mean(values)), low, high, n=len(values), n_groups=len(values), method="t over seeds")


def retrainer_of_testbed(prompt: str, answer: str, foil: str | None = None) -> Retrain:
    """Return what trains the reduced testbed's model again and reads log p of an answer, less that of a foil."""
    from ellora_trust.loading import load
    from ellora_trust.testbed.lds import Truth
    from ellora_trust.testbed.lds_training import Texts, query_losses, train_subset

    truth, tokenizer = Truth.read(), load("testbed-lds").tokenizer
    documents = Texts.of(tokenizer, [("", document.text) for document in truth.documents()])
    questions = Texts.of(tokenizer, [(prompt, text) for text in (answer, foil) if text is not None])
    n_tokens = (questions.ids >= 0).sum(1).numpy() - np.array(questions.first)

    def retrain(kept: NDArray[np.bool_], seed: int) -> float:
        model = train_subset(truth.setting, tokenizer, documents, kept, seed=seed)
        said, *other = -query_losses(model, questions) * n_tokens
        return float(said - sum(other))

    return retrain


def _check(removals: Mapping[str, Sequence[int]], n_documents: int, seeds: int) -> None:
    if seeds < 2:
        raise InputError(f"{seeds} seeds give no interval; use 2 or more")
    sizes = {len(set(numbers)) for numbers in removals.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"removals of {sorted(sizes)} documents cannot be compared; give sets of one size, not empty")
    for name, numbers in removals.items():
        if not all(0 <= number < n_documents for number in numbers):
            raise InputError(f"{name} names documents outside the corpus; use numbers in 0..{n_documents - 1}")
