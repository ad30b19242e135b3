"""What a state of a model costs to run: tokens, forward passes, arithmetic, time for a token, memory.

    receipt(comparer, candidate, before, after).slowdown        # 1.02: a forward pass takes 2 % longer

Tokens are those of the whole comparison, whether answers were known before or not. The rest is measured on a few of its
questions, base and candidate in turns, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from ellora_trust.decoding import Decoding
from ellora_trust.positions import Passage
from ellora_trust.prompts import render
from ellora_trust.runs import run

if TYPE_CHECKING:
    from ellora_trust.evaluation.changes.candidates import Candidate
    from ellora_trust.evaluation.comparing import Comparer, State
    from ellora_trust.model import CodeModel

# Two turns are timed; the first counts operations, which takes time of its own.
_PROMPTS, _TOKENS, _TURNS = 2, 16, 3


@dataclass(frozen=True)
class Cost:
    """Of one state.

    Attributes:
        tokens_read: Of all questions' prompts, headers included.
        tokens_generated: Of all answers.
        forward_passes: To answer the sample: one for a batch of prompts, then one a token.
        flops: Of the sample's answers, floating-point operations, as torch counts them: matrix products and attention;
            adding a vector is not among them.
        seconds: To answer the sample, the shortest of some turns.
        peak_memory: Bytes that the process (on a GPU: torch) held at most meanwhile; None where that cannot be read.
    """

    tokens_read: int
    tokens_generated: int
    forward_passes: int
    flops: int
    seconds: float
    peak_memory: int | None

    @property
    def seconds_per_pass(self) -> float:
        """Of a forward pass on the sample."""
        return self.seconds / max(self.forward_passes, 1)


@dataclass(frozen=True)
class Receipt:
    """Cost of the base and of a candidate on the same questions.

    Attributes:
        before: Of the base.
        after: Of the candidate.
        sample: What was measured, in words.
    """

    before: Cost
    after: Cost
    sample: str

    @property
    def slowdown(self) -> float:
        """Time of a forward pass, candidate to base; 1 is as fast."""
        return self.after.seconds_per_pass / max(self.before.seconds_per_pass, 1e-12)


def receipt(comparer: Comparer, candidate: Candidate, before: State, after: State) -> Receipt | None:
    """Return what base and candidate cost on a comparison's own questions; None where it has none.

    Args:
        comparer: With the questions.
        candidate: Entered some times more.
        before: The base's answers.
        after: The candidate's.
    """
    passages = _sample(comparer)
    if not passages:
        return None
    sides: list[list[_Measured]] = [[], []]
    for _ in range(_TURNS):
        sides[0].append(_measured(comparer.model, passages, flops=not sides[0]))
        with candidate.entered(comparer.model) as model:
            sides[1].append(_measured(model, passages, flops=not sides[1]))
    read = sum(len(comparer.model.tokenizer(text).input_ids) for text in _texts(comparer))
    costs = [
        Cost(
            read,
            sum(len(one.tokens) for answers in state.answers for one in answers),
            turns[0].passes,
            turns[0].flops,
            min(one.seconds for one in turns[1:]),
            max((one.peak for one in turns if one.peak is not None), default=None),
        )
        for state, turns in ((before, sides[0]), (after, sides[1]))
    ]
    sample = f"{len(passages)} questions, {_TOKENS} tokens each, best of {_TURNS - 1} turns"
    return Receipt(costs[0], costs[1], sample)


def _texts(comparer: Comparer) -> Iterator[str]:
    for one in comparer.questions:
        for example in one.examples:
            yield render(comparer.model, example, header=one.task.header).text


def _sample(comparer: Comparer) -> list[Passage]:
    """Return the first questions of each task in turn that leave room for an answer."""
    model = comparer.model
    by_task = [[render(model, e, header=q.task.header).text for e in q.examples[:_PROMPTS]] for q in comparer.questions]
    texts = [texts[i] for i in range(_PROMPTS) for texts in by_task if i < len(texts)]
    fit = [one for one in texts if len(model.tokenizer(one).input_ids) + _TOKENS <= model.max_length]
    return [Passage(one) for one in fit[:_PROMPTS]]


@dataclass(frozen=True)
class _Measured:
    passes: int
    flops: int
    seconds: float
    peak: int | None


def _measured(model: CodeModel, passages: list[Passage], *, flops: bool) -> _Measured:
    counter = FlopCounterMode(display=False)
    passes: list[None] = []
    handle = model.arch.owner.register_forward_pre_hook(lambda *_: passes.append(None))
    readable = _forget_peak(model)
    try:
        with counter if flops else nullcontext():
            began = time.perf_counter()
            run(model, passages, decoding=Decoding(_TOKENS))
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            seconds = time.perf_counter() - began
    finally:
        handle.remove()
    peak = _peak(model) if readable else None
    return _Measured(len(passes), counter.get_total_flops() if flops else 0, seconds, peak)


def _forget_peak(model: CodeModel) -> bool:
    """Let the highest memory so far count from now; False where the system cannot."""
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        return True
    try:
        # Linux forgets a process's highest resident set when it is told to.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak(model: CodeModel) -> int:
    """Highest memory since it was forgotten, in bytes."""
    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.device))
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
