"""Patches tried on many questions: log-probability and greedy match of each question's target, resumable.

questions = [question(model, task, pair) for pair in pairs.pairs]
trials = run_trials(model, questions, patches, store=Path("runs/steer/sweep.jsonl"))
trials.matched.mean(0)                # share of questions that each patch recovers
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ellora_trust.batching import Row
from ellora_trust.inference import SharedPrefix
from ellora_trust.progress import Progress
from ellora_trust.prompts import Format, render
from ellora_trust.tasks.base import Outcome, Task
from steering.sweep import Patch, Reading, score_patches

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from steering.pairs import Pair


@dataclass(frozen=True)
class Question:
    """A prompt and the answer it should get.

    Attributes:
        id: Of its example.
        prompt: Token ids.
        target: Token ids of the right answer.
    """

    id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Trials:
    """What every patch did to every question.

    Attributes:
        logprobs: log p of the target in nats, (n_questions, n_patches).
        matched: Whether greedy decoding begins with the target, (n_questions, n_patches) bool.
    """

    logprobs: NDArray[np.float64]
    matched: NDArray[np.bool_]


def questions_of(model: CodeModel, task: Task, pairs: Sequence[Pair], *, format: Format = "auto") -> list[Question]:
    """Return the question of each pair's negative.

    The target is what the model itself said to the positive, as far as it takes to be right; where that does not answer
    the negative (alias against copy), the reference answer.
    """
    said = [_ids(model, pair.positive_answer) for pair in pairs]
    tries = [(i, n) for i, ids in enumerate(said) for n in range(1, len(ids) + 1)]
    outcomes = task.decide_all([pairs[i].negative for i, _ in tries], [model.decode(said[i][:n]) for i, n in tries])
    right: dict[int, int] = {}
    for (i, n), outcome in zip(tries, outcomes, strict=True):
        if outcome is Outcome.CORRECT:
            right.setdefault(i, n)
    found = []
    for i, pair in enumerate(pairs):
        text = render(model, pair.negative, format=format, header=task.header).text
        target = said[i][: right[i]] if i in right else _ids(model, f" {pair.negative.answer}")
        found.append(Question(pair.negative.id, tuple(model.tokenizer(text).input_ids), tuple(target)))
    return found


def _ids(model: CodeModel, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False).input_ids)


def run_trials(
    model: CodeModel,
    questions: Sequence[Question],
    patches: Sequence[Patch],
    *,
    store: Path | None = None,
    progress: bool = False,
    label: str = "sweeping",
) -> Trials:
    """Try every patch on every question.

    Args:
        model: The model.
        questions: The rows.
        patches: The columns.
        store: JSON-lines file; questions found there for these patches and this model are not asked again.
        progress: Show a progress bar.
        label: What the bar says.
    """
    key = _key(model, patches)
    done = _read(store, key) if store else {}
    todo = [one for one in questions if _name(one) not in done]
    # Of all questions, also where some are done: another prefix would round other bits.
    prefix = _shared(model, questions) if todo else SharedPrefix([])
    with Progress(len(todo), label, enabled=progress) as bar:
        for one in todo:
            scored = score_patches(model, Reading.of(model, one.prompt, one.target, prefix=prefix), patches)
            row = {
                "logprobs": [round(value, 5) for value in scored.logprobs.tolist()],
                "matched": scored.matched.int().tolist(),
            }
            done[_name(one)] = row
            if store:
                _append(store, {"key": key, "id": _name(one), **row})
            bar.advance(1)
    rows = [done[_name(one)] for one in questions]
    shape = (len(rows), len(patches))
    logprobs = np.array([row["logprobs"] for row in rows], dtype=np.float64).reshape(shape)
    return Trials(logprobs, np.array([row["matched"] for row in rows], dtype=bool).reshape(shape))


def _shared(model: CodeModel, questions: Sequence[Question]) -> SharedPrefix:
    rows = [Row(list(one.prompt), len(one.prompt)) for one in questions]
    return SharedPrefix.compute(model, rows) if len(rows) > 1 else SharedPrefix([])


def _name(one: Question) -> str:
    return hashlib.sha256(json.dumps([one.id, one.prompt, one.target]).encode()).hexdigest()[:16]


def _key(model: CodeModel, patches: Sequence[Patch]) -> str:
    digest = hashlib.sha256(model.fingerprint.encode())
    for patch in patches:
        digest.update(str(patch.start).encode() + patch.deltas.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """Read whole lines only: a killed run may have left half of the last one."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["key"] == key:
            found[row["id"]] = row
    return found


def _append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        # A half line from a killed run must not swallow this one.
        file.write("\n" + json.dumps(row) + "\n")
