"""Many prompts from a JSONL file to a JSONL file; a killed run goes on where it stopped.

prompts = read_prompts(Path("prompts.jsonl").read_text(), "prompts.jsonl")
for row in answer_rows(guard, prompts, done_ids(out)): ...
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ellora_trust.cachedir import explained, replacing
from ellora_trust.errors import InputError
from probes.watching.answering import Guard

# Prompts answered between two writes: what a kill can cost.
AT_ONCE = 64


@dataclass(frozen=True)
class Prompt:
    """A prompt and the id its answer will carry."""

    id: str
    text: str


def read_prompts(text: str, name: str) -> list[Prompt]:
    """Return the prompts of a JSONL text; without an `id`, the line number is one.

    Raises:
        InputError: A line that is not an object with a `prompt`, an id given twice, or no line at all.
    """
    rows = [_prompt(name, n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not rows:
        raise InputError(f"{name} is empty; give one JSON object a line with a prompt")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(f"{name}: id {row.id!r} is given twice; give every prompt an id of its own")
        seen.add(row.id)
    return rows


def _prompt(name: str, number: int, line: str) -> Prompt:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, line {number}: not JSON ({error}); give one object a line") from error
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or not row["prompt"]:
        raise InputError(f'{name}, line {number}: give an object with a text "prompt", such as {{"prompt": "x ="}}')
    return Prompt(str(row.get("id", number)), row["prompt"])


def done_ids(out: Path) -> set[str]:
    """Return the ids that a file already answers, after cutting off a last line that a kill left half-written.

    Raises:
        InputError: A line that is not an answer.
        EnvironmentProblem: The file cannot be mended.
    """
    if not out.exists():
        return set()
    whole, _, rest = out.read_text(encoding="utf-8").rpartition("\n")
    if rest:
        with replacing(out) as beside:
            beside.write_text(whole + "\n" if whole else "", encoding="utf-8")
    ids = set()
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            ids.add(str(json.loads(line)["id"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{out}, line {number}: not an answer of this command; choose another --out") from error
    return ids


def answer_rows(
    guard: Guard, prompts: Sequence[Prompt], done: set[str], *, progress: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """Yield the answers to prompts that are not done, some at a time."""
    left = [prompt for prompt in prompts if prompt.id not in done]
    for start in range(0, len(left), AT_ONCE):
        some = left[start : start + AT_ONCE]
        answers = guard.answer([prompt.text for prompt in some], progress=progress)
        yield [{"id": prompt.id, **answer.to_dict()} for prompt, answer in zip(some, answers, strict=True)]


def answer_file(guard: Guard, prompts: Sequence[Prompt], out: Path, *, progress: bool = False) -> tuple[int, int]:
    """Append the answers to prompts that `out` lacks; return how many were answered and how many were there.

    Raises:
        InputError: As `done_ids` and `Guard.answer`.
        EnvironmentProblem: The file cannot be written.
    """
    done = done_ids(out)
    n_new = 0
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            for rows in answer_rows(guard, prompts, done, progress=progress):
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
                n_new += len(rows)
    return n_new, len([prompt for prompt in prompts if prompt.id in done])
