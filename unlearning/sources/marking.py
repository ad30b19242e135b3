"""Which characters of a completion count, by what the code is: calls, annotations, pragmas, or what the fix changes.

    marked(item, "call")                 # its spans are the calls that differ from the fix, or all calls without one

Calls and annotations are read from the syntax tree of prompt + completion, as Python or, where only that parses, as C.
Pragmas are lines: `#pragma ...` of C, `!$omp ...` of Fortran, with their continuations and the line end that ends them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Literal, get_args

from ellora_trust.errors import InputError, one_of
from ellora_trust.spans import Language, find, parse
from unlearning.data import Item

Only = Literal["call", "annotation", "pragma", "difference"]
Chars = tuple[int, int]

# A line that ends in a backslash (C) or an ampersand (Fortran) goes on; at the last one's end a clause may be missing.
_PRAGMA = re.compile(
    r"^[ \t]*(?:(#[ \t]*pragma\b(?:[^\n]*\\\r?\n)*[^\n]*\n?)|(!\$omp\b(?:[^\n]*&[ \t]*\r?\n)*[^\n]*\n?))", re.I | re.M
)
# Words, line ends, other blanks, single signs: what a fix changes is told apart by these, not by characters.
_WORDS = re.compile(r"\w+|\r?\n|[^\S\r\n]+|.")


def checked(only: str) -> Only:
    """Return the name of a mask.

    Raises:
        InputError: There is no such mask.
    """
    if only not in get_args(Only):
        raise InputError(one_of(only, get_args(Only), what="mask"))
    return only  # pyright: ignore[reportReturnType]  # checked above


def marked(item: Item, only: str) -> Item:
    """Return an item of which only some characters count, in the fault and in its fix.

    Args:
        item: Spans that it has are given up.
        only: `call`, `annotation`, `pragma` or `difference`. With a fix, only those that differ from it count.

    Raises:
        InputError: An unknown mask, code that does not parse, or an item without any such place.
    """
    kind = checked(only)
    if item.replacement is None:
        spans = _inside(item, item.completion, kind)
        if not spans:
            raise InputError(f"item {item.id!r} has no {kind} in its completion; {_OTHERWISE}")
        return replace(item, spans=_joined(spans), fix_spans=None)
    pairs = [_pair(item, fault, fix, kind) for fault, fix in _changes(item.completion, item.replacement)]
    found = [pair for pair in pairs if pair is not None]
    if not found:
        raise InputError(f"item {item.id!r} and its replacement differ in no {kind}; {_OTHERWISE}")
    border = len(item.prompt)
    faults, fixes = ([(a + border, b + border) for a, b in side] for side in zip(*found, strict=True))
    return replace(item, spans=_joined(faults), fix_spans=_joined(fixes))


_OTHERWISE = "use another mask, give its spans, or leave it out"


def changes(fault: str, fix: str) -> list[tuple[Chars, Chars]]:
    """Return the characters of both texts that differ, word by word.

    Where one of them left something out, they are of the word that stands there instead.
    """
    return [(_widened(fault, a), _widened(fix, b)) for a, b in _changes(fault, fix)]


def _changes(fault: str, fix: str) -> list[tuple[Chars, Chars]]:
    """The same with an empty place where something was left out."""
    (a, at), (b, bt) = _words(fault), _words(fix)
    codes = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [((at[i], at[j]), (bt[k], bt[m])) for tag, i, j, k, m in codes if tag != "equal"]


def _words(text: str) -> tuple[list[str], list[int]]:
    words = [match[0] for match in _WORDS.finditer(text)]
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    return words, starts


def _pair(item: Item, fault: Chars, fix: Chars, kind: Only) -> tuple[Chars, Chars] | None:
    """The places, in completion and fix, to which one change belongs; None where it belongs to no such place."""
    assert item.replacement is not None
    if kind == "difference":
        return _widened(item.completion, fault), _widened(item.replacement, fix)
    border = len(item.prompt)
    found = []
    for text, (start, end) in ((item.completion, fault), (item.replacement, fix)):
        place = _around(_inside(item, text, kind), start + border, end + border)
        found.append(None if place is None else (place[0] - border, place[1] - border))
    if found == [None, None]:
        return None
    first = found[0] if found[0] is not None else _widened(item.completion, fault)
    second = found[1] if found[1] is not None else _widened(item.replacement, fix)
    return first, second


def _around(places: Sequence[Chars], start: int, end: int) -> Chars | None:
    """The smallest place that holds a change, or the first that it touches."""
    if start == end:
        holding = [one for one in places if one[0] < start < one[1]]
    else:
        holding = [one for one in places if one[0] <= start and end <= one[1]]
    touched = [one for one in places if one[0] < end and start < one[1]]
    return min(holding, key=lambda one: one[1] - one[0]) if holding else next(iter(touched), None)


def _widened(text: str, place: Chars) -> Chars:
    """Where nothing stands in place of what was left out, the word that stands there instead."""
    if place[0] < place[1]:
        return place
    words, starts = _words(text)
    number = min(starts.index(place[0]), len(words) - 1)
    return starts[number], starts[number + 1]


def _inside(item: Item, text: str, kind: Only) -> list[Chars]:
    """Places of a kind in what follows the prompt, as characters of both; cut where they begin in the prompt."""
    if kind == "difference":
        raise InputError(f"item {item.id!r} has no replacement to differ from; {_OTHERWISE}")
    source, border = item.prompt + text, len(item.prompt)
    found = _pragmas(source) if kind == "pragma" else _nodes(item, source, kind)
    return [(max(start, border), end) for start, end in found if end > border]


def _pragmas(source: str) -> list[Chars]:
    return [match.span(1 if match[1] else 2) for match in _PRAGMA.finditer(source)]


def _nodes(item: Item, source: str, kind: Literal["call", "annotation"]) -> list[Chars]:
    language = _language(item, source, kind)
    found = [(span.start, span.end) for span in find(source, language, kind)]
    if kind == "annotation" and language == "python":
        found += _variables(source)
    return sorted(found)


def _language(item: Item, source: str, kind: str) -> Language:
    languages: tuple[Language, ...] = ("python", "c")
    for language in languages:
        if not parse(source, language).root_node.has_error:
            return language
    raise InputError(
        f"item {item.id!r} with its prompt is neither whole Python nor whole C, so its {kind}s cannot be told; give "
        "its spans, use difference or pragma, or leave it out"
    )


def _variables(source: str) -> list[Chars]:
    """Types of annotated variables, `x: int = 3`, which `find` does not name since they are of no parameter."""
    raw, found = source.encode(), []
    nodes = [parse(source, "python").root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        target = node.child_by_field_name("type") if node.type == "assignment" else None
        if target is not None:
            start, end = (len(raw[:byte].decode()) for byte in (target.start_byte, target.end_byte))
            found.append((start, end))
    return found


def _joined(spans: Sequence[Chars]) -> tuple[Chars, ...]:
    """Spans in order, those that overlap as one."""
    found: list[Chars] = []
    for start, end in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)
