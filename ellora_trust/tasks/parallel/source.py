"""Reads prompts in ParEval's JSON format and keeps those that one of our drivers can decide.

    prompts, skipped = read_prompts(Path("generation-prompts.json"))

The file is a list of objects with the string fields problem_type, language, name, parallelism_model and prompt. See
github.com/parallelcodefoundry/ParEval, prompts/README.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.tasks.parallel.drivers import MODELS, missing_tool
from ellora_trust.tasks.parallel.problems import PROBLEMS, Problem
from ellora_trust.tasks.parallel.signature import signature

FIELDS = ("problem_type", "language", "name", "parallelism_model", "prompt")


@dataclass(frozen=True)
class Prompt:
    """One question that can be decided.

    Attributes:
        problem: Ours, whose recipe decides.
        name: The problem's name in the file.
        kind: Type of problem.
        model: Execution model.
        text: What a model continues.
    """

    problem: Problem
    name: str
    kind: str
    model: str
    text: str


@dataclass(frozen=True)
class Skipped:
    """A question that is not asked here, which says nothing about any answer to it.

    Attributes:
        name: The problem's name.
        model: Execution model.
        reason: Why.
    """

    name: str
    model: str
    reason: str


def read_prompts(path: Path) -> tuple[list[Prompt], list[Skipped]]:
    """Return the prompts that can be decided here, and the others with the reason.

    Raises:
        InputError: The file cannot be read, is no JSON list, or an entry lacks a field.
    """
    prompts, skipped = [], []
    for index, row in enumerate(_rows(path)):
        _check(path, index, row)
        problem = _problem_of(row["name"])
        reason = _reason(row, problem)
        if reason is None and problem is not None:
            prompts.append(
                Prompt(problem, row["name"], row["problem_type"], row["parallelism_model"], row["prompt"].rstrip())
            )
        else:
            skipped.append(Skipped(row["name"], row["parallelism_model"], reason or ""))
    return prompts, skipped


def _rows(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a file of prompts") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); give a list of prompts in ParEval's format") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} holds a {type(rows).__name__}; give a list of prompts in ParEval's format")
    return rows


def _check(path: Path, index: int, row: Any) -> None:
    if not isinstance(row, dict):
        raise InputError(f"{path}, entry {index}: a {type(row).__name__}; give an object with {', '.join(FIELDS)}")
    for name in FIELDS:
        if name not in row:
            raise InputError(f"{path}, entry {index}: field {name!r} is missing; give {', '.join(FIELDS)}")
        if not isinstance(row[name], str) or not row[name].strip():
            raise InputError(f"{path}, entry {index}: field {name!r} is {row[name]!r}; give a string that is not empty")


def _problem_of(name: str) -> Problem | None:
    plain = re.sub(r"^\d+_", "", name)
    return next((one for one in PROBLEMS.values() if plain in (one.name, one.pareval)), None)


def _reason(row: dict[str, str], problem: Problem | None) -> str | None:
    """Return why a prompt cannot be decided, or None."""
    model = row["parallelism_model"]
    if row["language"] != "cpp":
        return f"language {row['language']!r}; there are drivers for 'cpp'"
    absent = missing_tool(model)
    if model not in MODELS or absent:
        return absent
    if problem is None:
        return "no driver for this problem"
    found, ours = signature(row["prompt"]), signature(f"{problem.signature} {{")
    if found is None or ours is None or found.shape != ours.shape:
        return f"the signature is not the one that our driver calls: {problem.signature}"
    return None
