"""What a probe has to beat, on the very same rows: log-probability, entropy, length, the words of the prompt.

columns = confidence_columns(labelled)            # name -> (n,), higher means riskier
tfidf_scores(prompts, wrong, folds)               # out-of-fold scores of a bag of words
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ellora_trust.decoding import Generation
from ellora_trust.labeling import Labelled
from probes.fitting.linear import centred_decision

# Sign fixed in advance: less probable, more uncertain is riskier. Lengths have no such sign; theirs is fitted.
CONFIDENCE = ("log-probability (sum)", "log-probability (mean)", "log-probability (min)", "entropy (mean)")
LENGTHS = ("answer length", "prompt length")
TFIDF = "TF-IDF of the prompt"
TFIDF_ANSWER = "TF-IDF of prompt and answer"


def confidence_columns(labelled: Labelled) -> dict[str, np.ndarray]:
    """Return the model's own confidence as risk scores, each (n,); nats.

    The token that ended the answer counts: a model unsure of where to stop is unsure of its answer.
    """
    rows = [_confidence(generation) for generation in labelled.generations]
    return dict(zip(CONFIDENCE, np.array(rows).T, strict=True))


def _confidence(generation: Generation) -> tuple[float, float, float, float]:
    if not generation.logprobs:
        return 0.0, 0.0, 0.0, 0.0
    logprobs = np.array(generation.logprobs)
    return -logprobs.sum(), -logprobs.mean(), -logprobs.min(), float(np.mean(generation.entropies))


def length_columns(labelled: Labelled) -> dict[str, np.ndarray]:
    """Return answer length in tokens and prompt length in characters (without the shared header), each (n,)."""
    answers = np.array([len(generation.tokens) for generation in labelled.generations], dtype=float)
    prompts = np.array([len(example.prompt) for example in labelled.examples], dtype=float)
    return dict(zip(LENGTHS, (answers, prompts), strict=True))


def crossfitted(columns: np.ndarray, wrong: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return out-of-fold scores of a logistic regression on a few columns, (n,); without the fold's intercept."""
    scores = np.empty(len(wrong))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns[train], wrong[train])
        scores[test] = centred_decision(model, columns[test])
    return scores


def tfidf_scores(prompts: Sequence[str], wrong: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return out-of-fold scores of a logistic regression on TF-IDF of words and operators, (n,)."""
    texts = np.array(prompts, dtype=object)
    scores = np.empty(len(wrong))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        # Code: identifiers, numbers, and each other visible character are tokens.
        words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000)).fit(texts[train], wrong[train])
        scores[test] = centred_decision(model, texts[test])
    return scores


def baseline_scores(
    labelled: Labelled, wrong: np.ndarray, folds: np.ndarray, *, opinion: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return risk scores of every baseline on rows given by `folds`, name -> (n,).

    Args:
        labelled: Only its decided rows, in order.
        wrong: (n,) bool.
        folds: Outer fold of each row, the probe's own.
        opinion: An independent model's, name -> (n,), as `Opinion.columns` gives it.
    """
    confidence, lengths = confidence_columns(labelled), length_columns(labelled)
    scores = dict(confidence)
    scores["log-probability and entropy (fitted)"] = crossfitted(np.stack(list(confidence.values()), 1), wrong, folds)
    for name, column in lengths.items():
        scores[name] = crossfitted(column[:, None], wrong, folds)
    prompts = [example.prompt for example in labelled.examples]
    scores[TFIDF] = tfidf_scores(prompts, wrong, folds)
    # Some answers are nearly always right (a type, a number): a predictor may know no more than that.
    answered = [f"{p} ANSWER {g.text}" for p, g in zip(prompts, labelled.generations, strict=True)]
    scores[TFIDF_ANSWER] = tfidf_scores(answered, wrong, folds)
    return scores | dict(opinion or {})
