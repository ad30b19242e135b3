"""What a candidate costs: counted and timed on the same questions as the base."""

from __future__ import annotations

import mmap
from dataclasses import replace

import pytest
import torch

from ellora_trust.evaluation.asking.suite import Asked, Suite
from ellora_trust.evaluation.changes.candidates import Candidate
from ellora_trust.evaluation.comparing import Comparer
from ellora_trust.evaluation.judging.cost import Cost, Receipt, receipt
from ellora_trust.evaluation.shown.tables import cost_table
from ellora_trust.intervention import ActivationEdit, Nothing

SUITE = Suite("costs", (Asked("echo"),), limit=40)


def of(model, intervention) -> Receipt:
    comparer = Comparer(model, SUITE)
    candidate = Candidate("one", intervention, "edit")
    before = comparer.read(model, None)
    with candidate.entered(model) as state:
        after = comparer.read(state, None)
    found = receipt(comparer, candidate, before, after)
    assert found is not None
    return found


def test_operations_are_those_of_the_matrix_products(tiny, echo):
    found = of(tiny, Nothing())
    assert found.before.forward_passes == found.after.forward_passes == 16  # the prompts give the first token
    assert found.before.flops == found.after.flops
    weights = sum(p.numel() for name, p in tiny.hf.named_parameters() if p.dim() == 2 and "embed" not in name)
    prompts = [tiny.tokenizer(one.prompt).input_ids for one in echo.examples(limit=2)]
    tokens = sum(map(len, prompts)) + 2 * 15
    # Two operations a weight and token; attention and padding come on top, the head runs only where it is needed.
    assert 1.6 * weights * tokens < found.before.flops < 4 * weights * tokens


def test_tokens_are_counted_over_all_questions(tiny, echo):
    found = of(tiny, Nothing())
    assert found.before.tokens_read == sum(len(tiny.tokenizer(one.prompt).input_ids) for one in echo.examples(limit=40))
    assert 0 < found.before.tokens_generated <= 40 * echo.max_new_tokens


def test_what_slows_every_pass_is_seen(tiny, echo, monkeypatch):
    """By a clock of its own, since a busy machine slows more than any hook."""
    now = [0.0]

    def tick() -> float:
        now[0] += 0.8
        return now[0]

    def slow(hidden: torch.Tensor, at: torch.Tensor) -> None:
        now[0] += 0.05

    monkeypatch.setattr("ellora_trust.evaluation.judging.cost.time.perf_counter", tick)
    found = of(tiny, ActivationEdit({"resid.0": slow}))
    assert found.before.seconds == pytest.approx(0.8)
    assert found.slowdown == pytest.approx((0.8 + 16 * 0.05) / 0.8)


def test_memory_that_a_candidate_takes_shows(tiny, echo):
    def hungry(hidden: torch.Tensor, at: torch.Tensor) -> None:
        if at.shape[-1] > 1:  # where prompts are read; at every token it would take seconds
            # 240 MB from the system: malloc would hand out what other tests left free in this process.
            block = mmap.mmap(-1, 240_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            torch.frombuffer(block, dtype=torch.float32).fill_(1.0)

    found = of(tiny, ActivationEdit({"resid.0": hungry}))
    if found.before.peak_memory is None or found.after.peak_memory is None:
        pytest.skip("this system does not let a process reset its peak memory")
    assert found.after.peak_memory - found.before.peak_memory > 150e6


def test_the_table_shows_both_and_their_ratio():
    base = Cost(100, 10, 17, 2_000_000_000, 1.7, None)
    table = cost_table(Receipt(base, replace(base, seconds=3.4, tokens_generated=15), "4 questions"))
    assert ["time of a forward pass (ms)", "100", "200", "2.00"] in table.rows
    assert ["tokens generated", "10", "15", "1.50"] in table.rows
    assert not any(row[0].startswith("peak memory") for row in table.rows)
