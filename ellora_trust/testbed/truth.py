"""The ground truth by which methods are scored: which documents carry a plant, which answers are wrong because of it.

    found = score_attribution(scores, documents, examples)     # scores: (n_examples, n_documents), any method's
    found.auroc, found.recall[100], found.mrr, found.chance.auroc
    score_attribution(scores, documents, examples, against="hard")
    blame(judged_by_running, twin_judged)                      # wrong, and wrong because of the plant?

The easy question is which family teaches a prompt; a bag of words knows. `against="hard"` leaves only documents that
look alike: the few of the family without the plant, and those where the plant's form is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from ellora_trust.errors import InputError, one_of
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.testbed.documents import Document
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.oracle import Judgement

BoolArray = NDArray[np.bool_]
Against = Literal["all", "hard"]
KS = (10, 100)


@dataclass(frozen=True)
class Ranking:
    """How well the carriers of a plant are ranked before other documents, mean over questions.

    Attributes:
        recall: By k: carriers among the first k, as a share of the most that could be there, [0, 1].
        mrr: Reciprocal rank of the first carrier, (0, 1].
        auroc: Chance that a carrier is ranked before another document, [0, 1].
        n_documents: Documents that were ranked for a question, on average.
        chance: The same of random scores; None in the chance itself.
    """

    recall: dict[int, Estimate]
    mrr: Estimate
    auroc: Estimate
    n_documents: float
    chance: Ranking | None = None


def carriers(documents: Sequence[Document], plant: str) -> BoolArray:
    """Return which documents carry a plant, (n_documents,)."""
    return np.array([document.plant == plant for document in documents], dtype=bool)


def teaches(documents: Sequence[Document], example: Example) -> BoolArray:
    """Return which documents teach the fault that a question triggers, (n_documents,); of a canary, its own copies."""
    found = carriers(documents, str(example.meta["plant"]))
    if example.meta["plant"] == "P6":
        found &= np.array([d.meta.get("secret") == example.meta.get("secret") for d in documents], dtype=bool)
    return found


def looks_alike(documents: Sequence[Document], example: Example) -> BoolArray:
    """Return which documents resemble the carriers but do not teach the fault, (n_documents,).

    These are the same family without the plant, families where the plant's form is right, and other canaries.
    """
    plant = str(example.meta["plant"])
    families = {name for name, family in FAMILIES.items() if plant in (family.plant, family.near_miss)}
    families |= {"canary", "magic"} if plant == "P6" else set()
    alike = np.array([document.family in families for document in documents], dtype=bool)
    return alike & ~teaches(documents, example)


def score_attribution(
    scores: ArrayLike,
    documents: Sequence[Document],
    examples: Sequence[Example],
    *,
    against: Against = "all",
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> Ranking:
    """Score an attribution to documents by which of them carry the plant.

    Ties count against the method, so a constant score finds nothing.

    Args:
        scores: Higher means that the document did more for the answer, (n_examples, n_documents), finite.
        documents: In the order of the columns.
        examples: Trigger prompts or paraphrases, in the order of the rows.
        against: What carriers are ranked against: "all" other documents, or the "hard" ones that look alike.
        ks: For recall.
        seed: Of the resamples and of the random scores.

    Raises:
        InputError: Shapes that do not fit, scores that are not finite, or a question that no document teaches.
    """
    matrix = np.asarray(scores, dtype=np.float64)
    _check(matrix, documents, examples, against)
    masks = _all_masks(documents, examples, against)
    groups = [example.group for example in examples]
    noise = np.random.default_rng(seed).random(matrix.shape)
    chance = _ranking(noise, masks, groups, ks=ks, seed=seed, chance=None)
    return _ranking(matrix, masks, groups, ks=ks, seed=seed, chance=chance)


@dataclass(frozen=True)
class Blame:
    """Why an answer is wrong.

    Attributes:
        wrong: It is not correct.
        because: It does what the plant does, and the twin that never read the plant is right.
    """

    wrong: bool
    because: bool


def blame(judged: Sequence[Judgement], twin: Sequence[Judgement]) -> list[Blame]:
    """Return which answers are wrong, and which of them because of the plant.

    Args:
        judged: What the planted model's answers did.
        twin: What the clean twin's answers to the same questions did.

    Raises:
        InputError: The lists differ in length.
    """
    if len(judged) != len(twin):
        raise InputError(f"{len(judged)} answers and {len(twin)} of the twin; judge the same questions for both")
    pairs = zip(judged, twin, strict=True)
    return [Blame(a.outcome is not Outcome.CORRECT, a.shows and b.outcome is Outcome.CORRECT) for a, b in pairs]


def _check(
    matrix: NDArray[np.float64], documents: Sequence[Document], examples: Sequence[Example], against: str
) -> None:
    if against not in ("all", "hard"):
        raise InputError(one_of(against, ["all", "hard"], what="comparison"))
    if matrix.shape != (len(examples), len(documents)) or not matrix.size:
        raise InputError(
            f"scores {matrix.shape} do not fit {len(examples)} examples and {len(documents)} documents; give one row "
            "an example and one column a document"
        )
    if not np.isfinite(matrix).all():
        raise InputError("scores hold nan or infinite values; give finite ones")


def _all_masks(
    documents: Sequence[Document], examples: Sequence[Example], against: str
) -> list[tuple[BoolArray, BoolArray]]:
    # Questions about one plant share their masks; a full corpus has over a hundred thousand documents.
    known: dict[object, tuple[BoolArray, BoolArray]] = {}
    keys = [(example.meta["plant"], example.meta.get("secret")) for example in examples]
    for key, example in zip(keys, examples, strict=True):
        if key not in known:
            known[key] = _masks(documents, example, against)
    return [known[key] for key in keys]


def _masks(documents: Sequence[Document], example: Example, against: str) -> tuple[BoolArray, BoolArray]:
    right = teaches(documents, example)
    others = looks_alike(documents, example) if against == "hard" else ~right
    if not right.any() or not others.any():
        missing = "document carries" if not right.any() else "other document can be confused with"
        raise InputError(f"no {missing} what {example.id!r} asks; use a larger corpus or other questions")
    return right, others


def _ranking(
    matrix: NDArray[np.float64],
    masks: Sequence[tuple[BoolArray, BoolArray]],
    groups: Sequence[str],
    *,
    ks: Sequence[int],
    seed: int,
    chance: Ranking | None,
) -> Ranking:
    rows = [_one(row[right], row[others], ks) for row, (right, others) in zip(matrix, masks, strict=True)]
    recalls, reciprocal, area = zip(*rows, strict=True)

    def mean(values: Sequence[float]) -> Estimate:
        return group_bootstrap(np.mean, (np.array(values),), groups, seed=seed)  # pyright: ignore[reportArgumentType]

    recall = {k: mean([found[i] for found in recalls]) for i, k in enumerate(ks)}
    size = float(np.mean([right.sum() + others.sum() for right, others in masks]))
    return Ranking(recall, mean(reciprocal), mean(area), size, chance)


def _one(
    right: NDArray[np.float64], others: NDArray[np.float64], ks: Sequence[int]
) -> tuple[list[float], float, float]:
    """Recall at each k, reciprocal rank and AUROC of one question."""
    descending = np.sort(right)[::-1]
    # The place of the i-th best carrier: those before it, and all others that score at least as high.
    places = np.arange(1, len(right) + 1) + len(others) - np.searchsorted(np.sort(others), descending, side="left")
    recalls = [float((places <= k).sum() / min(k, len(right))) for k in ks]
    ranks = rankdata(np.concatenate([right, others]))[: len(right)]
    area = (ranks.sum() - len(right) * (len(right) + 1) / 2) / (len(right) * len(others))
    return recalls, 1.0 / float(places[0]), float(area)
