"""Pairs of one pattern in the order of a seed, what running them showed, and the examples they become.

stream = Stream("histogram", seed=0)
pair = stream.draw()
disagreement(*oracle.observe(pair.programs))     # "" where running agrees with construction
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ellora_trust.tasks.base import Example
from ellora_trust.tasks.races.draw import Sketch, skeleton
from ellora_trust.tasks.races.patterns import PATTERNS, draw_sketch
from ellora_trust.tasks.races.prompt import prompt_of
from ellora_trust.tasks.verified import Observed

FULL_SIZE = 2 * len(PATTERNS) * 10
ANSWERS = {"race": "yes", "fixed": "no"}


@dataclass(frozen=True)
class Pair:
    """A drawn pair.

    Attributes:
        pattern: Its name in `PATTERNS`.
        group: The same for all pairs whose fixed members have the same core.
        sketch: Both members.
    """

    pattern: str
    group: str
    sketch: Sketch

    @property
    def programs(self) -> tuple[str, str]:
        """The racy and the fixed program, whole."""
        return self.sketch.program("race"), self.sketch.program("fixed")


class Stream:
    """The pairs of one pattern, in an order that no other pattern and no limit changes.

    Attributes:
        pattern: Its name in `PATTERNS`.
        accepted: Examples of the pairs that running confirmed, two each.
        dropped_in_a_row: Pairs dropped since the last that was accepted.
    """

    def __init__(self, pattern: str, seed: int) -> None:
        self.pattern, self._seed = pattern, seed
        self._attempts = 0
        self._seen: set[str] = set()
        self.accepted: list[list[Example]] = []
        self.dropped_in_a_row = 0

    def draw(self) -> Pair:
        """Return the next pair of which no member came before."""
        while True:
            seed = f"{self._seed}/{self.pattern}/{self._attempts}"
            self._attempts += 1
            sketch = draw_sketch(self.pattern, seed)
            codes = {sketch.code("race"), sketch.code("fixed")}
            if self._seen.isdisjoint(codes):
                self._seen |= codes
                core = skeleton(draw_sketch(self.pattern, seed, noisy=False).code("fixed"))
                return Pair(self.pattern, _digest(core), sketch)


def disagreement(race: Observed, fixed: Observed) -> str:
    """Return why what a pair showed disagrees with its construction, or an empty string."""
    if fixed["tsan"] == "race":
        return "fixed member reported"
    if fixed["tsan"] != "silent" or fixed["status"] != "ok":
        return "fixed member failed"
    if fixed["differs"]:
        return "fixed member's results differ"
    return "" if evidence(race) else "race not seen"


def evidence(race: Observed) -> str:
    """Return what confirms a race: "tsan", "differs", "both", or nothing."""
    seen = [name for name, found in (("tsan", race["tsan"] == "race"), ("differs", race["differs"])) if found]
    return "both" if len(seen) == 2 else "".join(seen)


def examples_of(pair: Pair, seen: str) -> list[Example]:
    """Return the racy and the fixed example; `seen` is what confirmed the race."""
    codes = {variant: pair.sketch.code(variant) for variant in ANSWERS}
    shared = _digest("\0".join(codes.values()))
    return [
        Example(
            id=f"races-{_digest(code)}",
            group=pair.group,
            prompt=prompt_of(code),
            answer=ANSWERS[variant],
            meta={
                "pattern": pair.pattern,
                "variant": variant,
                "pair": shared,
                "evidence": seen if variant == "race" else "silent",
                "fix": pair.sketch.fix,
                "n_lines": code.count("\n") + 1,
            },
        )
        for variant, code in codes.items()
    ]


def drawn_pairs(n_rounds: int, seed: int = 0) -> Sequence[Pair]:
    """Return the first pairs of every pattern, neither compiled nor run."""
    return [pair for pattern in PATTERNS for pair in _first(Stream(pattern, seed), n_rounds)]


def _first(stream: Stream, n_pairs: int) -> list[Pair]:
    return [stream.draw() for _ in range(n_pairs)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
