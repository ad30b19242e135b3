"""Questions of the `types` task about TypeScript: parameters, return values and variables in `.ts` files.

Use it through `TypesTask(Path("src"))`. The form is that of Python: the code without the annotation, then its signature
again up to the gap.

    found = list(questions_in(text, "box.ts"))
    found[0].row.type                          # 'Map<string, number>'
    ask(found[0].source, found[0].row)         # Question(prompt='function f(x) {...}\\n\\nfunction f(x:', ...)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from ellora_trust.tasks.types.questions import MAX_CODE, MAX_SIGNATURE, MAX_TYPE, Question
from ellora_trust.tasks.types.rows import Found, Row, digest
from ellora_trust.tasks.types.typescript.normal import normalise, type_names
from ellora_trust.tasks.types.typescript.syntax import (
    Kind,
    Slot,
    Unit,
    body_of,
    mask,
    shown,
    signature_start,
    slots,
    units,
    uses,
    visible_names,
)

LANGUAGE = "typescript"
_GAP = "ELLORA_GAP_"
# What an annotation may name without an import: the language's own, and the commonest of a browser.
COMMON_NAMES = frozenset(
    """
    Array ArrayBuffer AsyncGenerator AsyncIterable AsyncIterableIterator AsyncIterator Awaited BigInt Boolean Capitalize
    ConstructorParameters DataView Date Error EvalError Exclude Extract Float32Array Float64Array Function Generator
    InstanceType Int16Array Int32Array Int8Array Iterable IterableIterator Iterator Map NonNullable Number Object Omit
    Parameters Partial Pick Promise PromiseLike PropertyKey RangeError Readonly ReadonlyArray ReadonlyMap ReadonlySet
    Record RegExp RegExpExecArray RegExpMatchArray Required ReturnType Set String Symbol SyntaxError TypeError
    Uint16Array Uint32Array Uint8Array WeakMap WeakSet
    AbortController AbortSignal Blob Document DocumentFragment DOMRect Element Event EventTarget File FileList FormData
    Headers HTMLAnchorElement HTMLButtonElement HTMLCanvasElement HTMLDivElement HTMLElement HTMLImageElement
    HTMLInputElement KeyboardEvent MessageEvent MouseEvent Node NodeList Request RequestInit Response Storage
    TextDecoder TextEncoder TouchEvent URL URLSearchParams WebSocket Window
    """.split()
)
# Says nothing about the values, or is an enumeration of them, or repeats the name of a value.
_NO_ANSWER = re.compile(
    r"""any|unknown|this|unique symbol|.*["'`].*|.*\b(typeof|keyof)\b.*|(.*[^\w$])?-?\d[\w.]*([^\w$].*)?"""
)
_FIXED_RETURNS = frozenset({"toString", "toLocaleString", "hasOwnProperty", "isPrototypeOf"})
_EMPTY = frozenset({"comment", "empty_statement", "throw_statement"})


def questions_in(text: str, path: str) -> Iterator[Found]:
    """Yield every slot of a file that can be asked about.

    Args:
        text: The file.
        path: For the rows; the group too.
    """
    visible = visible_names(text) | COMMON_NAMES
    for unit in units(text):
        for slot in slots(unit):
            answer = askable_type(unit, slot, visible)
            if answer is not None:
                place = ("", path, unit.qualname, unit.line, unit.end_line)
                yield Found(Row(*place, slot.kind, slot.name, answer, digest(unit.source), path), unit.source)


def askable_type(unit: Unit, slot: Slot, visible: set[str] | frozenset[str]) -> str | None:
    """Return the normal form of a slot's annotation, or None where asking for it makes no sense.

    Left out as in Python: types that are no answer (`any`, `unknown`, type parameters, literals, `typeof`), long, or
    built from names the file does not know; functions without a body; parameters the body does not use; what every
    class's method of that name returns.
    """
    answer = normalise(slot.annotation)
    if answer is None or len(answer) > MAX_TYPE or not type_names(slot.annotation) <= visible:
        return None
    if _NO_ANSWER.fullmatch(answer):
        return None
    if slot.kind == "var":
        return answer
    body = body_of(shown(unit.source, unit.qualname))
    if body is None or (body.type == "statement_block" and {child.type for child in body.named_children} <= _EMPTY):
        return None
    if slot.kind == "return":
        return None if unit.qualname.rpartition(".")[2] in _FIXED_RETURNS else answer
    return answer if uses(body, slot.name) else None


def ask(source: str, row: Row) -> Question | None:
    """Return the question about one slot, or None where its signature or every statement is too long.

    Args:
        source: A unit's text, as it is in its file.
        row: Names the unit and the slot.
    """
    slot = Slot(cast(Kind, row.kind), row.name)
    prefix, suffix = mask(source, row.qualname, slot)
    name = row.name or "return"
    code = f"{prefix}{_GAP}{suffix.rstrip()}\n"
    short = _shorten(code, re.compile(rf"\b{re.escape(name)}\b"))
    if short is None:
        return None
    prefix, _, suffix = short.partition(_GAP)
    signature = prefix[signature_start(short, len(prefix) + 1, row.kind) :]
    if len(signature) > MAX_SIGNATURE:
        return None
    prompt = plain_prompt(prefix, suffix, kind=row.kind, is_method="." in row.qualname)
    return Question(prompt, prefix, suffix, truncated=short != code)


def plain_prompt(prefix: str, suffix: str, *, kind: str, is_method: bool) -> str:
    """Return what a model without fill-in-the-middle tokens sees of a unit with a gap.

    Args:
        prefix: Code before the gap.
        suffix: Code after the gap, as it is to be shown.
        kind: Of the slot.
        is_method: Whether the unit is shown in its class.
    """
    signature = prefix[signature_start(f"{prefix}{_GAP}{suffix}", len(prefix) + 1, kind) :]
    without = re.sub(r"\s*:\s*$", "", prefix) + suffix
    return f"{without}\n{'  ' if is_method else ''}{_one_line(signature)}"


def _one_line(signature: str) -> str:
    joined = " ".join(line.strip() for line in signature.strip().splitlines())
    return joined.replace("( ", "(").replace(", )", ")")


def _shorten(code: str, wanted: re.Pattern[str]) -> str | None:
    """Leave statements of the body out until the code fits; the one with the gap stays, `// ...` marks the others."""
    limit = MAX_CODE + len(_GAP)
    if len(code) <= limit:
        return code
    body = body_of(code)
    if body is None or body.type != "statement_block" or not body.named_children:
        return None
    data = code.encode()
    spans = [(node.start_byte, node.end_byte) for node in body.named_children]
    texts = [data[start:end].decode() for start, end in spans]
    head, tail = data[: body.start_byte + 1].decode(), data[spans[-1][1] :].decode()
    first = data[body.start_byte + 1 : spans[0][0]].decode()
    margin = first[first.rfind("\n") :] if "\n" in first else "\n  "
    kept: set[int] = set()
    order = sorted(range(len(texts)), key=lambda at: (_GAP not in texts[at], not wanted.search(texts[at]), at))
    for position in order:
        if len(_elided(texts, kept | {position}, margin)) + len(head) + len(tail) <= limit:
            kept.add(position)
    complete = kept and _GAP in head + "".join(texts[at] for at in kept)
    return (
        f"{head}{_elided(texts, kept, margin)}{tail if tail[:1] == chr(10) else chr(10) + tail}" if complete else None
    )


def _elided(texts: list[str], kept: set[int], margin: str) -> str:
    shown_now = [text if at in kept else "// ..." for at, text in enumerate(texts)]
    # Of statements left out in a row one mark stays.
    lines = [one for at, one in enumerate(shown_now) if at in kept or at == 0 or at - 1 in kept]
    return "".join(f"{margin}{line}" for line in lines)
