"""Questions in source files: every slot of one file, or a selection from a user's folder or rows.

Use it to ask about code that is not in the manifest, and to build the manifest. Files are read, nothing is imported.
Python and TypeScript are told apart by suffix.

    found, resolution = scan(Path("src"))
    found[0].row.type, found[0].source        # 'str', 'def ...'
    print(resolution)                         # '310 of 402 rows resolved (92 beyond the limit per file)'
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ellora_trust.errors import InputError
from ellora_trust.tasks.jsonl.fields import read_object
from ellora_trust.tasks.types.annotations import Slot, functions, parse, slots
from ellora_trust.tasks.types.questions import askable_type, visible_names
from ellora_trust.tasks.types.rows import Found, Resolution, Row, digest, read_source

TYPESCRIPT = ".ts"
MAX_PER_FILE = 20  # more of one file add examples but hardly information, since a file is one group
_NOT_OWN_CODE = frozenset({"site-packages", "node_modules", "__pycache__", "build", "dist", "venv"})


def scan(source: Path) -> tuple[list[Found], Resolution]:
    """Return the questions a user's own code allows: one of a function, `MAX_PER_FILE` of a file.

    Groups are the files; near-duplicates are the caller's business, since they need all questions at once.

    Args:
        source: A folder, or a JSONL file as `code_rows` reads it.

    Raises:
        InputError: A row of a JSONL file is not what it should be.
    """
    found: list[Found] = []
    lost: Counter[str] = Counter()
    n_functions = 0
    for path, text in _texts(source):
        try:
            every = [] if text is None else list(_questions(text, path))
        except (SyntaxError, ValueError, RecursionError):
            text, every = None, []
        lost["unreadable file"] += text is None
        one_each = {item.row.qualname: item for item in sorted(every, key=chance)}
        n_functions += len(one_each)
        found += list(one_each.values())[:MAX_PER_FILE]
    lost["beyond the limit per file"] = n_functions - len(found)
    return found, Resolution(n_functions, len(found), 0, +lost)


def python_files(directory: Path) -> Iterator[Path]:
    """Yield a folder's own Python files in order; environments, builds and hidden folders are left out."""
    yield from _files(directory, (".py",))


def typescript_files(directory: Path) -> Iterator[Path]:
    """Yield a folder's own TypeScript files in order, declaration files left out."""
    yield from (path for path in _files(directory, (TYPESCRIPT,)) if not path.name.endswith(".d.ts"))


def _files(directory: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _NOT_OWN_CODE and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(suffixes))


def _texts(source: Path) -> Iterator[tuple[str, str | None]]:
    """Yield relative path and text of each file, None for what is not UTF-8."""
    if source.is_file():
        yield from code_rows(source).items()
        return
    for path in (*python_files(source), *typescript_files(source)):
        yield path.relative_to(source).as_posix(), read_source(path)


def _questions(text: str, path: str) -> Iterator[Found]:
    if not path.endswith(TYPESCRIPT):
        return questions_in(text, "", path)
    from ellora_trust.tasks.types.typescript import questions as typescript

    return typescript.questions_in(text, path)


def code_rows(path: Path) -> dict[str, str]:
    """Read source files from a JSONL file: rows with `content`, the text, and `path`, whose suffix is the language.

    A row without `path` is TypeScript. Other fields are not read. The line number goes first in the paths returned,
    so that each has its own.

    Raises:
        InputError: The file cannot be read, or a row is not what it should be; names file, line and field.
    """
    text = read_source(path)
    if text is None:
        raise InputError(f"cannot read {path} as UTF-8; give a folder, or a JSONL file of rows with 'content'")
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            fields = read_object(f"{path.name} line {number}", line)
            name = fields.text("path", default="").lstrip("/")
            content = fields.text("content", default="" if fields.data.get("content") == "" else None)
            found[f"{number}/{name}" if name else f"{number}{TYPESCRIPT}"] = content.replace("\r\n", "\n")
    return {name: content for name, content in found.items() if name.endswith((".py", TYPESCRIPT))}


def text_at(source: Path, path: str) -> str | None:
    """Return the text of one file of a user's folder or rows, or None where it is not there any more."""
    return code_rows(source).get(path) if source.is_file() else read_source(source / path)


def questions_in(
    text: str, distribution_name: str, path: str, labels: Mapping[str, Sequence[Slot]] | None = None
) -> Iterator[Found]:
    """Yield every slot of a file that can be asked about.

    Args:
        text: The file.
        distribution_name: For the rows.
        path: For the rows.
        labels: Annotations by qualified name where they are not in the source; None reads them from the source.

    Raises:
        SyntaxError: The text is not Python.
        ValueError: The text holds a null byte.
    """
    tree = parse(text)
    visible = visible_names(tree)
    every = list(functions(text, tree))
    times = Counter(function.qualname for function in every)  # a property and its setter share a name: ask neither
    group = f"{distribution_name}/{path}" if distribution_name else path
    for function in every:
        if times[function.qualname] > 1:
            continue
        place = (distribution_name, path, function.qualname, function.line, function.end_line)
        for slot in slots(function.node) if labels is None else labels.get(function.qualname, ()):
            answer = askable_type(function, slot, visible)
            if answer is not None:
                row = Row(*place, slot.kind, slot.name, answer, digest(function.source), group)
                yield Found(row, function.source)


def chance(item: Found) -> str:
    """Return a sort key that is as good as random, and the same everywhere."""
    return digest(f"{item.row.sha256} {item.row.kind} {item.row.name}")
