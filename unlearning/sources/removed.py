"""Removed standard-library APIs: a fault that code models learnt from old code. Truth: the installed Python raises.

    pairs = usable()                                       # those that this Python has removed
    forget = [item(c) for pair in pairs for c in contexts(pair)]
    check(contexts(pairs[0]))                              # runs both forms of each in the sandbox

A context is a prompt that ends where the removed form and its fix part. Held-out contexts have other names, and places
in a program that the others do not use.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ellora_trust.errors import InputError
from ellora_trust.sandbox import run
from unlearning.data import Item
from unlearning.sources.removed_table import CLASSES, FUNCTIONS, KINDS, PAIRS, RESULTS, Pair

RENAMINGS = 4  # sets of names of a half
# What a form that is gone raises; anything else would be a fault of the context.
GONE = ("AttributeError", "NameError", "TypeError")
_CLOSED = "\n    return {a}\n\n\n{f}({value})\n"
# Prompt up to the expression, and what follows it. {x} is the argument, {a} the result, {f} and {C} names.
_FRAMES: dict[str, tuple[str, str]] = {
    "module": ("{setup}\n\n{given}{a} = ", "\n"),
    "return": ("{setup}\n\n\ndef {f}({x}):\n    return ", "\n\n\n{f}({value})\n"),
    "assign": ("{setup}\n\n\ndef {f}({x}):\n    {a} = ", _CLOSED),
    "method": ("{setup}\n\n\nclass {C}:\n    def {f}({self}):\n        self.{a} = ", "\n\n\n{C}().{f}({value})\n"),
    "print": ("{setup}\n\n\ndef {f}({x}):\n    print(", ")\n\n\n{f}({value})\n"),
}
CHOOSING, HELD = ("module", "return", "assign"), ("return", "method", "print")
_RUNNER = """
import contextlib, io, json, sys
found = []
for program in json.loads({programs!r}):
    sys.stdin = io.StringIO("7\\n")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(program, "context", "exec"), {{}})
        found.append("")
    except Exception as error:
        found.append(type(error).__name__)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Context:
    """One place in a program where the removed form could stand.

    Attributes:
        pair: Name of its pair.
        id: Unique.
        prompt: Text up to where the forms part, without a space at its end.
        bad: How the removed form goes on.
        good: How the fix goes on.
        tail: What follows either, so that the place is reached when the program runs.
        decision: The removed name and the fix's, as `bad` and `good` begin: where the preference is read.
    """

    pair: str
    id: str
    prompt: str
    bad: str
    good: str
    tail: str
    decision: tuple[str, str]


def usable(pairs: Sequence[Pair] = PAIRS) -> list[Pair]:
    """Return the pairs whose contexts run in this Python; `check` says whether the removed forms are gone."""
    return [pair for pair in pairs if pair.below is None or sys.version_info < pair.below]


def contexts(pair: Pair, *, held: bool = False) -> list[Context]:
    """Return twelve contexts of a pair: three places in a program, under four sets of names.

    Args:
        pair: Removed form and fix.
        held: The other names and places.
    """
    return [
        _context(pair, frame, number, held=held, id=f"{pair.name}/{frame}/{number}{'h' if held else ''}")
        for number in range(RENAMINGS)
        for frame in (HELD if held else CHOOSING)
    ]


def near_misses(pair: Pair, *, held: bool = False) -> list[Context]:
    """Return contexts in which the removed form's name is right: a class of the program has it, and not the fix's.

    `bad` is then the fix's name, which raises. Pairs whose forms do not begin with different names have none.
    """
    right, wrong = (_first_name(text.replace("{x}", "")) for text in (pair.bad, pair.good))
    if not right or not wrong or right == wrong or wrong.startswith("__"):
        return []
    found = []
    for number in range(RENAMINGS):
        names = _names(pair, number, held)
        one = names["C"].lower()
        prompt = f"class {names['C']}:\n    def {right}(self):\n        return 1\n\n\n{one} = {names['C']}()\n"
        prompt += f"{names['a']} = {one}."
        identity = f"{pair.name}/near/{number}{'h' if held else ''}"
        found.append(Context(pair.name, identity, prompt, f"{wrong}()", f"{right}()", "\n", (wrong, right)))
    return found


def neighbours(pair: Pair, *, held: bool = False) -> list[Item]:
    """Return right uses of what stands near the removed form, with what they are for as a comment."""
    found = []
    for number in range(RENAMINGS):
        names = _names(pair, number, held)
        given = f"{names['x']} = {names['value']}\n" if pair.kind else ""
        prompt = f"{pair.setup}\n\n{given}# {pair.near}\n{names['a']} ="
        text = " " + pair.neighbour.replace("{x}", names["x"]) + "\n"
        found.append(
            Item(f"{pair.name}/neighbour/{number}{'h' if held else ''}", f"{pair.family}/{number}", prompt, text)
        )
    return found


def item(context: Context) -> Item:
    """Return the removed form as something to forget, with the fix as its replacement.

    Its name counts, from where it departs from the fix.
    """
    first = len(context.prompt)
    return Item(
        context.id,
        f"{context.pair}/{context.id.rpartition('/')[2]}",
        context.prompt,
        context.bad + "\n",
        context.good + "\n",
        ((first, first + len(context.decision[0])),),
    )


def right_item(context: Context) -> Item:
    """Return the right form of a context as something to keep."""
    return Item(context.id, f"{context.pair}/{context.id.rpartition('/')[2]}", context.prompt, context.good + "\n")


def outcomes(found: Sequence[Context], form: Callable[[Context], str]) -> list[str]:
    """Run contexts in the sandbox with a form in place; return the exception's name of each, empty where it ran.

    Raises:
        InputError: The programs ended the interpreter.
        EnvironmentProblem: This machine cannot isolate programs.
    """
    programs = [c.prompt + form(c) + c.tail for c in found]
    done = run(_RUNNER.format(programs=json.dumps(programs)))
    if not done.ok:
        raise InputError(f"the contexts ended with {done.status}: {done.stderr[-200:]}; mend their forms")
    return json.loads(done.stdout)


def check(found: Sequence[Context]) -> None:
    """Refuse contexts whose bad form this Python still has, or whose good form it does not run.

    Raises:
        InputError: Such a context.
        EnvironmentProblem: This machine cannot isolate programs.
    """
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    bad, good = outcomes(found, lambda c: c.bad), outcomes(found, lambda c: c.good)
    for one, raised, failed in zip(found, bad, good, strict=True):
        if not raised:
            raise InputError(f"{version} still has {one.bad.strip()!r} of {one.id}; leave the pair {one.pair!r} out")
        if raised not in GONE:
            raise InputError(
                f"{one.id} with {one.bad.strip()!r} raises {raised}, not one of {', '.join(GONE)}; mend it"
            )
        if failed:
            raise InputError(f"{one.id} with {one.good.strip()!r} raises {failed} in {version}; give a form that runs")


def _context(pair: Pair, frame: str, number: int, *, held: bool, id: str) -> Context:
    names = _names(pair, number, held)
    before, after = (text.format(**names) for text in _FRAMES[frame])
    head, bad, good = (text.replace("{x}", names["x"]) for text in (pair.head, pair.bad, pair.good))
    prompt = before + head
    # Tokens begin with their space, so it belongs to what follows.
    cut = prompt.rstrip(" ")
    bad, good = prompt[len(cut) :] + bad, prompt[len(cut) :] + good
    return Context(pair.name, id, cut, bad, good, after, (_dotted_name(bad), _dotted_name(good)))


def _names(pair: Pair, number: int, held: bool) -> dict[str, str]:
    known, other, value = KINDS[pair.kind]
    x = (other if held else known)[number] if pair.kind else ""
    return {
        "setup": pair.setup,
        "x": x,
        "value": value,
        "given": f"{x} = {value}\n" if x else "",
        "self": f"self, {x}" if x else "self",
        "f": FUNCTIONS[held][number],
        "a": RESULTS[held][number],
        "C": CLASSES[held][number],
    }


def _dotted_name(text: str) -> str:
    """The name that a text begins with, with its dots, and with a method of what it makes."""
    found = re.match(r"\s*[\w.]+(\(\)\.\w+)?", text)
    assert found is not None, "a form begins with a name"
    return found[0]


def _first_name(text: str) -> str:
    """The identifier that a text begins with."""
    end = next((i for i, character in enumerate(text) if not (character.isalnum() or character == "_")), len(text))
    return text[:end]
