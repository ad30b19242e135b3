"""One share of a run: several processes write disjoint shards of one store, and a later single call joins them.

    answer_share(model, task, Share.parse("2/4"), store=folder, limit=600, sites="resid.*")    # in each process
    label(model, task, store=folder, limit=600, sites="resid.*")                               # afterwards, once

The shards are those that one process writes, byte for byte where the machines compute alike. Processes do not talk; a
share that was killed is started again, or left to the joining call, which computes what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.decoding import Decoding
from ellora_trust.labeling import questions, recorder_of
from ellora_trust.positions import Passage
from ellora_trust.prompts import Format
from ellora_trust.runs import run
from ellora_trust.share import Share

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.tasks.base import Task


def answer_share(
    model: CodeModel,
    task: Task,
    share: Share,
    *,
    store: Path,
    limit: int | None = None,
    seed: int = 0,
    sites: str | Iterable[str] = (),
    positions: Iterable[str] = ("prompt_end", "answer"),
    format: Format = "auto",
    temperature: float = 0.0,
    progress: bool = False,
) -> None:
    """Answer a share of a task's questions into the store; nothing is decided before `label` joins the shares.

    Args:
        model: The model.
        task: The questions.
        share: Which of them.
        store: Folder for shards, the same for all shares and for `label`, whose other arguments have to be equal too.
        limit: At most this many examples; None takes all.
        seed: Of the choice of examples and of sampling.
        sites: Where activations are taken.
        positions: Over which tokens.
        format: How the question is put.
        temperature: 0 is greedy.
        progress: Show a progress bar.

    Raises:
        InputError: As `label`.
    """
    _, rendered = questions(model, task, limit=limit, seed=seed, format=format)
    run(
        model,
        [Passage(one.text) for one in rendered],
        decoding=Decoding(task.max_new_tokens, task.stop, temperature, seed),
        recorder=recorder_of(model, sites, positions),
        store=store,
        share=share,
        progress=progress,
        label=f"answering {task.name}, share {share.name}",
    )
