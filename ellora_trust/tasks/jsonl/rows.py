"""Lines of a user's file of questions: what each field may hold, and one sentence where it does not.

The format is the `jsonl` task's; `JsonlTask` documents it.

    questions = read_questions(Path("data.jsonl"))
    questions[0].example.prompt, questions[0].kind       # ('2 + 2 =', 'answer')
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from ellora_trust.errors import InputError, one_of
from ellora_trust.tasks.base import Example
from ellora_trust.tasks.jsonl.answers import MAX_CHOICES, Match, shown
from ellora_trust.tasks.jsonl.fields import Fields, read_object

Kind = Literal["answer", "choices", "tests"]
KINDS = get_args(Kind)
FIELDS = (
    *("prompt", *KINDS, "entry_point", "match", "show_choices", "id", "group", "prefix", "suffix", "language"),
    *("stop", "max_new_tokens", "meta", "licence", "header", "source"),
)
# Fields that mean something with one kind only.
_OWN_FIELDS = {"match": "answer", "show_choices": "choices", "entry_point": "tests"}
_TEST_TOKENS = 256
_MAX_ANSWER_TOKENS = 512
# What comes after a function at the margin is not its body any more.
_AFTER_FUNCTION = ("\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\nassert ", "\n```")
_AFTER_PROGRAM = ("\nif __name__", "\nassert ", "\n```")


@dataclass(frozen=True)
class Question:
    """One line.

    Attributes:
        example: As the task gives it out.
        line: In the file, 1-based.
        kind: How a completion is decided.
        accepted: Answers that count; of a choice, its text.
        match: How an answer is compared.
        choices: Texts to choose from, in the order shown.
        tests: Python assertions.
        entry_point: Function that the tests call.
        stop: Strings that end a completion of this line.
        max_new_tokens: Length limit of a completion of this line, in tokens.
        header: Text before every prompt; the same on all lines.
        grouped: Whether the line names its group itself.
    """

    example: Example
    line: int
    kind: Kind
    accepted: tuple[str, ...]
    match: Match
    choices: tuple[str, ...]
    tests: str
    entry_point: str
    stop: tuple[str, ...]
    max_new_tokens: int
    header: str
    grouped: bool


def read_questions(path: Path) -> list[Question]:
    """Read a file of questions, one JSON object a line; blank lines are passed over.

    Raises:
        InputError: No such file, no line, or a line that breaks the format; names file, line and field.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file with one JSON object a line") from None
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not numbered:
        raise InputError(
            f'{path} is empty; give one JSON object a line, such as {{"prompt": "2 + 2 =", "answer": "4"}}'
        )
    questions = [_question(_fields(f"{path.name} line {number}", line), number) for number, line in numbered]
    _check_together(path.name, questions)
    return questions


def _fields(where: str, line: str) -> Fields:
    fields = read_object(where, line)
    if fields.data.get("reference") is True:
        fields.fail("a reference to a question, without its text; export from the task that holds the text")
    for name in fields.data:
        if name not in FIELDS:
            fields.fail(one_of(name, FIELDS, what="field"))
    return fields


def _question(fields: Fields, number: int) -> Question:
    kind = _kind(fields)
    choices = _choices(fields) if kind == "choices" else ()
    accepted = _accepted(fields, kind, choices)
    match = cast(Match, fields.choice("match", get_args(Match), default="exact"))
    entry_point = fields.identifier("entry_point") if kind == "tests" else ""
    prompt = fields.text("prompt")
    stop, length = _ends(kind, accepted or choices, entry_point, prompt)
    return Question(
        example=_example(fields, kind, shown(prompt, choices) if fields.flag("show_choices") else prompt, accepted),
        line=number,
        kind=kind,
        accepted=accepted,
        match=match,
        choices=choices,
        tests="\n".join(fields.texts("tests")) if kind == "tests" else "",
        entry_point=entry_point,
        stop=fields.texts("stop", default=stop, many=True),
        max_new_tokens=fields.count("max_new_tokens", default=length),
        header=fields.text("header", default=""),
        grouped=fields.has("group"),
    )


def _kind(fields: Fields) -> Kind:
    """Return what decides: choices come with an answer, so the answer decides only where nothing else does."""
    found: list[Kind] = [kind for kind in KINDS if fields.has(kind)]
    if found == ["answer", "choices"]:
        found = ["choices"]
    if len(found) != 1:
        given = " and ".join(map(repr, found)) or "none of them"
        fields.fail(f"has {given}; give exactly one of 'answer', 'choices' (with 'answer') and 'tests'")
    (kind,) = found
    for name, owner in _OWN_FIELDS.items():
        if fields.has(name) and owner != kind:
            fields.fail(f"{name!r} goes with {owner!r} only, and this line has {kind!r}; leave {name!r} out")
    if kind == "tests" and fields.text("language", default="python") != "python":
        fields.fail(f"'tests' are Python, and 'language' is {fields.text('language')!r}; give 'answer' or 'choices'")
    return kind


def _choices(fields: Fields) -> tuple[str, ...]:
    choices = tuple(choice.strip() for choice in fields.texts("choices", listed=True))
    if not 2 <= len(choices) <= MAX_CHOICES:
        fields.fail(f"'choices' has {len(choices)} entries; give 2..{MAX_CHOICES}")
    if len(set(choices)) < len(choices):
        fields.fail("'choices' holds one text twice; give different ones")
    if any("\n" in choice for choice in choices):
        fields.fail("'choices' holds a text of several lines; give one line each")
    return choices


def _accepted(fields: Fields, kind: Kind, choices: tuple[str, ...]) -> tuple[str, ...]:
    if kind == "tests":
        return ()
    if kind == "answer":
        return tuple(answer.strip() for answer in fields.texts("answer"))
    index = fields.position("answer", choices)
    return (choices[index],)


def _ends(kind: Kind, texts: tuple[str, ...], entry_point: str, prompt: str) -> tuple[tuple[str, ...], int]:
    """Return the stop strings and the length in tokens where a line gives none."""
    if kind == "tests":
        begun = f"def {entry_point}(" in prompt
        return _AFTER_FUNCTION if begun else _AFTER_PROGRAM, _TEST_TOKENS
    # A token has a character at least, so this is enough for every accepted text.
    length = min(max(16, *map(len, texts)), _MAX_ANSWER_TOKENS)
    if not any("\n" in text for text in texts):
        return ("\n",), length
    return ((), length) if any("\n\n" in text for text in texts) else (("\n\n",), length)


def _example(fields: Fields, kind: Kind, prompt: str, accepted: tuple[str, ...]) -> Example:
    own = {name: fields.text(name) for name in ("source", "licence") if fields.has(name)}
    meta = {"check": kind, "language": fields.text("language", default="python"), "licence": None, **own}
    content = json.dumps(dict(fields.data), sort_keys=True)
    return Example(
        id=fields.label("id", default=f"jsonl-{_digest(content)}"),
        group=fields.label("group", default=f"jsonl-{_digest(fields.text('prompt'))}"),
        prompt=prompt,
        answer=accepted[0] if accepted else None,
        prefix=fields.text("prefix", default=""),
        suffix=fields.text("suffix", default=""),
        meta={**meta, **fields.scalars("meta")},
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_together(name: str, questions: list[Question]) -> None:
    lines: dict[str, int] = {}
    for question in questions:
        identity, where = question.example.id, f"{name} line {question.line}"
        if identity in lines:
            raise InputError(f"{where}: 'id' {identity!r} is line {lines[identity]}'s too; give every line its own")
        lines[identity] = question.line
        if question.header != questions[0].header:
            raise InputError(f"{where}: 'header' differs from line {questions[0].line}'s; give all lines the same")
