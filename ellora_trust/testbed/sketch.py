"""One function, drawn: names, wording and style chosen, not yet written in its right or its planted form.

    sketch = draw(FAMILIES["first_n"], ("red", "rows"), "any key")
    sketch.write(planted=True).text       # 'def first_red_rows(rows, n):\\n    \"\"\"Return the first n red rows. ...'
    sketch.cases()                        # what it must return for which arguments

The key alone decides every choice, so a function can be drawn again from its key.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from ellora_trust.testbed import words
from ellora_trust.testbed.family import Arguments, Family, Names
from ellora_trust.testbed.words import Pair

_SPOT = re.compile("⟦([^¦⟧]*)¦([^⟧]*)⟧")
_END = "\x00"  # where the prompt ends, until the text is finished
_ANNOTATION = re.compile(r"(?<=:)( \w+)(?=[,)=]| =)|(?<=->)( \w+)(?=:)")
_C_TYPES = ("int", "long", "double")


@dataclass(frozen=True)
class Written:
    """A function's text.

    Attributes:
        text: Source, one function, no blank line within, a line break at the end.
        span: What differs from the other form, in characters; None where nothing does.
        prompt: Characters that a prompt shows; the rest is the answer.
    """

    text: str
    span: tuple[int, int] | None
    prompt: int


@dataclass(frozen=True)
class Case:
    """One call and what it must do.

    Attributes:
        arguments: In the order of the function's parameters.
        result: What it returns; ("error", kind) stands for an exception.
        after: The arguments after the call.
    """

    arguments: Arguments
    result: object
    after: Arguments


@dataclass(frozen=True)
class Sketch:
    """A drawn function.

    Attributes:
        family: What it does.
        pair: The words of its name.
        names: What stands in the templates' braces.
        template: The text with its spots, and a mark where a prompt ends.
        entry: The function's name.
        reversed: Whether the parameters stand in the other order.
    """

    family: Family
    pair: Pair
    names: Names
    template: str
    entry: str
    reversed: bool

    @property
    def group(self) -> str:
        """What this and its near-duplicates share."""
        return words.group_of(self.family.name, self.pair)

    def write(self, *, planted: bool) -> Written:
        """Return the planted or the right form."""
        return fill(self.template, planted=planted)

    def cases(self, *, planted: bool = False) -> list[Case]:
        """Return calls and results, of a right body or of a planted one.

        The argument lists are the same and in the same order for both.
        """
        family = self.family
        truth = family.bad if planted and family.bad else family.truth
        found = []
        for given in family.inputs(self.names):
            after = deepcopy(given)
            result = deepcopy(truth(self.names, *after))
            found.append(Case(self._ordered(given), result, self._ordered(after)))
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each argument becomes where the function runs."""
        n_params = len(self.family.params) - ("fixed" in self.names)
        return self._ordered(self.family.kinds or ("plain",) * n_params)

    def _ordered(self, values: Sequence) -> tuple:
        return tuple(reversed(values)) if self.reversed else tuple(values)


def draw(family: Family, pair: Pair, key: str, *, paraphrase: bool = False) -> Sketch:
    """Draw a function.

    Args:
        family: What it shall do.
        pair: Words for its name.
        key: Decides every choice.
        paraphrase: Use the wording that stands in no document, list names of other nouns, and more often a remark
            and the other order of parameters.
    """
    rng = random.Random(key)
    names = _names(rng, family, pair, paraphrase)
    family.more(rng, names)
    entry = f"{rng.choice(family.verbs)}_{pair[0]}_{pair[1]}"
    about = family.abouts[-1] if paraphrase else rng.choice(family.abouts[:-1])
    style = _Style(rng, names, about.format(**names), 0.5 if paraphrase else 0.1)
    body = rng.choice(family.bodies).format(**names)
    if family.language == "c":
        return Sketch(family, pair, names, style.c(family, entry, body), entry, False)
    turned = len(family.params) == 2 and "fixed" not in names and rng.random() < (0.5 if paraphrase else 0.1)
    return Sketch(family, pair, names, style.python(family, entry, body, turned), entry, turned)


def fill(template: str, *, planted: bool) -> Written:
    """Return a template's right or planted form, with the place of its spots and of its prompt's end."""
    pieces, length, last = [], 0, 0
    span: tuple[int, int] | None = None
    for spot in _SPOT.finditer(template):
        before, chosen = template[last : spot.start()], spot[2] if planted else spot[1]
        start = length + len(before)
        length = start + len(chosen)
        span = (span[0] if span else start, length)
        pieces += [before, chosen]
        last = spot.end()
    text = "".join([*pieces, template[last:]])
    prompt = text.index(_END)
    if span and span[0] > prompt:
        span = (span[0] - 1, span[1] - 1)
    return Written(text.replace(_END, ""), span, prompt)


def annotation_spans(text: str) -> list[tuple[int, int]]:
    """Return where a Python function's signature holds annotations, each with the space before it.

    The space belongs to it because tokenizers join it with the word.
    """
    start = text.find("def ")
    if start < 0:
        return []
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return [found.span() for found in _ANNOTATION.finditer(text, start, end)]


def _names(rng: random.Random, family: Family, pair: Pair, paraphrase: bool) -> Names:
    adjective, noun = pair
    thing = noun[:-1]
    other_list = rng.choice(words.NOUNS)
    lists = other_list if paraphrase or rng.random() < 0.4 else rng.choice((noun, noun, *words.LISTS))
    names = {
        "what": f"{adjective} {noun}",
        "thing": f"{adjective} {thing}",
        "table": noun,
        "other": rng.choice(words.ADJECTIVES),
        "xs": lists,
        "x": rng.choice((thing, *words.ELEMENTS)),
        "a": rng.choice((noun, *words.ARRAYS)),
        "k": str(rng.randrange(2, 50)),
        "n": rng.choice(words.NUMBERS),
        "m": rng.choice(("m", "best")),
        "T": rng.choice(_C_TYPES),
        "out": rng.choice(words.RESULTS),
        "s": rng.choice(words.TOTALS),
        "i": rng.choice(words.INDICES),
        "wanted": rng.choice(words.WANTED),
        "cur": rng.choice(words.CURSORS),
        "buf": rng.choice(words.BUFFERS),
        "stack": rng.choice(words.STACKS),
        "label": rng.choice(("name", "text", "word")),
        "table_name": rng.choice(("table", "name")),
    }
    if family.language == "c":
        names["n"] = rng.choice(("n", "size", "count"))
    if family.numbered and rng.random() < 0.3:
        names["n"] = names["fixed"] = str(rng.randrange(2, 21))
    names["less"] = str(int(names["fixed"]) - 1) if "fixed" in names else f"{names['n']} - 1"
    return names


class _Style:
    """How a function is written down: where its description stands, annotations, remarks, an unused parameter."""

    def __init__(self, rng: random.Random, names: Names, about: str, extras: float) -> None:
        self.rng, self.names, self.about = rng, names, about
        self.inside = rng.random() < 0.6
        self.annotated = rng.random() < 0.6
        self.note = rng.choice(words.NOTES).format(**names) if rng.random() < 2 * extras else ""
        self.remark = rng.choice(words.NOTES).format(**names) if rng.random() < extras else ""
        self.flag = rng.choice(words.FLAGS) if rng.random() < 0.1 else ""

    def python(self, family: Family, entry: str, body: str, turned: bool) -> str:
        early = family.asks == "returns"
        annotated = self.annotated or early
        signature = f"def {entry}({self._params(family, annotated, turned)})"
        if annotated and family.returns:
            signature += f" ->{_END if early else ''} {family.returns}"
        lines = [f"# {self.note}"] if self.note else []
        # What is asked for must stand before the gap.
        if self.inside and not early:
            lines += [f"{signature}:", f'    """{self.about}"""']
        else:
            lines += [f"# {self.about}", f"{signature}:"]
        if not early:
            lines[-1] += _END
        if self.remark:
            lines.append(f"    # {self.remark}")
        return "\n".join([*lines, *(f"    {line}" for line in body.split("\n")), ""])

    def c(self, family: Family, entry: str, body: str) -> str:
        mark = ("/* ", " */") if self.inside else ("// ", "")
        lines = [f"{mark[0]}{self.note}{mark[1]}"] if self.note else []
        ((params, _),) = family.params
        signature = f"{family.returns} {entry}({params}) {{{{{_END}".format(**self.names)
        lines += [f"{mark[0]}{self.about}{mark[1]}", signature]
        if self.remark:
            lines.append(f"    // {self.remark}")
        return "\n".join([*lines, *(f"    {line}" for line in body.split("\n")), "}", ""])

    def _params(self, family: Family, annotated: bool, turned: bool) -> str:
        params = family.params[:-1] if "fixed" in self.names else family.params
        shown = [
            f"{self.names[name]}: {kind}" if annotated and kind else self.names[name]
            for name, kind in (reversed(params) if turned else params)
        ]
        if self.flag:
            shown.append(f"{self.flag}: bool = False" if annotated else f"{self.flag}=False")
        return ", ".join(shown)
