"""What the aliasing templates draw from: names, numbers, mutations, copies, alias chains, distractors.

A template fills a `Sketch`: a program with one hole. One filler makes the alias, the other the copy, so the
two members of a pair differ in that place by construction.

    sketch = TEMPLATES["assign"](Draw(random.Random(0)))
    print(sketch.program("alias"))
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ellora_trust.tasks.skeletons import canonical, without_lengths

HOLE = "@"  # no template uses matrix multiplication or decorators

VARIABLES = tuple("a b c d e g h m n p q r s t u v w x y z left right data vals nums part".split())
FUNCTIONS = ("f", "run", "step", "push", "change", "touch")
CLASSES = ("Box", "Bag", "Node", "Tray", "Cell")
# The pool holds no word that a program also uses as a keyword, method or built-in, so that renaming is exact.
_POOL = frozenset((*VARIABLES, *FUNCTIONS, *CLASSES))

LIST_MUTATIONS = {
    "append": "{x}.append({v})",
    "item": "{x}[{i}] = {v}",
    "extend": "{x}.extend([{v}])",
    "insert": "{x}.insert({i}, {v})",
    "pop": "{x}.pop({i})",
    "del": "del {x}[{i}]",
    "sort": "{x}.sort()",
    "reverse": "{x}.reverse()",
    "iadd": "{x} += [{v}]",
    "slice": "{x}[1:] = [{v}]",
}
DICT_MUTATIONS = {
    "item": '{x}["{k}"] = {v}',
    "update": "{x}.update({k}={v})",
    "iadd": '{x}["{k}"] += 1',
    "ior": '{x} |= {{"{k}": {v}}}',
}
ARRAY_MUTATIONS = {
    "item": "{x}[{i}] = {v}",
    "slice": "{x}[:] = {v}",
    "fill": "{x}.fill({v})",
    "sort": "{x}.sort()",
    "iadd": "{x} += {v}",
    "isub": "{x} -= 1",
    "imul": "{x} *= 2",
}
LIST_COPIES = ("{x}[:]", "list({x})", "{x}.copy()", "copy.copy({x})", "copy.deepcopy({x})", "[*{x}]")
DEEP_COPIES = ("copy.deepcopy({x})", "[_[:] for _ in {x}]", "[list(_) for _ in {x}]")

_PRINTS = ("{x}", "{x}[0]", "{x}[0]", "{x}[0]", "{x}[-1]")
_SHALLOW = re.compile(r"copy\.copy\((\w+)\)|list\((\w+)\)|\b(\w+)\.copy\(\)|\[\*(\w+)\]")
_DISTRACTORS = (
    "{n} = {v}",
    "{n} = {v} + {w}",
    "{n} = [{v}, {w}]",
    "{n} = [{v}, {w}]\n{n}.append({v})",
    "{n} = [{v}]\n{m} = {n}",
    "{n} = [{v}]\n{m} = {n}[:]",
)


@dataclass(frozen=True)
class Sketch:
    """A program with one hole.

    Attributes:
        statements: Top-level statements, the last one prints; `HOLE` occurs once.
        fills: What the alias and what the copy put into the hole.
        hops: Aliasing steps from the mutated to the printed name, 1-4.
        mutation: Kinds of mutation in program order, joined by "+".
        distractors: Lines that change nothing that is printed.
    """

    statements: tuple[str, ...]
    fills: tuple[str, str]
    hops: int
    mutation: str
    distractors: int = 0

    def program(self, variant: str) -> str:
        """Return the source of the "alias" or the "copy", without a final newline."""
        body = "\n".join(self.statements)
        # Imports follow from both fillers, so that they cannot be a second difference.
        both = "\n".join((body, *self.fills))
        imports = [line for word, line in _IMPORTS.items() if word in both]
        return "\n".join((*imports, body.replace(HOLE, self.fills[variant == "copy"])))


_IMPORTS = {"copy.": "import copy", "np.": "import numpy as np"}


class Draw:
    """The random choices of one pair; every name is given out once.

    Attributes:
        hops: Aliasing steps this pair shall have, 1-4.
        n_mutations: Mutations this pair shall have, 1 or 2.
        length: Elements of its lists to begin with, 2-4.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.hops = rng.randint(1, 4)
        self.n_mutations = rng.choice((1, 1, 1, 2))
        self.length = self.n_mutations + rng.choice((1, 1, 2))  # one is left when every mutation removes one
        self._digits: list[int] = []
        self._kinds: list[str] = []
        self._variables = rng.sample(VARIABLES, len(VARIABLES))
        self._functions = rng.sample(FUNCTIONS, len(FUNCTIONS))

    def name(self) -> str:
        """Return an unused variable name."""
        return self._variables.pop()

    def function(self) -> str:
        """Return an unused function name."""
        return self._functions.pop()

    def class_name(self) -> str:
        """Return a class name; no template has two classes."""
        return self.rng.choice(CLASSES)

    def digit(self) -> int:
        """Return a number that is one token and one character in every common tokenizer."""
        # No number repeats while they last, so that an answer tells where its numbers came from.
        self._digits = self._digits or self.rng.sample(range(1, 10), 9)
        return self._digits.pop()

    def numbers(self, length: int | None = None) -> str:
        """Return a list literal."""
        return f"[{', '.join(str(self.digit()) for _ in range(length or self.length))}]"

    def copied(self, name: str, forms: Sequence[str] = LIST_COPIES) -> str:
        """Return an expression that copies `name`."""
        return self.rng.choice(forms).format(x=name)

    def chain(self, start: str, steps: int) -> tuple[list[str], str]:
        """Return `steps` aliasing statements that begin at the expression `start`, and the last name."""
        names = [start, *(self.name() for _ in range(steps))]
        return [f"{new} = {old}" for old, new in pairwise(names)], names[-1]

    def source(self, value: str | None = None) -> tuple[list[str], str, str]:
        """Return statements that make a list and all aliases but one, its first name and its last."""
        first = self.name()
        links, last = self.chain(first, self.hops - 1)
        return [f"{first} = {value or self.numbers()}", *links], first, last

    def mutate(
        self,
        *targets: str,
        count: int | None = None,
        table: Mapping[str, str] = LIST_MUTATIONS,
        banned: Sequence[str] = (),
        keys: Sequence[str] = ("",),
    ) -> list[str]:
        """Return mutations: the first of `targets[0]`, others of any target."""
        lines = []
        for index in range(self.n_mutations if count is None else count):
            kind = self.rng.choice([kind for kind in table if kind not in banned])
            self._kinds.append(kind)
            target = targets[0] if index == 0 else self.rng.choice(targets)
            values = {"i": self.rng.randint(0, 1), "v": self.digit(), "k": self.rng.choice(keys)}
            lines.append(table[kind].format(x=target, **values))
        return lines

    def record(self, kind: str) -> None:
        """Note a mutation that the template writes itself because it holds the hole."""
        self._kinds.append(kind)

    def ends(self, left: str, right: str) -> tuple[str, str]:
        """Return which end of an alias is mutated and which is printed."""
        return (left, right) if self.rng.random() < 0.5 else (right, left)

    def sketch(self, statements: Sequence[str], printed: str, fills: tuple[str, str]) -> Sketch:
        """Return the finished sketch, without distractors, that prints `printed` or a part of it."""
        shown = self.rng.choice(_PRINTS).format(x=printed)
        return Sketch((*statements, f"print({shown})"), fills, self.hops, "+".join(self._kinds))

    def distract(self, sketch: Sketch) -> Sketch:
        """Return `sketch` with 0-2 distractors between its statements."""
        statements = list(sketch.statements)
        lines = 0
        for _ in range(self.rng.choice((0, 0, 0, 1, 2))):
            form = self.rng.choice(_DISTRACTORS)
            text = form.format(n=self.name(), m=self.name(), v=self.digit(), w=self.digit())
            statements.insert(self.rng.randrange(len(statements)), text)
            lines += text.count("\n") + 1
        return replace(sketch, statements=tuple(statements), distractors=lines)


def skeleton(program: str) -> str:
    """Return what is left of a program when imports, names, numbers, lengths and spellings of a copy are forgotten.

    Lengths are those of number lists, spellings those of a shallow copy of one name: `a[:]`, `list(a)` and so on.
    """
    program = re.sub(r"^import .*\n", "", program, flags=re.MULTILINE)
    program = _SHALLOW.sub(lambda match: f"{match[match.lastindex or 0]}[:]", program)
    return without_lengths(canonical(program, _POOL))
