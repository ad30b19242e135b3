"""An independent model's opinion of a run folder's answers, kept in the folder: `opinion-TASK.json`.

opinions = opinion_step(folder, "my-small-model")
opinions["aliasing"].columns(rows)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ellora_trust.cachedir import cache_dir
from ellora_trust.errors import InputError
from ellora_trust.loading import load
from ellora_trust.report import write_json
from probes.fitting.opinion import Opinion, opinion_of
from probes.steps.run_folder import RunFolder, named_tasks

FILE = "opinion-{}.json"


def opinion_step(
    folder: RunFolder,
    model: str,
    *,
    tasks: Iterable[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> dict[str, Opinion]:
    """Ask an independent model about the answers of each task, or read what it said before.

    Args:
        folder: With labels.
        model: As for `load`; not the one that answered.
        tasks: Which; None takes all that were labelled.
        say: Called with a line for each task.
        progress: Show progress bars.

    Raises:
        InputError: No labels, or the model is the one that answered.
    """
    run, found = folder.run(), {}
    judge = load(model)
    if judge.fingerprint == run.model["fingerprint"]:
        raise InputError(
            f"{model} is the model that answered; its own log-probability is among the baselines already: "
            "give --opinion another model"
        )
    for name in named_tasks(run, tasks):
        path, labelled = folder.path / FILE.format(name), folder.read_labels(name)
        there = _read(folder, name)
        if there and (there.fingerprint, there.sha256) == (judge.fingerprint, labelled.content_hash()):
            say(f"{name}: the opinion of {there.model} is there already")
            found[name] = there
            continue
        say(f"{name}: asking {model} for its opinion of {len(labelled.examples)} answers")
        found[name] = opinion_of(judge, labelled, store=cache_dir() / "activations", progress=progress)
        write_json(found[name].to_dict(), path)
    return found


def _read(folder: RunFolder, task: str) -> Opinion | None:
    path = folder.path / FILE.format(task)
    if not path.is_file():
        return None
    try:
        return Opinion.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError):  # damaged: it is taken again
        return None
