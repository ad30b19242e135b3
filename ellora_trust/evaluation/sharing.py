"""One share of a comparison: questions answered and decided in every state of the model, for `compare` to find.

    answer_share(model, {"edit": "runs/edit"}, "standard", Share.parse("2/4"))      # in each process
    compare(model, {"edit": "runs/edit"}, "standard")                               # afterwards, once

Shares are whole batches, so that the answers are those of one process. What follows from answers (attacks, noise floor,
distances) is left to the call that joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.answers import CHUNK, answer_all
from ellora_trust.evaluation.asking.cache import ItemCache, state_of
from ellora_trust.evaluation.asking.suite import Suite
from ellora_trust.evaluation.changes.candidates import Candidate, Replacement, as_candidate
from ellora_trust.evaluation.comparing import Comparer
from ellora_trust.intervention import Intervention
from ellora_trust.share import Share

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


def answer_share(
    model: CodeModel,
    interventions: Mapping[str, Intervention | Candidate | str],
    suite: Suite | str | Path,
    share: Share,
    *,
    force: bool = False,
    progress: bool = False,
) -> None:
    """Answer this share of a suite's questions with the model as it is and under each intervention.

    Args:
        model: The base.
        interventions: As for `compare`.
        suite: The same for all shares and for `compare`.
        share: Which batches of questions.
        force: As for `compare`.
        progress: Show progress bars.

    Raises:
        InputError: As `compare`; or an intervention that cannot be identified, whose answers nobody would find again.
        EnvironmentProblem: Programs would have to run and cannot be isolated.
    """
    chosen = suite if isinstance(suite, Suite) else Suite.named(suite, model)
    comparer = Comparer(model, chosen, progress=progress)
    _answer(comparer, model, None, share)
    for name, given in interventions.items():
        candidate = as_candidate(name, given, model, force=force)
        acting = None if isinstance(candidate.intervention, Replacement) else candidate.intervention
        with candidate.entered(model) as changed:
            _answer(comparer, changed, acting, share)


def _answer(comparer: Comparer, model: CodeModel, acting: object, share: Share) -> None:
    state = state_of(model, acting)
    if state is None:
        raise InputError(
            f"{acting} holds something that has no identity, so its answers cannot be shared; compare alone"
        )
    cache = ItemCache(state, share=share)
    for question in comparer.questions:
        mine = [one for number, one in enumerate(question.examples) if share.has(number // CHUNK)]
        if mine:
            answer_all(model, question.task, mine, cache=cache, progress=comparer.progress)
