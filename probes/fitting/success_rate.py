"""Predict how often a model gets a problem wrong, from several sampled answers to each.

    result = evaluate_rate(rows, problems)            # problems: which rows are samples of one problem, (n,)
    result.auroc, result.spearman, result.squared_error

A problem's activation is the mean over its samples, so a position in the prompt is what it is for each of them. The
predictor is a logistic regression on all features; its target is the share of wrong samples, weighted by their number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import Estimate, auroc, group_bootstrap
from probes.error_probe import Calibration
from probes.fitting.linear import batched_auroc
from probes.fitting.mass_mean import STRENGTHS_OF_ALL
from probes.fitting.newton import ExactFits, fit_exact
from probes.fitting.rows import Rows, rows_of
from probes.fitting.selection import Candidates, Settings, grouped_folds, inner_folds


@dataclass(frozen=True)
class RateScore:
    """How well the share of wrong samples is predicted, on problems of groups that were not fitted on.

    Attributes:
        auroc: Of each sample's outcome; all samples of a problem have one score.
        baseline_auroc: The same of the problem's mean log-probability over its samples; None where it is not known.
        spearman: Rank correlation of score and share of wrong samples, over problems; 0 is chance.
        baseline_spearman: The same of that mean log-probability.
        squared_error: Mean of (risk - share)^2 over problems, [0, 1].
        baseline_error: The same of the training problems' overall share, which knows nothing of the problem.
        chosen: (site, position) of each outer fold.
        problems: Name of each problem.
        rate: Share of wrong samples of each, [0, 1].
        risk: Predicted, [0, 1].
    """

    auroc: Estimate
    baseline_auroc: Estimate | None
    spearman: Estimate
    baseline_spearman: Estimate | None
    squared_error: Estimate
    baseline_error: Estimate
    chosen: list[str]
    problems: list[str]
    rate: list[float]
    risk: list[float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> list[tuple[str, str, str]]:
        """Return figure, predictor, baseline."""
        known = [str(one) if one else "not known" for one in (self.baseline_auroc, self.baseline_spearman)]
        return [
            ("AUROC of a sample's outcome", str(self.auroc), f"{known[0]} (mean log-probability)"),
            ("rank correlation with the share wrong", str(self.spearman), f"{known[1]} (mean log-probability)"),
            ("squared error of the share wrong", str(self.squared_error), f"{self.baseline_error} (overall share)"),
        ]


@dataclass(frozen=True)
class _Problems:
    """Problems in sorted order.

    Attributes:
        of: Number of each sample's problem, (n,).
        x: Mean activation, (n_candidates, n_problems, d).
        rate: Share of wrong samples, (n_problems,).
        counts: Samples, (n_problems,).
    """

    of: np.ndarray
    x: Tensor
    rate: np.ndarray
    counts: np.ndarray

    def fit(self, pick: np.ndarray) -> ExactFits:
        """Fit on some problems."""
        rate, counts = torch.as_tensor(self.rate[pick])[None], torch.as_tensor(self.counts[pick])
        return fit_exact(self.x[:, pick], rate, STRENGTHS_OF_ALL, row_weights=counts)

    def decide(self, fits: ExactFits, pick: np.ndarray) -> Tensor:
        """Scores of some problems, (n_candidates, n_strengths, n_picked)."""
        return fits.decision(self.x[:, pick])[:, :, 0]

    def samples(self, pick: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sample rows of some problems, and for each the place of its problem in `pick`."""
        place = np.full(len(self.rate), -1)
        place[pick] = np.arange(len(pick))
        rows = np.flatnonzero(place[self.of] >= 0)
        return rows, place[self.of[rows]]


def evaluate_rate(
    data: Rows | Labelled, problems: ArrayLike, *, settings: Settings | None = None, n_resamples: int = 1000
) -> RateScore:
    """Score the prediction of each problem's share of wrong samples by nested, grouped cross-validation.

    Args:
        data: One row a sample.
        problems: Which problem each decided row is a sample of, (n,); samples of one problem share a group.
        settings: Folds and seed.
        n_resamples: Bootstrap resamples of groups.

    Raises:
        InputError: As `ErrorProbe.fit`; or a problem in two groups, or no problem with two samples.

    Source: the success rate over k samples as a target: arXiv:2602.09924, which regresses it. The weighted log-loss,
        which is that of the samples themselves, is ours.
    """
    rows, settings = rows_of(data), settings or Settings()
    candidates, y, groups = rows.checked()
    names, of = np.unique(np.asarray(problems).astype(str), return_inverse=True)
    _check(names, of, y, groups)
    folds = grouped_folds(y, groups, settings.n_folds, settings.seed)
    first = np.unique(of, return_index=True)[1]
    grouped = _aggregated(candidates, y, of)
    scores, risk, constant = (np.empty(len(names)) for _ in range(3))
    chosen = []
    for fold in range(settings.n_folds):
        train, test = np.flatnonzero(folds[first] != fold), np.flatnonzero(folds[first] == fold)
        key, scores[test], risk[test] = _held_out(grouped, train, test, y, groups, fold=fold, settings=settings)
        constant[test] = y[folds != fold].mean()
        chosen.append(" ".join(candidates.keys[key]))
    boot = {"n_resamples": n_resamples}
    rate, home = grouped.rate, groups[first]
    plain = None if rows.logprob is None else np.bincount(of, rows.logprob) / grouped.counts
    return RateScore(
        group_bootstrap(auroc, (y, scores[of]), groups, **boot),
        None if plain is None else group_bootstrap(auroc, (y, plain[of]), groups, **boot),
        group_bootstrap(_spearman, (scores, rate), home, **boot),
        None if plain is None else group_bootstrap(_spearman, (plain, rate), home, **boot),
        group_bootstrap(_squared_error, (risk, rate), home, **boot),
        group_bootstrap(_squared_error, (constant, rate), home, **boot),
        chosen,
        names.tolist(),
        rate.tolist(),
        risk.tolist(),
    )


def _check(names: np.ndarray, of: np.ndarray, y: np.ndarray, groups: np.ndarray) -> None:
    if of.shape != y.shape:
        raise InputError(f"problems has shape {of.shape} for {len(y)} decided rows; give one name a row")
    if np.bincount(of).max() < 2:
        raise InputError("every problem has one sample; label each several times at a temperature above 0")
    for number, name in enumerate(names):
        if len(homes := np.unique(groups[of == number])) > 1:
            raise InputError(f"problem {str(name)!r} is in groups {', '.join(map(repr, homes.tolist()))}; give it one")


def _aggregated(candidates: Candidates, y: np.ndarray, of: np.ndarray) -> _Problems:
    counts = np.bincount(of).astype(float)
    x = torch.zeros(len(candidates.keys), len(counts), candidates.x.shape[2])
    x.index_add_(1, torch.as_tensor(of), candidates.x)
    return _Problems(of, x / torch.as_tensor(counts, dtype=x.dtype)[:, None], np.bincount(of, y) / counts, counts)


def _held_out(
    grouped: _Problems,
    train: np.ndarray,
    test: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    fold: int,
    settings: Settings,
) -> tuple[int, np.ndarray, np.ndarray]:
    """Preferred candidate of the training problems; scores (in held-out deviations) and risks of the test problems."""
    rows, place = grouped.samples(train)
    inner = inner_folds(y[rows], groups[rows], fold, settings)
    inner_of = np.empty(len(train), dtype=int)
    inner_of[place] = inner
    scores = torch.empty(len(grouped.x), len(STRENGTHS_OF_ALL), len(train), dtype=torch.float64)
    for part in range(settings.n_inner):
        seen, unseen = train[inner_of != part], np.flatnonzero(inner_of == part)
        scores[..., unseen] = grouped.decide(grouped.fit(seen), train[unseen])
    quality = batched_auroc(torch.as_tensor(y[rows]), scores[..., place])
    candidate, strength = divmod(int(quality.flatten().argmax()), quality.shape[1])
    calibration = Calibration.fit(scores[candidate, strength].numpy()[place], y[rows])
    one = _Problems(grouped.of, grouped.x[candidate : candidate + 1], grouped.rate, grouped.counts)
    decided = one.decide(one.fit(train), test)[0, strength].numpy()
    return candidate, decided / float(scores[candidate, strength].std()), calibration(decided)


def _spearman(scores: np.ndarray, rate: np.ndarray) -> float:
    if len(np.unique(rate)) < 2 or len(np.unique(scores)) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(scores), rankdata(rate))[0, 1])


def _squared_error(risk: np.ndarray, rate: np.ndarray) -> float:
    return float(np.mean((risk - rate) ** 2))
