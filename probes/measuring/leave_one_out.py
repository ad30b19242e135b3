"""Does a probe work on a kind of question that it has not seen? One value of a meta key left out at a time.

    found = leave_one_out(labelled, "template")             # template, package, language, temperature ...
    found.left_out, found.seen, found.cost                  # over all rows, each an Estimate
    found.table()                                           # and value by value

No problem is on both sides: training rows whose group or prompt is tested on are dropped, and counted. Where that drops
most (the same questions at several temperatures), scores are cross-fitted over groups instead: each part of the test
rows is scored by a probe that saw neither their value nor their groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import Estimate, auroc, group_bootstrap, paired_bootstrap
from probes.error_probe import ErrorProbe
from probes.fitting.rows import Rows
from probes.fitting.selection import Settings, grouped_folds
from probes.measuring.transfer import auroc_or_why, nested_scores, shared_rows, values_of

# Share of training rows that may be dropped before a left-out value is cross-fitted over groups instead.
MOST = 0.5
COLUMNS = ("value", "n", "groups", "share wrong", "value left out", "value seen", "log-probability (no fit)")


@dataclass(frozen=True)
class Value:
    """One value, scored by a probe that has not seen it.

    Attributes:
        name: The value.
        n: Rows.
        n_groups: Groups of those rows.
        base_rate: Share wrong, [0, 1].
        left_out: AUROC of the probe that has not seen it; None where it could not be had.
        seen: AUROC on the same rows by nested cross-validation within all values.
        logprob: AUROC of the log-probability, where it is known.
        n_train: Training rows, on average where cross-fitted.
        cross_fitted: Whether scores are cross-fitted over groups.
        note: Why there is no AUROC; empty if there is one.
    """

    name: str
    n: int
    n_groups: int
    base_rate: float
    left_out: Estimate | None
    seen: Estimate | None
    logprob: Estimate | None
    n_train: int
    cross_fitted: bool
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """What a new value costs.

    Attributes:
        key: The meta key.
        values: One entry a value.
        left_out: AUROC over the rows of all values, each scored by a probe that has not seen its value; scores are in
            deviations of what each probe was fitted on.
        seen: AUROC of the same rows by nested cross-validation within all values.
        cost: left_out - seen, on the same resamples.
        logprob: AUROC of the log-probability of the same rows, where it is known.
    """

    key: str
    values: list[Value]
    left_out: Estimate
    seen: Estimate
    cost: Estimate
    logprob: Estimate | None

    def table(self) -> list[list[str]]:
        """Return all rows together, then each value, the most frequent first; as `COLUMNS`."""
        together = ["all together", str(self.left_out.n), str(self.left_out.n_groups), ""]
        rows = [[*together, *(str(one or "") for one in (self.left_out, self.seen, self.logprob))]]
        for one in sorted(self.values, key=lambda value: -value.n):
            counts = [one.name, str(one.n), str(one.n_groups), f"{one.base_rate:.1%}"]
            rows.append([*counts, *(str(e) if e else "-" for e in (one.left_out, one.seen, one.logprob))])
        return rows

    def sentence(self) -> str:
        """Return what it says in words."""
        without = sum(value.left_out is None for value in self.values)
        lacking = f" {without} values alone have no AUROC: too few groups, or one outcome." if without else ""
        return f"A {self.key} that was not seen costs {self.cost:+.3f} AUROC.{lacking}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def leave_one_out(
    labelled: Labelled, key: str, *, settings: Settings | None = None, n_resamples: int = 1000
) -> LeftOut:
    """Score each value of `meta[key]` by a probe that has seen all the others, and none of it nor of its groups.

    Args:
        labelled: With activations.
        key: Such as `template`, `distribution`, `pattern`, `language`, `temperature`.
        settings: Of the probes.
        n_resamples: Bootstrap resamples of the test groups.

    Raises:
        InputError: An example lacks the key, one value only, or too few groups for the folds.
    """
    settings = settings or Settings()
    at = values_of(labelled, key)[labelled.decided]
    rows = Rows.of(labelled)
    seen, scores = nested_scores(rows, settings), np.full(len(rows), np.nan)
    values = []
    for name in np.unique(at).tolist():
        here = at == name
        found = _scored(rows.take(~here), rows.take(here), settings)
        scores[here] = found.scores
        values.append(_value(name, rows.take(here), seen[here], found, n_resamples))
    known = ~np.isnan(scores)
    if not known.any():
        raise InputError(f"no {key} can be left out: {values[0].note}")
    return _together(key, values, rows.take(known), scores[known], seen[known], n_resamples=n_resamples)


@dataclass(frozen=True)
class _Scored:
    scores: np.ndarray
    n_train: int
    cross_fitted: bool
    note: str = ""


def _scored(train: Rows, test: Rows, settings: Settings) -> _Scored:
    """Scores of the test rows, NaN where there are none, by probes that saw none of their groups."""
    crossed = bool(shared_rows(train, test).mean() > MOST)
    folds = np.zeros(len(test), dtype=int)
    scores, kept = np.empty(len(test)), []
    try:
        if crossed:
            folds = grouped_folds(test.wrong, test.groups, settings.n_folds, settings.seed)
        for fold in np.unique(folds):
            part = test.take(folds == fold)
            scores[folds == fold], n_train = _fit_and_score(train, part, settings)
            kept.append(n_train)
    except InputError as problem:
        return _Scored(np.full(len(test), np.nan), len(train), crossed, str(problem))
    return _Scored(scores, round(float(np.mean(kept))), crossed)


def _fit_and_score(train: Rows, test: Rows, settings: Settings) -> tuple[np.ndarray, int]:
    used = train.take(~shared_rows(train, test))
    probe = ErrorProbe(settings).fit(used.features, used.wrong, used.groups)
    key = (probe.site_, probe.position_)
    # Probes choose different sites and strengths: without a common unit their scores could not be pooled.
    unit = float(probe.decision(used.features[key]).std())
    return probe.decision(test.features[key]) / (unit if unit > 0 else 1.0), len(used)


def _value(name: str, rows: Rows, seen: np.ndarray, found: _Scored, n_resamples: int) -> Value:
    left_out, note = (None, found.note) if found.note else auroc_or_why(rows, found.scores, n_resamples)
    logprob = None if rows.logprob is None else auroc_or_why(rows, rows.logprob, n_resamples)[0]
    return Value(
        name,
        len(rows),
        len(np.unique(rows.groups)),
        float(np.mean(rows.wrong)),
        left_out,
        auroc_or_why(rows, seen, n_resamples)[0],
        logprob,
        found.n_train,
        found.cross_fitted,
        note,
    )


def _together(
    key: str, values: list[Value], rows: Rows, scores: np.ndarray, seen: np.ndarray, *, n_resamples: int
) -> LeftOut:
    boot = {"n_resamples": n_resamples}
    y, groups = rows.wrong, rows.groups
    return LeftOut(
        key,
        values,
        group_bootstrap(auroc, (y, scores), groups, **boot),
        group_bootstrap(auroc, (y, seen), groups, **boot),
        paired_bootstrap(auroc, scores, seen, y, groups, **boot),
        None if rows.logprob is None else group_bootstrap(auroc, (y, rows.logprob), groups, **boot),
    )
