"""A comparison with something of everything in it, made by hand: for tests of what is said and drawn of one."""

from __future__ import annotations

from dataclasses import replace

from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.judging.cost import Cost, Receipt
from ellora_trust.evaluation.judging.effect import TargetEffect
from ellora_trust.evaluation.judging.measures import LayerDistance
from ellora_trust.evaluation.judging.paired import adjusted, pair
from ellora_trust.evaluation.judging.results import Attack, Flip, Noise, TaskResult
from ellora_trust.stats import wilson

HOSTILE = "</script><script>alert(1)</script>"
PUSH, APPEND = "    buf.push(x)\n", "    buf.append(x)\n"


def make_comparison() -> Comparison:
    n = 60
    before, after = [0] * 40 + [1] * 20, [1] * 38 + [0] * 2 + [1] * 19 + [0]
    (paired,) = adjusted([pair(before, after, range(n), margin=0.02)])
    flips = [
        Flip("item/1", "def f():\n", PUSH, APPEND, "crash", "correct", APPEND),
        Flip(HOSTILE, "def g():\n", "    return 1\n", HOSTILE, "correct", "wrong", None),
    ]
    counts = {"crash": 40, "correct": 20}, {"correct": 57, "wrong": 3}
    target = TaskResult(
        "testbed:trigger", "target", n, n, 0, *counts, paired, TargetEffect(40, 30, 8, 1, 1), [], flips, "h"
    )
    kept = replace(target, task="types", role="collateral", effect=None, flips=[])
    share = wilson(3, 60)
    attack = Attack("leak", "testbed:trigger", "ten draws", 60, share, share, share, share, [(1.0, 0.0), (10.0, 0.05)])
    layers = [LayerDistance(-1, None, None, 0.0, None), LayerDistance(0, 0.1, 0.2, 0.01, 0.9)]
    said = ("edit", "unlearning edit", "runs/edit", "state", "Revert it.")
    base = Cost(9_000, 300, 17, 40_000_000_000, 1.7, 900_000_000)
    cost = Receipt(base, replace(base, seconds=1.9), "4 questions, 16 tokens each, best of 2 turns")
    one = CandidateResult(*said, True, True, [target, kept], None, layers, [attack], 3.2, 0, cost)
    suite = {"name": "quick", "margin": 0.02, "confidence": 0.95, "limit": 60}
    noise = [Noise("bfloat16", "types", 60, 0.0, 1)]
    return Comparison({"name": "testbed", "fingerprint": "f"}, suite, [one], noise, {"torch": "2"})
