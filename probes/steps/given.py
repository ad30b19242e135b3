"""Your own answers and verdicts, from a JSONL file.

Each line holds `prompt`, `answer` and `wrong` (true or false), and may hold `group` and `id`. Without a group, equal
prompts form one.

    given = read_labels(Path("answers.jsonl"))
    given.examples, given.answers, given.wrong
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example

FIELDS = {"prompt": str, "answer": str, "wrong": bool}
OPTIONAL = {"group": str, "id": str}


@dataclass(frozen=True)
class Given:
    """Prompts, the answers they got, and whether those were wrong."""

    name: str
    examples: list[Example]
    answers: list[str]
    wrong: list[bool]


def read_labels(path: Path) -> Given:
    """Read prompts, answers and verdicts.

    Raises:
        InputError: No such file, or a line that does not fit: the message names file, line and field.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a JSONL file with prompt, answer and wrong on each line")
    rows = [
        _row(path, number, line)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip()
    ]
    if not rows:
        raise InputError(f"{path} is empty; give one JSON object a line with prompt, answer and wrong")
    examples = [
        Example(str(row.get("id", i)), str(row.get("group", _digest(row["prompt"]))), row["prompt"])
        for i, row in enumerate(rows)
    ]
    return Given(path.stem, examples, [row["answer"] for row in rows], [row["wrong"] for row in rows])


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not JSON ({error}); give one object a line") from error
    if not isinstance(row, dict):
        raise InputError(
            f"{path}, line {number}: {type(row).__name__} given; give an object with prompt, answer, wrong"
        )
    for name, kind in FIELDS.items():
        if not isinstance(row.get(name), kind):
            have = repr(row[name])[:40] if name in row else "nothing"
            raise InputError(f"{path}, line {number}, field {name!r}: {have} given; give a JSON {_JSON[kind]}")
    for name in OPTIONAL:
        if name in row and not isinstance(row[name], str):
            raise InputError(f"{path}, line {number}, field {name!r}: {row[name]!r} given; give a JSON string")
    return row


_JSON = {str: "string", bool: "boolean (true if the answer is wrong)"}


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
