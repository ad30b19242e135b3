"""Contrast pairs: a question that the model answers rightly, and one like it that it answers wrongly.

Every edit is checked before it counts, splits are disjoint by source program, and everything is a function of its seed.

    from steering.pairs import compile_pairs, matched_pairs
    pairs = compile_pairs(model, load_task("types"), ["rename_vars"], limit=300, seed=0)
    parts = pairs.split(0, {"train": 0.6, "validation": 0.2, "test": 0.2})
"""

from steering.pairs.compile import Asked, compile_pairs
from steering.pairs.edits import COMBINATIONS, EDITS, EditName, Rejected, edit_example
from steering.pairs.matched import DIRECTIONS, Direction, matched_pairs, matched_pairs_of
from steering.pairs.pairset import Pair, PairSet
from steering.pairs.verified_edits import Rejections, edited

__all__ = [
    "COMBINATIONS",
    "DIRECTIONS",
    "EDITS",
    "Asked",
    "Direction",
    "EditName",
    "Pair",
    "PairSet",
    "Rejected",
    "Rejections",
    "compile_pairs",
    "edit_example",
    "edited",
    "matched_pairs",
    "matched_pairs_of",
]
