"""What a study found: estimates with intervals, paired differences, the sweep's picture, the choices.

result = assemble(model, pairs, "mean_difference", cells, rows, two_examples, vector)
result.estimates["recovered"], result.differences["two examples"]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.stats import Estimate, group_bootstrap, mcnemar, wilson
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
        p_value: Exact McNemar, where the control is one answer a pair; None for the mean of random directions.
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
    estimates = _estimates(joined, groups, hindsight, two)
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
        _differences(joined, groups, order, two),
        [str(fold.cell) for fold in rows],
        str(cells[hindsight]),
        [(cell, float(share)) for cell, share in zip(cells, joined.sweep.mean(0), strict=True)],
        _by_type([pairs.pairs[i].type for i in order], joined.recovered),
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
        self.divergence = np.mean([fold.divergence for fold in rows], axis=0)


def _estimates(
    joined: _Joined, groups: NDArray, hindsight: int, two: tuple[NDArray[np.int_], NDArray[np.bool_]]
) -> dict[str, Estimate]:
    controls = joined.controls
    found = {
        "recovered": _share(joined.recovered),
        "matched": _share(controls[:, CHOSEN]),
        "hindsight": _share(joined.sweep[:, hindsight]),
        "random": group_bootstrap(np.mean, (controls[:, RANDOM:].mean(1),), groups),
        "shuffled": _share(controls[:, SHUFFLED]),
        "other": _share(controls[:, OTHER]),
        "recovered with gate": _share(joined.gated),
        "wrong way": _share(joined.logprobs[:, CHOSEN] < joined.logprobs[:, PLAIN]),
        "divergence": group_bootstrap(np.mean, (joined.divergence,), np.arange(len(joined.divergence))),
    }
    if len(joined.corrupted):
        found["corrupted"] = _share(joined.corrupted)
        found["corrupted with gate"] = _share(joined.corrupted_gated)
    if len(two[1]):
        found["two examples"] = _share(two[1])
    return {name: found[name] for name in NAMES if name in found}


def _share(flags: NDArray[np.bool_]) -> Estimate:
    return wilson(int(flags.sum()), len(flags))


def _differences(
    joined: _Joined, groups: NDArray, order: NDArray, two: tuple[NDArray[np.int_], NDArray[np.bool_]]
) -> dict[str, Difference]:
    matched = joined.controls[:, CHOSEN].astype(float)

    def against(control: NDArray, tested: bool) -> Difference:
        estimate = group_bootstrap(np.mean, (matched - control,), groups)
        return Difference(estimate, mcnemar(matched, control).p_value if tested else None)

    found = {
        "random": against(joined.controls[:, RANDOM:].mean(1), False),
        "shuffled": against(joined.controls[:, SHUFFLED].astype(float), True),
        "other": against(joined.controls[:, OTHER].astype(float), True),
    }
    if len(two[1]):
        place = {pair: row for row, pair in enumerate(order.tolist())}
        at = np.array([place[i] for i in two[0].tolist()])
        steered, shot = joined.recovered[at].astype(float), two[1].astype(float)
        estimate = group_bootstrap(np.mean, (steered - shot,), groups[at])
        found["two examples"] = Difference(estimate, mcnemar(steered, shot).p_value)
    return found


def _by_type(types: Sequence[str], recovered: NDArray[np.bool_], at_least: int = 5) -> dict[str, Estimate]:
    """Recovery by wanted answer, most frequent first; answers with fewer pairs together as `others`."""
    rows: dict[str, list[bool]] = defaultdict(list)
    for name, flag in zip(types, recovered.tolist(), strict=True):
        rows[name].append(flag)
    common = sorted((name for name in rows if len(rows[name]) >= at_least), key=lambda name: -len(rows[name]))
    others = [flag for name, flags in rows.items() if name not in common for flag in flags]
    named = {name: rows[name] for name in common} | ({"others": others} if others else {})
    return {name: wilson(sum(flags), len(flags)) for name, flags in named.items()}
