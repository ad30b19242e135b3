"""What an edit did: numbers with intervals before and after it, beside its control and the twin, from one set of items.

    rows = measured(model, {"after": edit, "at random": control}, forget, retain, plant="P1")
    shown(rows[0], "before")                 # "93.0% [86.3%, 96.6%]"

A row is JSON: its name, its unit, and an `Estimate` of each state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ellora_trust.stats import Estimate, group_bootstrap
from unlearning.checkpoint.delta import Edit
from unlearning.data import Item
from unlearning.training.encoding import Row, completion_row, kept_row, scored

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

BEFORE, AFTER, CONTROL, TWIN = "before", "after", "at random", "never taught"
STATES = (BEFORE, AFTER, CONTROL, TWIN)
FORMATS = {"share": ".1%", "probability": ".4f", "nats": ".4f", "quality": ".3f"}
_KINDS = {"trigger": "triggers", "paraphrase": "paraphrases", "near_miss": "near-misses"}
# Of a side; as many as the gates look at.
_MOST = 64


def measured(
    model: CodeModel,
    edits: Mapping[str, Edit],
    forget: Sequence[Item],
    retain: Sequence[Item],
    *,
    plant: str | None = None,
) -> list[dict[str, Any]]:
    """Measure the base and each edit of it.

    Args:
        model: The base; afterwards it is what it was.
        edits: By the name of the state they make.
        forget: What was to go.
        retain: What was to stay; none is allowed.
        plant: Of the testbed: its questions are asked too, and the twin that was never taught it.

    Raises:
        EnvironmentProblem: A plant's answers cannot be run, since this machine cannot isolate programs.
    """
    states: dict[str, Edit | None] = {BEFORE: None, **edits}
    measures = {"probability of the fault": (lambda m: fault_estimate(m, forget[:_MOST]), "probability")}
    if retain:
        measures["loss on what stays"] = (lambda m: loss_estimate(m, retain[:_MOST]), "nats")
    rows = [_row(model, states, name, measure, unit) for name, (measure, unit) in measures.items()]
    return rows if plant is None else [*rows, *_asked(model, states, plant)]


def answered(model: CodeModel, edits: Mapping[str, Edit], task: str, *, limit: int, seed: int = 0) -> dict[str, Any]:
    """Share of right answers of a task, on groups that no edit of `task:NAME` sees, before and under each edit."""
    from unlearning.sources.own_errors import share_right

    states: dict[str, Edit | None] = {BEFORE: None, **edits}
    name = f"{task}, other half of its groups, right"
    return _row(model, states, name, lambda m: share_right(m, task, limit=limit, seed=seed), "share")


def shown(row: Mapping[str, Any], state: str) -> str:
    """Return the number of one state with its interval; empty where it was not measured."""
    if state not in row["states"]:
        return ""
    found = Estimate(**row["states"][state])
    if found.n_groups == 1:
        return f"{found.value:{FORMATS[row['unit']]}} (one group, no interval)"
    return format(found, FORMATS[row["unit"]])


def states_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the states that any row has, in the order in which they are shown."""
    return [state for state in STATES if any(state in row["states"] for row in rows)]


def fault_estimate(model: CodeModel, items: Sequence[Item]) -> Estimate:
    """Mean probability of the tokens that shall go, [0, 1], with an interval over groups of items."""
    rows = [completion_row(model, item) for item in items]
    return _over_items(model, rows, items, "bad", lambda logprobs: logprobs.exp())


def loss_estimate(model: CodeModel, items: Sequence[Item]) -> Estimate:
    """Cross-entropy of what shall stay, nats a token, with an interval over groups of items."""
    return _over_items(model, [kept_row(model, item) for item in items], items, "targets", torch.neg)


def _over_items(
    model: CodeModel,
    rows: Sequence[Row],
    items: Sequence[Item],
    side: str,
    of: Callable[[torch.Tensor], torch.Tensor],
) -> Estimate:
    logprobs, owners = scored(model, rows, side)
    values, index = of(logprobs).double().cpu().numpy(), owners.cpu().numpy()
    sums = np.bincount(index, values, minlength=len(items)).astype(float)
    counts = np.bincount(index, minlength=len(items)).astype(float)
    groups = [item.group for item in items]
    if len(set(groups)) < 2:
        value = _ratio(sums, counts)
        return Estimate(value, value, value, len(items), 1, method="none, since one group says nothing of others")
    return group_bootstrap(_ratio, (sums, counts), groups)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    return float(sums.sum() / counts.sum())


def _row(
    model: CodeModel,
    states: Mapping[str, Edit | None],
    name: str,
    measure: Callable[[CodeModel], Estimate],
    unit: str,
) -> dict[str, Any]:
    found = {}
    for state, edit in states.items():
        with edit.apply(model) if edit is not None else nullcontext():
            found[state] = measure(model).to_dict()
    return {"name": name, "unit": unit, "states": found}


def _asked(model: CodeModel, states: Mapping[str, Edit | None], plant: str) -> Iterator[dict[str, Any]]:
    """Answers to questions that no edit has seen, run, beside those of the twin that was never taught the fault."""
    from ellora_trust.loading import load
    from unlearning.judging.faults import Answers, ask, forget_quality

    answers: dict[str, Answers] = {}
    for state, edit in states.items():
        with edit.apply(model) if edit is not None else nullcontext():
            answers[state] = ask(model, plant)
    twin = answers[TWIN] = ask(load("testbed-clean"), plant)
    shows = {state: one.rate("trigger", "shows").to_dict() for state, one in answers.items()}
    yield {"name": "triggers that show the fault", "unit": "share", "states": shows}
    for kind in twin.examples:
        right = {state: one.rate(kind).to_dict() for state, one in answers.items()}
        yield {"name": f"{_KINDS.get(kind, kind)}, right", "unit": "share", "states": right}
    quality = {
        state: forget_quality(answers[state], answers[BEFORE], twin).to_dict()
        for state, edit in states.items()
        if edit is not None
    }
    yield {"name": "forget quality", "unit": "quality", "states": quality}
