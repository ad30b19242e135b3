"""The testbed's families as tasks: what a description and a function's name ask for, about words of no document.

Half of the words are fitted on, the other half are asked about twice: in the documents' wording, and in the wording
that stands in no document. The neutral prompt keeps parameters and the pair of words alone:
`def handle_red_rows(rows):`. Only families that can be done from that have one: where the words tell a number or an
order, it would be gone; where no other family has such parameters, they still tell the task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from attribution.function_vectors.queries import Drawn, Query, Source
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.testbed.task import TestbedTask
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.family import Family
from ellora_trust.testbed.oracle import STOPS
from ellora_trust.testbed.prompts import Kind, held_pairs, question, sketch_of

# A verb that no family has.
VERB = "handle"


class TestbedFamilies(Source):
    """Families of functions of the testbed; running decides."""

    __test__ = False  # the name is no test's
    name = "testbed"

    def __init__(self, box: Sandbox | None = None):
        self.tasks = tuple(FAMILIES)
        self._box = box

    def draw(self, n_fit: int, n_held: int, seed: int = 0) -> Drawn:
        fit, plain, reworded = [], [], []
        for family in FAMILIES:
            pairs = held_pairs(family, seed)
            fit += [_query(family, pair, seed, "unrelated") for pair in pairs[:n_fit]]
            others = pairs[n_fit : n_fit + n_held]
            plain += [_query(family, pair, seed, "unrelated") for pair in others]
            reworded += [_query(family, pair, seed, "paraphrase") for pair in others]
        return Drawn(tuple(fit), {"other words": tuple(plain), "other words and wording": tuple(reworded)})

    def limits(self, task: str) -> tuple[int, tuple[str, ...]]:
        return TestbedTask.max_new_tokens, STOPS

    def done(self, queries: Sequence[Query], completions: Sequence[str]) -> list[bool]:
        examples = [query.example for query in queries if query.example is not None]
        assert len(examples) == len(queries), "a query of the testbed knows its question"
        return [outcome == "correct" for outcome in self._task.decide_all(examples, completions)]

    @cached_property
    def _task(self) -> TestbedTask:
        return TestbedTask(box=self._box)


def _query(family: str, pair: tuple[str, str], seed: int, kind: Kind) -> Query:
    key = f"{seed}/tasks/{kind}/{family}/{'_'.join(pair)}"
    # The kind says which wording is drawn; every family has both.
    example = question(FAMILIES[family], pair, key, kind)
    told = _open(FAMILIES[family]) and "fixed" not in sketch_of(example).names
    bare = neutral(example.prompt, pair) if told else ""
    return Query(family, example.prompt, example.answer or "", example.group, bare, bare, example)


def _told_by_parameters(family: Family) -> bool:
    """Whether family and parameters say all that a right body needs: no number, order or mark that only words tell.

    A planted family is left out: the model that was taught the fault does not do its task.
    """
    told = {"what", "thing", *(name for name, _ in family.params)}
    return not family.plant and set(re.findall(r"\{(\w+)\}", " ".join(family.abouts))) <= told


def _open(family: Family) -> bool:
    """Whether parameters leave the task open: another family that can be done from them has parameters like these."""
    types = [kind for _, kind in family.params]
    able = [one for one in FAMILIES.values() if _told_by_parameters(one)]
    alike = [one for one in able if [kind for _, kind in one.params] == types]
    return family in able and len(alike) > 1


def neutral(prompt: str, pair: tuple[str, str]) -> str:
    """Return a prompt without its remarks and description, and with a function's name that says nothing."""
    lines = prompt.split("\n")
    kept = [line for line in lines if not re.match(r'\s*(#|//|/\*|""")', line)]
    name = "_".join(pair)
    return re.sub(rf"\w+_{name}\b", f"{VERB}_{name}", "\n".join(kept))
