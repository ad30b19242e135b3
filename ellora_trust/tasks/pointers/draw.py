"""What the pointer templates draw from: names, digits, changes, chains of pointers, distractors, in C and Fortran.

A template fills a `Sketch`: a program with one hole. One filler makes the alias, the other the copy, so the two
members of a pair differ in that place by construction.

    sketch = C_DEFINED["pointed"](Draw(random.Random(0), "c"))
    print(sketch.program("alias"))
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import indent
from typing import Literal

from ellora_trust.tasks.skeletons import canonical, without_lengths

Language = Literal["c", "fortran"]

HOLE = "@"  # neither language has it outside of character constants
CONSTRUCTION = "construction"

# No pool holds a word that a program also uses as a keyword, library name, conversion (%d, \n) or end of a file's name
# (stdio.h), and no two pools share one, so that renaming is exact.
VALUES = tuple("a b c e g k m u w x y z left right total size low high part".split())
POINTERS = tuple("p q r s t v ref cur link at".split())
FUNCTIONS = tuple("f run step push change touch work bump".split())
STRUCTS = tuple("Box Bag Node Tray Cell Item".split())
FIELDS = tuple("val num key amt top mark".split())
_POOL = frozenset((*VALUES, *POINTERS, *FUNCTIONS, *STRUCTS, *FIELDS))

CHANGES: dict[Language, dict[str, str]] = {
    "c": {"set": "{x} = {v};", "add": "{x} += {v};", "double": "{x} *= 2;", "one": "{x} += 1;"},
    "fortran": {"set": "{x} = {v}", "add": "{x} = {x} + {v}", "double": "{x} = {x} * 2", "one": "{x} = {x} + 1"},
}
# Declaration and action. Their types occur in no template, so that no distractor makes one skeleton out of another.
_DISTRACTORS: dict[Language, tuple[tuple[str, str], ...]] = {
    "c": (
        ("long {n} = {v};", ""),
        ("long {n} = {v};", "{n} += {w};"),
        ("long {n} = {v}, {m} = {n};", "{m} = {w};"),
        ("long {n} = {v}, *{m} = &{n};", "*{m} = {w};"),
    ),
    "fortran": (
        ("integer(8) :: {n} = {v}", ""),
        ("integer(8) :: {n} = {v}", "{n} = {n} + {w}"),
        ("integer(8), target :: {n} = {v}\ninteger(8), pointer :: {m}", "{m} => {n}\n{m} = {w}"),
    ),
}
_HEADERS = {"stdio.h": "printf", "stdlib.h": "malloc", "string.h": "memcpy"}


@dataclass(frozen=True)
class Sketch:
    """A program with one hole.

    Attributes:
        language: What it is written in.
        head: Lines before the statements of the main program; `HOLE` occurs once in head, statements and tail.
        statements: Of the main program, without indentation, the last one prints.
        tail: Lines after them.
        fills: What the alias and what the copy put into the hole.
        hops: Names that a pointer is handed through, 1-3; 1 where the template has no chain.
        changes: Kinds of writes in program order, joined by "+".
        report: What makes the alias undefined: the sanitizer's word for it, or `CONSTRUCTION` where no sanitizer
            sees it; empty where both members are defined.
        distractors: Lines that change nothing that is printed.
    """

    language: Language
    head: tuple[str, ...]
    statements: tuple[str, ...]
    tail: tuple[str, ...]
    fills: tuple[str, str]
    hops: int
    changes: str
    report: str = ""
    distractors: int = 0

    def program(self, variant: str) -> str:
        """Return the source of the "alias" or the "copy", without a final newline."""
        margin = " " * (4 if self.language == "c" else 2)
        body = "\n".join((*self.head, *(indent(line, margin) for line in self.statements), *self.tail))
        filled = body.replace(HOLE, self.fills[variant == "copy"])
        if self.language == "fortran":
            return filled
        # Headers follow from both fillers, so that they cannot be a second difference.
        both = "\n".join((body, *self.fills))
        headers = [f"#include <{header}>" for header, word in _HEADERS.items() if word in both]
        return "\n".join((*headers, "", filled))


class Draw:
    """The random choices of one pair; every name is given out once."""

    def __init__(self, rng: random.Random, language: Language) -> None:
        self.rng = rng
        self.language: Language = language
        self._hops = 1
        self._kinds: list[str] = []
        self._digits: list[int] = []
        self._pools = {pool: rng.sample(pool, len(pool)) for pool in (VALUES, POINTERS, FUNCTIONS, STRUCTS, FIELDS)}

    def value(self) -> str:
        """Return an unused name for an object."""
        return self._pools[VALUES].pop()

    def pointer(self) -> str:
        """Return an unused name for a pointer."""
        return self._pools[POINTERS].pop()

    def function(self) -> str:
        """Return an unused name for a function."""
        return self._pools[FUNCTIONS].pop()

    def struct(self) -> str:
        """Return an unused name for a structure."""
        return self._pools[STRUCTS].pop()

    def field(self) -> str:
        """Return an unused name for a member of a structure."""
        return self._pools[FIELDS].pop()

    def digit(self) -> int:
        """Return a number from 1 to 9; none repeats while they last."""
        self._digits = self._digits or self.rng.sample(range(1, 10), 9)
        return self._digits.pop()

    def digits(self, count: int) -> str:
        """Return numbers for the initialiser of an array, without its brackets."""
        return ", ".join(str(self.digit()) for _ in range(count))

    def chain(self, first: str, kind: str = "int") -> tuple[list[str], str]:
        """Return C statements that hand a pointer on up to twice, and the last name."""
        self._hops = self.rng.choice((1, 1, 2, 3))
        names = [first, *(self.pointer() for _ in range(self._hops - 1))]
        return [f"{kind} *{new} = {old};" for old, new in pairwise(names)], names[-1]

    def change(self, target: str, *more: str) -> list[str]:
        """Return a write to `target`, and one time in three another to any of the targets."""
        targets = [target, *(self.rng.choice((target, *more)) for _ in range(self.rng.choice((0, 0, 1))))]
        return [self._write(name) for name in targets]

    def _write(self, target: str) -> str:
        kind = self.rng.choice(list(CHANGES[self.language]))
        self._kinds.append(kind)
        return CHANGES[self.language][kind].format(x=target, v=self.digit())

    def record(self, kind: str) -> None:
        """Note a write that the template spells out itself."""
        self._kinds.append(kind)

    def ends(self, left: str, right: str) -> tuple[str, str]:
        """Return which of two names for one object is written and which is printed."""
        return (left, right) if self.rng.random() < 0.5 else (right, left)

    def show(self, printed: str, *extra: str) -> str:
        """Return the statement that prints `printed`, and one time in three what else is given."""
        shown = [printed, *(extra if self.rng.random() < 1 / 3 else ())]
        if self.language == "c":
            conversions = " ".join("%d" for _ in shown)
            return f'printf("{conversions}\\n", {", ".join(shown)});'
        return f"print '({',1x,'.join('i0' for _ in shown)})', {', '.join(shown)}"

    def c(
        self, statements: Sequence[str], fills: tuple[str, str], *, outside: Sequence[str] = (), report: str = ""
    ) -> Sketch:
        """Return the finished C sketch, without distractors; `outside` stands before `main`."""
        head = (*outside, "int main(void) {")
        return Sketch("c", head, tuple(statements), ("}",), fills, self._hops, "+".join(self._kinds), report)

    def fortran(
        self,
        declarations: Sequence[str],
        statements: Sequence[str],
        fills: tuple[str, str],
        *,
        procedures: Sequence[str] = (),
        report: str = "",
    ) -> Sketch:
        """Return the finished Fortran sketch, without distractors; `procedures` are internal to the program."""
        head = ("program main", *(indent(line, "  ") for line in ("implicit none", *declarations)))
        inner = ("contains", *(indent(text, "  ") for text in procedures)) if procedures else ()
        tail = (*inner, "end program main")
        return Sketch("fortran", head, tuple(statements), tail, fills, self._hops, "+".join(self._kinds), report)

    def distract(self, sketch: Sketch) -> Sketch:
        """Return `sketch` with at most one distractor: declared first, acting somewhere before the print."""
        if self.rng.random() < 0.5:
            return sketch
        form = self.rng.choice(_DISTRACTORS[self.language])
        names = {"n": self.value(), "m": self.pointer(), "v": self.digit(), "w": self.digit()}
        declaration, action = (part.format(**names) for part in form)
        statements = list(sketch.statements)
        if action:
            statements.insert(self.rng.randrange(len(statements)), action)
        head = sketch.head
        if self.language == "c":
            statements.insert(0, declaration)
        else:
            head = (*head, indent(declaration, "  "))
        lines = sum(part.count("\n") + 1 for part in (declaration, action) if part)
        return replace(sketch, head=head, statements=tuple(statements), distractors=lines)


def skeleton(program: str) -> str:
    """Return what is left of a program when names, numbers and the lengths of number lists are forgotten."""
    return without_lengths(canonical(program, _POOL))
