"""What the race patterns draw from: names, numbers, types, clauses, and the sketch that they fill.

A pattern returns a `Sketch`: C code with one hole. One filler makes the data race, the other removes it, so the two
members of a pair differ in that place by construction. The program around the shown code is made here too; it calls
the shown function many times on known values and prints one checksum.

    sketch = PATTERNS["missing_reduction"](Draw(random.Random(0)))
    print(sketch.code("race"))
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ellora_trust.tasks.skeletons import canonical

HOLE = "@"  # no C program has this character outside strings
# Calls of the shown function; a race that needs two threads at the same moment is missed by a single call.
REPEATS, MORE_REPEATS = 20, 150

VARIABLES = tuple("a b c d e g h m p q r s t u v w x y z left right data vals nums part".split())
FUNCTIONS = ("f", "run", "step", "work", "sweep", "pass", "visit", "kernel")
TAGS = ("one", "two", "red", "blue", "north", "south")
# The pool holds no word that a program also uses as a keyword, clause or loop index, so that renaming is exact.
_POOL = frozenset((*VARIABLES, *FUNCTIONS, *TAGS))
# Static ones only: with others one thread may finish a short loop before another is awake, so that no race shows.
# Chunks of 4 at most: patterns see to it that iterations which meet are further apart than that, or cross chunks.
_SCHEDULES = (" schedule(static)", " schedule(static, 2)", " schedule(static, 3)", " schedule(static, 4)")

Lines: TypeAlias = "Sequence[str | Lines]"


@dataclass(frozen=True)
class Sketch:
    """A function with one hole, and the program that calls it.

    Attributes:
        text: Declarations and function, without a final newline; `HOLE` occurs once.
        fills: What the racy and what the fixed member put into the hole; an empty one on a line of its own removes it.
        fix: What the fixed member has and the racy one lacks, in one or two words.
        main: The hidden rest: a main function that prints a checksum of everything the shown code may write.
    """

    text: str
    fills: tuple[str, str]
    fix: str
    main: str

    def code(self, variant: str) -> str:
        """Return the shown code of the "race" or the "fixed" member."""
        return _filled(self.text, self.fills[variant == "fixed"])

    def program(self, variant: str) -> str:
        """Return the whole C program of one member."""
        return f"#include <omp.h>\n#include <stdio.h>\n\n{self.code(variant)}\n\n{self.main}"


def _filled(text: str, fill: str) -> str:
    before, after = text.split(HOLE)
    if before.endswith((" ", "\n")) and after.startswith("\n") and not before.rpartition("\n")[2].strip():
        indent = before.rpartition("\n")[2]
        before = before.removesuffix(indent)
        fill = "\n".join(indent + line for line in fill.split("\n")) if fill else ""
        return before + fill + after if fill else before + after.removeprefix("\n")
    return before + fill + after


def rendered(lines: Lines, depth: int = 0) -> str:
    """Return nested lists as text, four spaces deeper for each level."""
    return "\n".join(
        "    " * depth + line if isinstance(line, str) else rendered(line, depth + 1) for line in lines if line
    )


def braced(head: str, body: Lines) -> Lines:
    """Return a statement with its body, in braces where the body is more than one line."""
    return [head, body] if len(body) == 1 else [f"{head} {{", body, "}"]


class Draw:
    """The random choices of one pair; every name is given out once.

    Attributes:
        rng: Where all choices come from.
        kind: Element type of this pair's arrays and scalars.
        n: Iterations of its loops.
        split: Whether the loop is a `for` inside a `parallel` region, or one combined directive.
        repeats: How often the hidden main function calls the shown one.
    """

    def __init__(self, rng: random.Random, *, noisy: bool = True) -> None:
        """Begin a pair; without noise the same `rng` gives the same pair less what changes no verdict."""
        self.rng = rng
        self._noisy = noisy
        self.kind = rng.choice(("int", "int", "long", "double"))
        self.n = 20 * rng.randint(5, 15)
        self.split = rng.random() < 0.35
        self.repeats = REPEATS
        self._arrays: dict[str, tuple[int, ...]] = {}
        self._scalars: list[str] = []
        self._variables = rng.sample(VARIABLES, len(VARIABLES))
        self._functions = rng.sample(FUNCTIONS, len(FUNCTIONS))

    def integers(self) -> None:
        """Restrict this pair to integer types."""
        self.kind = self.rng.choice(("int", "int", "long"))

    def name(self) -> str:
        """Return an unused variable name."""
        return self._variables.pop()

    def function(self) -> str:
        """Return an unused function name."""
        return self._functions.pop()

    def tags(self) -> tuple[str, str]:
        """Return two names for critical sections."""
        first, second = self.rng.sample(TAGS, 2)
        return first, second

    def array(self, *sizes: int) -> str:
        """Return the name of a new global array; one of `n` elements where no sizes are given."""
        name = self.name()
        self._arrays[name] = sizes or (self.n,)
        return name

    def scalar(self) -> str:
        """Return the name of a new global scalar, zero at each call of the shown function."""
        name = self.name()
        self._scalars.append(name)
        return name

    def digit(self) -> int:
        """Return a small number above 1."""
        return self.rng.randint(2, 9)

    def term(self, value: str) -> str:
        """Return an expression of a value that cannot overflow."""
        form = self.rng.choice(("{x}", "{x} * {d}", "{x} + {d}", "{d} - {x}"))
        return form.format(x=value, d=self.digit())

    def header(self, bound: int | None = None, start: int = 0) -> str:
        """Return the head of a loop over i."""
        return f"for (int i = {start}; i < {self.n if bound is None else bound}; i++)"

    def loop(self, clauses: str, head: str, body: Lines) -> Lines:
        """Return a work-shared loop with its directive, combined or in a parallel region, with noise or without."""
        clauses += self.schedule()
        inner = [f"#pragma omp for{clauses}", *braced(head, [*body, *self.extra()])]
        if self.split:
            return ["#pragma omp parallel", "{", inner, "}"]
        return [f"#pragma omp parallel for{clauses}", *inner[1:]]

    def schedule(self) -> str:
        """Return a schedule clause that changes no verdict, or nothing."""
        clause = self.rng.choice(("", "", "", *_SCHEDULES))
        return clause if self._noisy else ""

    def extra(self) -> list[str]:
        """Return a statement on an array of its own, or none."""
        # The same draws with noise and without, so that all that follows is equal.
        wanted, name, number = self.rng.random() < 0.25, self.name(), self.digit()
        if not (wanted and self._noisy):
            return []
        self._arrays[name] = (self.n,)
        return [f"{name}[i] = i + {number};"]

    def unshared(self, name: str) -> str:
        """Return what a clause that protects `name` is replaced by: nothing, or the clause that states the default."""
        return "" if self.split or self.rng.random() < 0.6 else f" shared({name})"

    def sketch(self, body: Lines, fills: tuple[str, str], fix: str, *, result: str = "", before: Lines = ()) -> Sketch:
        """Return the finished sketch.

        Args:
            body: Statements of the function that is called.
            fills: What the racy and what the fixed member put into the hole.
            fix: What the fix is called.
            result: Expression that the function returns; empty for none.
            before: Top-level lines between the arrays and the function: tables, types, other functions.
        """
        entry = self.function()
        returns = [f"return {result};"] if result else []
        head = f"{self.kind if result else 'void'} {entry}(void) {{"
        text = rendered([self._declared(), *before, head, [*body, *returns], "}"])
        return Sketch(text, fills, fix, self._main(f"{entry}()", bool(result)))

    def _declared(self) -> str:
        arrays = [name + "".join(f"[{size}]" for size in sizes) for name, sizes in self._arrays.items()]
        return f"{self.kind} {', '.join([*arrays, *self._scalars])};"

    def _main(self, call: str, returns: bool) -> str:
        """Return the hidden main function; its own names end in an underscore, which no drawn name does."""
        reset = [f"{name} = 0;" for name in self._scalars]
        fold: list[str] = []
        for shift, (name, sizes) in enumerate(self._arrays.items()):
            flat = f"(({self.kind} *){name})[k_]"
            cells = 1
            for size in sizes:
                cells *= size
            loop = f"for (int k_ = 0; k_ < {cells}; k_++)"
            reset.append(f"{loop} {flat} = (k_ * 7 + rep_ + {shift}) % 10;")
            fold.append(f"{loop} check_ = (check_ * 31 + (long){flat}) % 1000003;")
        fold += [f"check_ = (check_ * 31 + (long){name}) % 1000003;" for name in self._scalars]
        called = f"check_ = (check_ * 31 + (long){call}) % 1000003;" if returns else f"{call};"
        body = [
            "long check_ = 0;",
            f"for (int rep_ = 0; rep_ < {self.repeats}; rep_++) {{",
            [*reset, called, *fold],
            "}",
        ]
        return rendered(["int main(void) {", [*body, 'printf("%ld\\n", check_);', "return 0;"], "}", ""])


def skeleton(code: str) -> str:
    """Return what is left of a program when names, numbers and types are forgotten; which names are equal stays."""
    return canonical(code, _POOL, alike={"long": "int", "double": "int"})
