"""Does a probe fitted on one kind of question work on another? AUROC for every pair.

    transfer_matrix({"types": a, "aliasing": b})            # Transfer: train on one, test on another
    slices(labelled, "template")                            # what transfer_matrix takes, from one set

No problem is on both sides of a cell: training rows whose group or prompt is tested on are dropped, and counted.
With one kind left out at a time: `probes.measuring.leave_one_out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.stats import Estimate, auroc, group_bootstrap
from probes.error_probe import ErrorProbe
from probes.fitting.rows import Rows, rows_of
from probes.fitting.selection import Settings, grouped_folds, nested_selection
from probes.measuring.subset import subset

WITHIN = "nested cross-validation"
LOGPROB = "log-probability (no fit)"


@dataclass(frozen=True)
class Cell:
    """One training set on one test set.

    Attributes:
        train: Name of the training set.
        test: Name of the test set.
        auroc: Bootstrap over the test set's groups; None where it could not be had.
        n_train: Training rows; where the test rows are cross-validated, all rows.
        n_dropped: Training rows left out because their group or prompt is tested on.
        site: Where the probe reads, chosen on the training set; empty if there is no single choice.
        note: Why there is no AUROC; empty if there is one.
    """

    train: str
    test: str
    auroc: Estimate | None
    n_train: int = 0
    n_dropped: int = 0
    site: str = ""
    note: str = ""


@dataclass(frozen=True)
class Transfer:
    """AUROC by training and test set.

    Attributes:
        trained: Names of the rows.
        tested: Names of the columns.
        cells: Row by row. The log-probability comes last, where it is known: the baseline of each column.
        base_rate: Share of wrong answers in each test set.
    """

    trained: list[str]
    tested: list[str]
    cells: list[Cell]
    base_rate: dict[str, float]

    def cell(self, train: str, test: str) -> Cell:
        """Return one cell.

        Raises:
            InputError: No such pair.
        """
        for cell in self.cells:
            if (cell.train, cell.test) == (train, test):
                return cell
        raise InputError(f"there is no cell {train!r} -> {test!r}; trained: {self.trained}; tested: {self.tested}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def slices(labelled: Labelled, key: str) -> dict[str, Labelled]:
    """Split a labelled set by a value of its examples' `meta`; each must have the key, with two values or more."""
    values = values_of(labelled, key)
    return {value: subset(labelled, np.flatnonzero(values == value)) for value in np.unique(values).tolist()}


def values_of(labelled: Labelled, key: str) -> np.ndarray:
    """Return `meta[key]` of each example as text, (n,).

    Raises:
        InputError: An example lacks the key, or there is one value only.
    """
    lacking = [example.id for example in labelled.examples if key not in example.meta]
    if lacking:
        have = sorted({name for example in labelled.examples for name in example.meta}) or ["none"]
        raise InputError(f"example {lacking[0]!r} has no meta {key!r}; keys of these examples: {', '.join(have)}")
    values = np.array([str(example.meta[key]) for example in labelled.examples])
    if len(np.unique(values)) < 2:
        raise InputError(f"all {len(values)} examples have the same {key}; use a key with at least two values")
    return values


def transfer_matrix(
    sets: Mapping[str, Rows | Labelled], *, settings: Settings | None = None, n_resamples: int = 1000
) -> Transfer:
    """Fit an `ErrorProbe` on each set and score it on each other; the diagonal is nested cross-validation.

    Args:
        sets: Name -> labelled set with activations, or rows of your own; at least two, of one model.
        settings: Of the probes.
        n_resamples: Bootstrap resamples of the test groups.

    Raises:
        InputError: Fewer than two sets, or sets without a common (site, position).
    """
    if len(sets) < 2:
        raise InputError(f"{len(sets)} set was given; transfer needs at least two")
    settings = settings or Settings()
    rows = _common({name: rows_of(data) for name, data in sets.items()})
    cells = [
        _within(a, rows[a], settings, n_resamples)
        if a == b
        else _across((a, b), rows[a], rows[b], settings, n_resamples)
        for a in rows
        for b in rows
    ]
    return _result(list(rows), rows, cells, n_resamples)


def _result(trained: list[str], rows: Mapping[str, Rows], cells: list[Cell], n_resamples: int) -> Transfer:
    known = {name: one.logprob for name, one in rows.items() if one.logprob is not None}
    for name, logprob in known.items():
        estimate, note = auroc_or_why(rows[name], logprob, n_resamples)
        cells.append(Cell(LOGPROB, name, estimate, note=note))
    rates = {name: float(np.mean(one.wrong)) for name, one in rows.items()}
    return Transfer([*trained, LOGPROB] if known else trained, list(rows), cells, rates)


def _common(sets: dict[str, Rows]) -> dict[str, Rows]:
    """The sets with the (site, position) that all of them have."""
    first, *others = sets.values()
    keys = [key for key in first.features if all(key in other.features for other in others)]
    if not keys:
        raise InputError(f"the sets {', '.join(sets)} share no (site, position); label them with the same ones")
    return {
        name: Rows({key: one.features[key] for key in keys}, one.wrong, one.groups, one.prompts, one.logprob)
        for name, one in sets.items()
    }


def _within(name: str, rows: Rows, settings: Settings, n_resamples: int) -> Cell:
    try:
        scores = nested_scores(rows, settings)
    except InputError as problem:
        return Cell(name, name, None, len(rows), note=str(problem))
    estimate, note = auroc_or_why(rows, scores, n_resamples)
    return Cell(name, name, estimate, len(rows), note=note)


def nested_scores(rows: Rows, settings: Settings) -> np.ndarray:
    """Return out-of-fold scores of nested cross-validation, (n,)."""
    candidates, y, groups = rows.checked()
    folds = grouped_folds(y, groups, settings.n_folds, settings.seed)
    return nested_selection(candidates, y[None], groups, folds, settings).scores[0].numpy()


def _across(names: tuple[str, str], train: Rows, test: Rows, settings: Settings, n_resamples: int) -> Cell:
    kept = train.take(~shared_rows(train, test))
    dropped = len(train) - len(kept)
    if not len(kept):
        return Cell(*names, None, 0, dropped, note=f"all {dropped} training rows share a group or prompt with the test")
    try:
        probe = ErrorProbe(settings).fit(kept.features, kept.wrong, kept.groups)
    except InputError as problem:
        return Cell(*names, None, len(kept), dropped, note=str(problem))
    key = (probe.site_, probe.position_)
    estimate, note = auroc_or_why(test, probe.decision(test.features[key]), n_resamples)
    return Cell(*names, estimate, len(kept), dropped, " ".join(key), note)


def shared_rows(train: Rows, test: Rows) -> np.ndarray:
    """Which training rows have a group or a prompt of the test set, (n,) bool."""
    shared = np.isin(train.groups.astype(str), test.groups.astype(str))
    if train.prompts is not None and test.prompts is not None:
        known = set(test.prompts.tolist())
        shared |= np.array([prompt in known for prompt in train.prompts.tolist()], dtype=bool)
    return shared


def auroc_or_why(rows: Rows, scores: np.ndarray, n_resamples: int) -> tuple[Estimate | None, str]:
    """Return the AUROC, or None and why there is none."""
    try:
        return group_bootstrap(auroc, (rows.wrong, scores), rows.groups, n_resamples=n_resamples), ""
    except InputError as problem:
        return None, str(problem)
