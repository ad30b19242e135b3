"""What a study found: estimates with intervals, paired differences, the sweep's picture, the choices.

result = assemble(model, pairs, "mean_difference", cells, rows, two_examples, vector)
result.estimates["recovered"], result.differences["two examples"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.evaluation.judging.paired import group_exchange_p, rate
from ellora_trust.stats import Estimate, group_bootstrap
from steering.measuring.grid import Cell
from steering.measuring.trials import Trials
from steering.vector import SteeringVector

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import PairSet

# Columns of the controls' trials.
PLAIN, CHOSEN, SHUFFLED, OTHER, RANDOM = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class FoldRows:
    """What one fold gave.

    Attributes:
        cell: The cell chosen on the validation pairs.
        validation: Every cell on the validation pairs.
        test: Which pairs were held out, (n,).
        sweep: Every cell on them.
        controls: Nothing, the vector, shuffled labels, another task's vector and random ones on them.
        recovered: Whether the whole steered answer is right, (n,).
        gated: The same with the gate.
        corrupted: Whether steering breaks each held-out question that was answered rightly, (m,).
        corrupted_gated: The same with the gate.
        right_groups: Groups of these m questions.
        divergence: KL in nats on each unrelated prompt.
    """

    cell: Cell
    validation: Trials
    test: NDArray[np.int_]
    sweep: Trials
    controls: Trials
    recovered: NDArray[np.bool_]
    gated: NDArray[np.bool_]
    corrupted: NDArray[np.bool_]
    corrupted_gated: NDArray[np.bool_]
    right_groups: tuple[str, ...]
    divergence: NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Steered minus a control on the same pairs.

    Attributes:
        estimate: Difference of shares, [-1, 1], with a bootstrap over groups.
        p_value: Exact McNemar test with whole groups exchanged, where the control is one answer a pair; None for the
            mean of random directions.
    """

    estimate: Estimate
    p_value: float | None


@dataclass(frozen=True)
class Study:
    """Everything that `ellora-trust steer` says of one edit.

    Attributes:
        task: Its name.
        edit: The edit or direction.
        model: Name and fingerprint.
        method: How directions were fitted.
        n_pairs: Pairs, each held out once.
        n_groups: Groups of them.
        counts: What became of the originals, by reason.
        estimates: By name; see `NAMES`.
        differences: Steered minus each control.
        chosen: Cell of each fold.
        hindsight: The cell that is best on the held-out pairs themselves.
        cells: Every cell with the share of held-out pairs it recovers (first tokens).
        by_type: Wanted answer to recovery.
        vector: Fitted on all pairs; not in the JSON.
    """

    task: str
    edit: str
    model: Mapping[str, str]
    method: str
    n_pairs: int
    n_groups: int
    counts: Mapping[str, int]
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    chosen: Sequence[str]
    hindsight: str
    cells: Sequence[tuple[Cell, float]]
    by_type: Mapping[str, Estimate]
    vector: SteeringVector

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the vector's tensors as JSON."""
        plain = {
            "task": self.task,
            "edit": self.edit,
            "model": dict(self.model),
            "method": self.method,
            "n_pairs": self.n_pairs,
            "n_groups": self.n_groups,
            "counts": dict(self.counts),
            "chosen": list(self.chosen),
            "hindsight": self.hindsight,
            "cells": [{**asdict(cell), "matched": share} for cell, share in self.cells],
            "estimates": {name: one.to_dict() for name, one in self.estimates.items()},
            "by_type": {name: one.to_dict() for name, one in self.by_type.items()},
            "differences": {
                name: {**one.estimate.to_dict(), "p_value": one.p_value} for name, one in self.differences.items()
            },
        }
        return {**plain, "vector": {"sites": list(self.vector.sites), "strength": self.vector.strength}}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], vector: Path) -> Study:
        """Return a study from what `to_dict` gave and its saved vector's folder."""
        given = {name: plain[name] for name in ("task", "edit", "model", "method", "n_pairs", "n_groups", "counts")}
        cells = [(Cell(one["start"], one["window"], one["strength"]), one["matched"]) for one in plain["cells"]]
        differences = {name: Difference(_estimate(one), one["p_value"]) for name, one in plain["differences"].items()}
        return cls(
            **given,
            estimates={name: _estimate(one) for name, one in plain["estimates"].items()},
            differences=differences,
            chosen=plain["chosen"],
            hindsight=plain["hindsight"],
            cells=cells,
            by_type={name: _estimate(one) for name, one in plain["by_type"].items()},
            vector=SteeringVector.load(vector),
        )


def _estimate(plain: Mapping[str, Any]) -> Estimate:
    return Estimate(**{name: value for name, value in plain.items() if name != "p_value"})


# Name of an estimate -> what it is.
NAMES = {
    "recovered": "steered, chosen on other groups: whole answer right",
    "matched": "the same: first tokens right",
    "hindsight": "best cell in hindsight: first tokens right",
    "random": "random directions of the same length, mean of all draws: first tokens right",
    "shuffled": "vector of shuffled labels: first tokens right",
    "other": "vector of another task, same length: first tokens right",
    "two examples": "two worked examples instead of steering: whole answer right",
    "corrupted": "questions answered rightly that steering breaks",
    "recovered with gate": "steered where the gate opens: whole answer right",
    "corrupted with gate": "questions answered rightly that gated steering breaks",
    "wrong way": "pairs whose right answer becomes less likely",
    "divergence": "KL on prompts of another task, nats",
}


def assemble(
    model: CodeModel,
    pairs: PairSet,
    method: str,
    cells: Sequence[Cell],
    rows: Sequence[FoldRows],
    two: tuple[NDArray[np.int_], NDArray[np.bool_]],
    vector: SteeringVector,
) -> Study:
    """Return the study's result from what its folds gave."""
    order = np.concatenate([fold.test for fold in rows])
    groups = np.array([pairs.pairs[i].positive.group for i in order])
    joined = _Joined(rows)
    hindsight = max(range(len(cells)), key=lambda i: joined.sweep[:, i].mean())
    place = {pair: row for row, pair in enumerate(order.tolist())}
    asked = np.array([place[i] for i in two[0].tolist()], dtype=int)
    estimates = _estimates(joined, groups, hindsight, asked, two[1])
    edit = pairs.edits[0]
    return Study(
        pairs.task,
        edit,
        {"name": model.name, "fingerprint": model.fingerprint},
        method,
        len(pairs),
        len(set(groups)),
        dict(pairs.counts.get(edit, {})),
        estimates,
        _differences(joined, groups, asked, two[1]),
        [str(fold.cell) for fold in rows],
        str(cells[hindsight]),
        [(cell, float(share)) for cell, share in zip(cells, joined.sweep.mean(0), strict=True)],
        _by_type(np.array([pairs.pairs[i].type for i in order]), joined.recovered, groups),
        vector,
    )


class _Joined:
    """The folds' rows, one after the other."""

    def __init__(self, rows: Sequence[FoldRows]):
        self.sweep = np.concatenate([fold.sweep.matched for fold in rows])
        self.controls = np.concatenate([fold.controls.matched for fold in rows])
        self.logprobs = np.concatenate([fold.controls.logprobs for fold in rows])
        self.recovered = np.concatenate([fold.recovered for fold in rows])
        self.gated = np.concatenate([fold.gated for fold in rows])
        self.corrupted = np.concatenate([fold.corrupted for fold in rows])
        self.corrupted_gated = np.concatenate([fold.corrupted_gated for fold in rows])
        self.right_groups = np.array([group for fold in rows for group in fold.right_groups])
        self.divergence = np.mean([fold.divergence for fold in rows], axis=0)


def _estimates(
    joined: _Joined, groups: NDArray, hindsight: int, asked: NDArray[np.int_], shot: NDArray[np.bool_]
) -> dict[str, Estimate]:
    """Estimates by name; `asked` are the rows of the pairs whose two-example answers are right or not, `shot`."""
    controls = joined.controls
    found = {
        "recovered": rate(joined.recovered, groups),
        "matched": rate(controls[:, CHOSEN], groups),
        "hindsight": rate(joined.sweep[:, hindsight], groups),
        "random": group_bootstrap(np.mean, (controls[:, RANDOM:].mean(1),), groups),
        "shuffled": rate(controls[:, SHUFFLED], groups),
        "other": rate(controls[:, OTHER], groups),
        "recovered with gate": rate(joined.gated, groups),
        "wrong way": rate(joined.logprobs[:, CHOSEN] < joined.logprobs[:, PLAIN], groups),
        "divergence": group_bootstrap(np.mean, (joined.divergence,), np.arange(len(joined.divergence))),
    }
    if len(joined.corrupted):
        found["corrupted"] = rate(joined.corrupted, joined.right_groups)
        found["corrupted with gate"] = rate(joined.corrupted_gated, joined.right_groups)
    if len(shot):
        found["two examples"] = rate(shot, groups[asked])
    return {name: found[name] for name in NAMES if name in found}


def _differences(
    joined: _Joined, groups: NDArray, asked: NDArray[np.int_], shot: NDArray[np.bool_]
) -> dict[str, Difference]:
    matched = joined.controls[:, CHOSEN].astype(float)
    found = {
        "random": _difference(matched - joined.controls[:, RANDOM:].mean(1), groups, tested=False),
        "shuffled": _difference(matched - joined.controls[:, SHUFFLED], groups),
        "other": _difference(matched - joined.controls[:, OTHER], groups),
    }
    if len(shot):
        found["two examples"] = _difference(joined.recovered[asked].astype(float) - shot, groups[asked])
    return found


def _difference(steered_minus_control: NDArray, groups: NDArray, *, tested: bool = True) -> Difference:
    p_value = group_exchange_p(steered_minus_control, groups) if tested else None
    return Difference(group_bootstrap(np.mean, (steered_minus_control,), groups), p_value)


def _by_type(types: NDArray, recovered: NDArray[np.bool_], groups: NDArray, at_least: int = 5) -> dict[str, Estimate]:
    """Recovery by wanted answer, most frequent first; answers of fewer groups together as `others`."""
    names, counts = np.unique(types, return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")].tolist()
    common = [name for name in ordered if len(set(groups[types == name])) >= at_least]
    rows = {name: types == name for name in common} | {"others": ~np.isin(types, common)}
    return {name: rate(recovered[at], groups[at]) for name, at in rows.items() if len(set(groups[at])) > 1}
