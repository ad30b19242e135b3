"""Linear classifiers of tasks, and the baselines they are held against.

readout = Readout.fit(features, tasks, groups)      # features (n, width): head outputs, or any activation
readout.probabilities(features)                     # (n, n_tasks)
bag_of_words(texts, tasks, groups).predict(others)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Inverse strengths of the penalty that are tried, for standardised activations and for words.
_STRENGTHS, _STRENGTHS_OF_WORDS = (1e-3, 1e-2, 1e-1), (1.0, 30.0, 1000.0)
_FOLDS = 3


@dataclass(frozen=True)
class Readout:
    """A multinomial logistic classifier; the standardisation it was fitted under is folded into it.

    Attributes:
        tasks: Names, in the order of the rows.
        weight: (n_tasks, width), float32.
        bias: (n_tasks,), float32.
    """

    tasks: tuple[str, ...]
    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Tensor, tasks: Sequence[str], groups: Sequence[str]) -> Readout:
        """Fit on activations, (n, width); the penalty is chosen by folds of whole groups."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(features.numpy())
        found = _chosen(_logistic(), _STRENGTHS, scaler.transform(features.numpy()), tasks, groups)
        weight, bias = found.coef_, found.intercept_
        if len(weight) == 1:  # two classes share one row
            weight, bias = np.vstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        assert scaler.scale_ is not None
        assert scaler.mean_ is not None
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
        names = tuple(str(name) for name in found.classes_)
        return cls(names, torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability of each task, (n, n_tasks)."""
        return torch.softmax(features.float() @ self.weight.T + self.bias, -1)

    def predict(self, features: Tensor) -> list[str]:
        """Return the likeliest task of each row."""
        return [self.tasks[row] for row in self.probabilities(features).argmax(-1).tolist()]


def nearest_mean(means: Tensor, tasks: Sequence[str], features: Tensor) -> list[str]:
    """Return the task whose mean is nearest by cosine, once what all tasks share is taken off.

    Args:
        means: Of each task, (n_tasks, width).
        tasks: Their names.
        features: (n, width).
    """
    centre = means.mean(0)
    sides = [torch.nn.functional.normalize(rows - centre, dim=-1) for rows in (features, means)]
    return [str(tasks[row]) for row in (sides[0] @ sides[1].T).argmax(-1).tolist()]


def bag_of_words(texts: Sequence[str], tasks: Sequence[str], groups: Sequence[str]) -> Any:
    """Return a fitted classifier of the prompt's words and marks alone, which sees no model."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", lowercase=False)
    return _chosen(make_pipeline(words, _logistic()), _STRENGTHS_OF_WORDS, list(texts), tasks, groups)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300)


def _chosen(model: Any, strengths: Sequence[float], rows: Any, tasks: Sequence[str], groups: Sequence[str]) -> Any:
    """Fit with the penalty that does best on held-out groups."""
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    name = "C" if hasattr(model, "C") else "logisticregression__C"
    search = GridSearchCV(model, {name: list(strengths)}, cv=StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0))
    return search.fit(rows, list(tasks), groups=list(groups)).best_estimator_
