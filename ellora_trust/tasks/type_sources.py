"""Questions in source files: every slot of one file, or a selection from a user's folder.

Use it to ask about code that is not in the manifest, and to build the manifest. Files are read, nothing is imported.

    found, resolution = scan(Path("src"))
    found[0].row.type, found[0].source        # 'str', 'def ...'
    print(resolution)                         # '310 of 402 rows resolved (92 beyond the limit per file)'
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ellora_trust.tasks.annotations import Slot, functions, parse, slots
from ellora_trust.tasks.type_questions import askable_type, visible_names
from ellora_trust.tasks.type_rows import Found, Resolution, Row, digest, read_source

MAX_PER_FILE = 20  # more of one file add examples but hardly information, since a file is one group
_NOT_OWN_CODE = frozenset({"site-packages", "node_modules", "__pycache__", "build", "dist", "venv"})


def scan(directory: Path) -> tuple[list[Found], Resolution]:
    """Return the questions a user's own code allows: one of a function, `MAX_PER_FILE` of a file.

    Groups are the files; near-duplicates are the caller's business, since they need all questions at once.
    """
    found: list[Found] = []
    lost: Counter[str] = Counter()
    n_functions = 0
    for path in python_files(directory):
        text = read_source(path)
        try:
            every = [] if text is None else list(questions_in(text, "", path.relative_to(directory).as_posix()))
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
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _NOT_OWN_CODE and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


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
