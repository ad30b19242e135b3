"""`unlearn`: an edit of weights within a budget, watched on held-out items, resumable, deterministic by seed.

    edit = unlearn(model, forget=read_forget("testbed:P1"), retain=read_retain("testbed:P1"))
    with edit.apply(model): ...

The model is left as it was found; the edit holds the change.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.artifacts import DESCRIPTION, describe_model
from ellora_trust.errors import InputError
from ellora_trust.precision import need_float
from ellora_trust.sharded import is_divided
from unlearning.checkpoint.delta import Edit, weights_sha256
from unlearning.data import Item, data_hash
from unlearning.recipes import Objective, objective
from unlearning.sources.held_out import Watched, split
from unlearning.training.budget import Budget
from unlearning.training.distil import distil, together
from unlearning.training.loop import Loop
from unlearning.training.progress_state import Check, ProgressState
from unlearning.training.receipt import Cost, cost, receipt
from unlearning.training.robust import Robust
from unlearning.training.trainable import Trainable, recomputing_if, trainable
from unlearning.where import Where

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

StopWhen = float | Callable[[Check], bool] | None


def unlearn(
    model: CodeModel,
    *,
    forget: Sequence[Item],
    retain: Sequence[Item] = (),
    objective: str = "replace",
    where: str | Where = "all",
    robust: str | Robust | None = None,
    budget: Budget | None = None,
    stop_when: StopWhen = None,
    seed: int = 0,
    out: str | Path | None = None,
    recompute: bool = False,
    measure_cost: bool = True,
    progress: bool = False,
) -> Edit:
    """Make a model forget some items and keep others; return the change.

    Args:
        model: The model; afterwards it is what it was, bit for bit.
        forget: What shall go.
        retain: What shall stay. Objectives that keep nothing are still stopped by it when they break the model.
        objective: A name of `recipes.OBJECTIVES`.
        where: Which weights may change; see `Where.parse`.
        robust: `sam`, `quantised` or `distil`, or a `Robust` with its settings; None edits plainly.
        budget: Length and limits; the default one if None.
        stop_when: Stop once the held-out probability of what shall go is at most this, or when a function of the last
            check says so; None runs the whole budget.
        seed: Of held-out groups, batches and adapters.
        out: Folder of the edit. A stopped run goes on from its last check when it is called again; a finished one is
            read.
        recompute: Run blocks twice instead of keeping their activations, which halves memory for a third more work.
        measure_cost: Whether a receipt is made, which takes about ten steps.
        progress: Show rate and time left.

    Raises:
        InputError: No item, an unknown objective, place or mode, a `stop_when` that is no probability, quantised
            weights, a folder of another edit, or one for a model that is divided over processes.
        EnvironmentProblem: The folder cannot be written, or a package is missing.
    """
    need_float(model, "unlearn")
    if isinstance(stop_when, float | int) and not 0 <= stop_when <= 1:
        raise InputError(f"stop_when={stop_when} is out of range; use a probability of the fault, 0..1")
    chosen, budget = _checked(forget, retain, objective), budget or Budget()
    place = _place(where, model)
    mode = Robust.of(robust, place, model)
    identity = {
        "model": model.fingerprint,
        "objective": chosen.name,
        "where": place.text,
        "robust": None if mode is None else asdict(mode),
        "budget": asdict(budget),
        "stop_when": "function" if callable(stop_when) else stop_when,
        "seed": seed,
        "data": {"forget": len(forget), "retain": len(retain), "sha256": data_hash(forget, retain)},
    }
    folder = None if out is None else _unshared(Path(out), model)
    if folder is not None and (done := _finished(folder, identity)):
        return done
    with _scratch(folder) as scratch:
        watched = split(forget, retain, share=budget.holdout, seed=seed)
        loop = Loop(
            model, chosen, budget, seed, watched, measure_cost=measure_cost, layer=place.last_layer(model), robust=mode
        )
        state = ProgressState(scratch, identity)
        edit = _run(loop, place, state, stop_when, recompute=recompute, progress=progress)
    if folder is not None:
        edit.save(folder)
        shutil.rmtree(_progress_folder(folder), ignore_errors=True)
    return edit


def _run(
    loop: Loop, where: Where, state: ProgressState, stop_when: StopWhen, *, recompute: bool, progress: bool
) -> Edit:
    model, robust = loop.model, loop.robust
    base = {**describe_model(model), "weights_sha256": weights_sha256(model.hf)}
    plain = cost(loop.plain_step) if loop.measure_cost else None
    multiples: dict[str, Any] = {}
    with trainable(model, where, seed=loop.seed, scratch=state.folder) as weights:
        with recomputing_if(recompute, model):
            found = None if plain is None else cost(lambda: loop.dry_step(weights.parameters))
            history, why = loop.run(weights, state, stop_when, progress)
        if loop.objective.subtract is not None:
            weights.subtract(loop.objective.subtract)
        config = {**state.identity, "stopped": why, "steps": history[-1].step}
        if robust is not None and robust.mode == "distil":
            taught = distil(loop, weights, where, state, recompute=recompute, progress=progress)
            history += [replace(check, step=config["steps"] + check.step) for check in taught.history]
            config["distilled"] = taught.why
            if found is not None:
                found = together(found, taught.cost, steps=max(1, config["steps"]), after=robust.steps)
        if plain is not None and found is not None:
            multiples = _multiples(loop, weights, found, plain, adapters=where.rank is not None)
        delta = weights.delta()
    return Edit(base, delta, config, [asdict(check) for check in history], multiples)


def _multiples(loop: Loop, weights: Trainable, found: Cost, plain: Cost, *, adapters: bool) -> dict[str, Any]:
    own = sum(p.numel() * p.element_size() for p in weights.parameters.values())
    # Adapters lie beside the model's own weights.
    lora = own if adapters else 0
    all_bytes = sum(p.numel() * p.element_size() for p in loop.model.hf.parameters()) - lora
    # Adam keeps two moments of each weight that is trained.
    multiples = receipt(found, plain, edit_bytes=all_bytes + lora + 2 * own, plain_bytes=3 * all_bytes)
    # With gradients: what weights and optimizer take, whatever the batch.
    multiples["state"] = (all_bytes + lora + 3 * own) / (4 * all_bytes)
    return multiples


def _checked(forget: Sequence[Item], retain: Sequence[Item], name: str) -> Objective:
    chosen = objective(name)
    if not forget:
        raise InputError("there is nothing to forget: the list is empty; give at least one item")
    if chosen.retain != "none" and not retain:
        raise InputError(f"objective {name!r} keeps a retain set, but none was given; give --retain, or use ga or prod")
    return chosen


def _place(where: str | Where, model: CodeModel) -> Where:
    place = Where.parse(where, model) if isinstance(where, str) else where
    if place.chosen_by is not None:
        raise InputError(
            f"{place.chosen_by} was chosen by interpretation, so its edit needs a control at a random place; use "
            f"unlearning.control.beside_control, or name the sites themselves: {place.text}"
        )
    return place


def _unshared(folder: Path, model: CodeModel) -> Path:
    if any(is_divided(p) for p in model.hf.parameters()):
        raise InputError(
            f"every process of a model that is divided over processes would write {folder}; give no out, and "
            "save the edit in one process: edit.save(FOLDER)"
        )
    return folder


def _finished(folder: Path, identity: dict[str, Any]) -> Edit | None:
    if not (folder / DESCRIPTION).exists():
        return None
    edit = Edit.load(folder)
    changed = [name for name in identity if edit.config.get(name) != Watched.plain(identity[name])]
    if changed:
        raise InputError(f"{folder} holds an edit with another {changed[0]}; use another --out or the same settings")
    return edit


def _progress_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.progress")


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """Old values and the last good state lie beside the edit, so that a stopped run goes on, or in no place to stay."""
    from ellora_trust.cachedir import explained

    if folder is None:
        with tempfile.TemporaryDirectory(prefix="ellora-trust-") as name:
            yield Path(name)
        return
    beside = _progress_folder(folder)
    with explained(beside):
        beside.mkdir(parents=True, exist_ok=True)
    yield beside
